"""``sonde keys``: the master keys that seal the log, and the outbox."""

from pathlib import Path
from typing import Annotated

import typer

from sonde.assemble.keys.acts import (
    KeyLine,
    Ring,
    Rotated,
    add,
    listed,
    retire,
    ring_of_log,
    ring_of_outbox,
    rotate,
    said,
)
from sonde.assemble.keys.source import SOURCES, keys_from
from sonde.cli.options import DEFAULT_DATA, Config, Data, Json, Sets
from sonde.cli.progress import progress_bar
from sonde.cli.settings import installation
from sonde.cli.tables import print_json, print_table
from sonde.cli.terminal import done, note, warn
from sonde.directory import DataDirectory
from sonde.moment import format_time

app = typer.Typer(
    help="The keys that seal: list, add, rotate, retire. The server may be running.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

_Outbox = Annotated[bool, typer.Option("--outbox", help="The keys of the node's outbox, not those of the log.")]


@app.command("list")
def list_(
    data: Data = DEFAULT_DATA, config: Config = None, set_: Sets = None, outbox: _Outbox = False, json: Json = False
) -> None:
    """Show each key by its name, whether it seals or opens, and what needs it; never the key."""
    ring = _ring(data, config, set_, outbox)
    with progress_bar("reading headers") as report:
        lines = listed(ring, report)
    if json:
        print_json([_fields(line) for line in lines])
    else:
        print_table([_row(line) for line in lines], empty="no keys yet; the first start draws one")
    for line in lines:
        if line.state == "missing":
            warn(f"the key {line.name!r} is not here, and {said(line.need)} need it: sonde keys add --key file:PATH")


@app.command("add")
def add_(
    key: Annotated[str | None, typer.Option("--key", metavar="SOURCE", help=f"{SOURCES}; else a fresh one.")] = None,
    data: Data = DEFAULT_DATA,
    config: Config = None,
    set_: Sets = None,
    outbox: _Outbox = False,
) -> None:
    """Add a key that opens, and does not seal until `sonde keys rotate NAME`. Print its name."""
    for name in add(_ring(data, config, set_, outbox), None if key is None else keys_from(key)):
        typer.echo(name)


@app.command("rotate")
def rotate_(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A key that is there; else a fresh one.")] = None,
    data: Data = DEFAULT_DATA,
    config: Config = None,
    set_: Sets = None,
    outbox: _Outbox = False,
) -> None:
    """Let another key seal from now on; those before go on opening. A running server takes it up within a second."""
    made = rotate(_ring(data, config, set_, outbox), name)
    typer.echo(made.key)
    _tell(made)
    note("Keep a copy of the key file elsewhere: without it the log cannot be read.")


@app.command("retire")
def retire_(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the key, as in sonde keys list.")],
    force: Annotated[
        bool, typer.Option("--force", help="Though frames need it: they can never be opened again.")
    ] = False,
    data: Data = DEFAULT_DATA,
    config: Config = None,
    set_: Sets = None,
    outbox: _Outbox = False,
) -> None:
    """Take out a key that nothing needs any more. With --force also one that frames need, or that is lost."""
    ring = _ring(data, config, set_, outbox)
    with progress_bar("reading headers") as report:
        need = retire(ring, name, force=force, progress=report)
    if need.frames:
        warn(f"{said(need)} can never be opened again")
    done(f"retired {name}; backups from before may still need it")


def _ring(data: Path, config: Path | None, sets: list[str] | None, outbox: bool) -> Ring:
    directory, settings = installation(data, config, sets)
    return ring_of_outbox(DataDirectory.open(data), settings) if outbox else ring_of_log(directory, settings)


def _tell(made: Rotated) -> None:
    if made.taken_up is None:
        done(f"{made.key} seals from the next start on")
    elif made.taken_up:
        done(f"{made.key} seals now, in place of {made.before}")
    else:
        warn(f"what runs has not taken up {made.key} yet; what it says tells why")


def _fields(line: KeyLine) -> dict[str, object]:
    need = line.need
    return {
        "name": line.name,
        "state": line.state,
        "place": line.place,
        "frames": need.frames,
        "readings": need.readings,
        "segments": need.segments,
        "first": format_time(need.first) if need.frames else None,
        "last": format_time(need.last) if need.frames else None,
    }


def _row(line: KeyLine) -> dict[str, object]:
    fields = _fields(line)
    return {
        **{name: fields[name] for name in ("name", "state", "place", "frames", "readings")},
        "from": str(fields["first"] or "")[:16].replace("T", " "),
        "to": str(fields["last"] or "")[:16].replace("T", " "),
    }
