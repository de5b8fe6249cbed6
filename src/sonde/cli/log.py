"""``sonde log``: the log itself."""

import sys
import time
from collections import deque
from contextlib import closing, nullcontext
from dataclasses import asdict
from enum import StrEnum
from operator import itemgetter
from pathlib import Path
from typing import Annotated

import typer

from sonde.assemble.keys.rings import opening_ring
from sonde.assemble.keys.source import SOURCES, keys_from
from sonde.assemble.log.copying_out import copy_out
from sonde.assemble.log.line_import import import_lines
from sonde.assemble.log.look import Export, LogView, Verification, lines, unit_of
from sonde.cli.options import DEFAULT_DATA, Config, Data, Json, Sets
from sonde.cli.progress import progress_bar
from sonde.cli.settings import installation, load_settings
from sonde.cli.tables import print_json
from sonde.cli.terminal import done, warn
from sonde.clock import Micros
from sonde.directory import DataDirectory
from sonde.errors import Conflict, Damaged

app = typer.Typer(help="The log itself.", no_args_is_help=True, add_completion=False, rich_markup_mode=None)

_FIRST_LOOK = 16  # frames from the end that a tail looks at first
_FOLLOW_SECONDS = 0.2


class Form(StrEnum):
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


@app.command()
def verify(data: Data = DEFAULT_DATA, config: Config = None, set_: Sets = None, json: Json = False) -> None:
    """Walk every frame and check it; exit 1 if anything is damaged or missing. The server may be running."""
    with closing(LogView(*installation(data, config, set_))) as view, progress_bar("verifying") as report:
        found = view.verify(report)
    if json:
        print_json({**asdict(found), "sound": found.sound})
    else:
        _print(found)
    if not found.sound:
        raise typer.Exit(1)


@app.command()
def tail(
    data: Data = DEFAULT_DATA,
    config: Config = None,
    set_: Sets = None,
    number: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many lines.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
) -> None:
    """Print the newest readings and other entries, decrypted, as JSON lines."""
    with closing(LogView(*installation(data, config, set_))) as view:
        start = _print_last(view, number)
        while follow:
            for place in view.frames(start, damaged=_tell):
                _write(lines(place))
                start[place.partition] = place.offset + 1
            time.sleep(_FOLLOW_SECONDS)


@app.command()
def export(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="Where to; else standard output.")] = None,
    data: Data = DEFAULT_DATA,
    config: Config = None,
    set_: Sets = None,
    format_: Annotated[
        Form | None, typer.Option("--format", help="Else what the name of FILE says, else jsonl.")
    ] = None,
) -> None:
    """Write all that the log holds, as it came: JSON lines with every entry, or the readings as CSV or Parquet.

    What cannot be read is left out and said, and the exit code is 1.
    """
    form = format_ or (Form.JSONL if file is None else _form_of(file))
    unread: list[Damaged] = []
    with closing(LogView(*installation(data, config, set_))) as view:
        try:
            out = nullcontext(sys.stdout.buffer) if file is None else file.open("xb")
        except FileExistsError:
            raise Conflict(f"{file} is there already, and nothing is overwritten", hint="Name another file") from None
        with out as target, progress_bar("exporting", counts="frames") as report:
            writer = Export(target, form)
            for place in view.frames(damaged=unread.append, progress=report):
                writer.write(place)
            writer.close()
    for damage in unread:
        _tell(damage)
    done(f"exported {writer.readings:,} readings{f' to {file}' if file else ''}")
    if unread:
        raise typer.Exit(1)


@app.command("import")
def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The line log of an older sink: one Fernet token a line.")
    ],
    key: Annotated[
        list[str] | None,
        typer.Option(
            "--key", metavar="SOURCE", help=f"{SOURCES}; may be repeated. Else the keys of this installation."
        ),
    ] = None,
    data: Data = DEFAULT_DATA,
    config: Config = None,
    set_: Sets = None,
) -> None:
    """Take in the encrypted line log of an older sink, with the times that its readings have. The server may be running.

    Done twice, nothing is stored twice; what was interrupted goes on. Lines that cannot be taken are printed with their
    numbers, and the exit code is 1.
    """
    directory, settings = DataDirectory.open(data), load_settings(config, data, set_).settled()
    found = [keys_from(source) for source in key or ()]
    keys = {name: each for keys in found for name, each in keys.items()} or opening_ring(directory, settings).keys
    with progress_bar("importing") as report:
        made = import_lines(directory, settings, file, keys, report)
    for bad in sorted(made.bad, key=lambda bad: bad.number):
        typer.echo(f"line {bad.number}: {bad.why}")
    before = f"; {made.before:,} lines had been taken in before" if made.before else ""
    done(f"imported {made.readings:,} readings from {made.lines:,} lines{before}")
    if made.bad:
        warn(f"{len(made.bad):,} lines could not be taken in; with another key, run it again: only those are tried")
        raise typer.Exit(1)


@app.command()
def copy(
    from_: Annotated[
        Path,
        typer.Option("--from", metavar="DIR", help="Data directory of the embedded installation; nothing runs on it."),
    ],
    to: Annotated[
        str, typer.Option("--to", metavar="URL", help="kafka://HOST:PORT[,HOST:PORT…]/TOPIC; else as the settings say.")
    ] = "",
    partial: Annotated[
        bool, typer.Option("--partial", help="Copy what there is, though the beginning of the log was let go.")
    ] = False,
    config: Config = None,
    set_: Sets = None,
) -> None:
    """Copy the log of an embedded installation into a topic of Kafka, frame by frame, with the times that it has.

    The processors do the rest. What was interrupted goes on; done again, it copies what has come since. Tokens, sessions, acts
    and notices move too if the settings name a database, and it has none.
    """
    directory = DataDirectory.open(from_)
    settings = load_settings(config, from_, set_).settled()
    with progress_bar("copying", counts="frames") as report:
        made = copy_out(directory, settings, to, report, partial=partial)
    for place in made.log.unread:
        typer.echo(f"left behind: {place}")
    before = f"; {made.log.before:,} frames had been copied before" if made.log.before else ""
    done(f"copied {made.log.frames:,} frames with {made.log.readings:,} readings to {made.topic}{before}")
    if made.unmoved:
        warn(f"tokens and acts were not moved: {made.unmoved}")
    else:
        done(f"moved {made.tokens:,} tokens, with sessions, acts and notices, into the database")
    if made.log.unread:
        warn("what cannot be read was left behind; the embedded store has it among its gaps")
        raise typer.Exit(1)


def _form_of(file: Path) -> Form:
    return {".csv": Form.CSV, ".parquet": Form.PARQUET}.get(file.suffix.lower(), Form.JSONL)


def _print_last(view: LogView, number: int) -> dict[int, int]:
    """Print the last lines, of all partitions in the order in which they came; where reading can go on."""
    ends = view.ends()
    after = {partition: end for partition, (_, end) in ends.items()}
    look = _FIRST_LOOK
    while number:
        start = {partition: max(first, end - look) for partition, (first, end) in ends.items()}
        last: dict[int, deque[tuple[Micros, bytes]]] = {partition: deque(maxlen=number) for partition in ends}
        for place in view.frames(start, damaged=_tell):
            came = place.frame.header.log_time
            last[place.partition].extend((came, line) for line in lines(place))
            after[place.partition] = place.offset + 1
        if all(len(last[p]) == number or start[p] == first for p, (first, _) in ends.items()):
            merged = sorted((line for some in last.values() for line in some), key=itemgetter(0))
            _write([line for _, line in merged[-number:]])
            break
        look *= 8
    return after


def _tell(damage: Damaged) -> None:
    warn(f"left out: {damage.message}")


def _write(some: list[bytes]) -> None:
    sys.stdout.buffer.write(b"".join(some))
    sys.stdout.buffer.flush()


def _print(found: Verification) -> None:
    opened = (
        "all opened"
        if found.opened == found.frames
        else "not opened: no keys"
        if not found.opened
        else f"{found.opened:,} opened, {found.retired:,} of keys that were retired"
    )
    typer.echo(f"segments   {found.segments:,}" if found.segments else f"partitions {found.partitions:,}")
    typer.echo(f"frames     {found.frames:,} ({opened})")
    typer.echo(f"readings   {found.readings:,}")
    typer.echo(f"bytes      {found.bytes:,}")
    if found.events:
        typer.echo(f"events     {found.events:,} records that other programs wrote")
    for file, place, size in found.torn:
        warn(f"torn tail: {size:,} bytes in {file} at byte {place}; nobody had a receipt for them")
    for file, place, what in found.damage:
        typer.echo(f"damaged    {file} at {unit_of(file)} {place}: {what}")
    for file, place, what in found.breaks:
        typer.echo(f"broken     {file} at {unit_of(file)} {place}: {what}")
    if found.sound:
        done("the log is sound")
