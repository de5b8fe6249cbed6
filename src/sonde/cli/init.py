"""``sonde init``: a configuration to begin with, and certificates."""

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from sonde.assemble.acts import note_local
from sonde.assemble.certificates.authority import make_certificates
from sonde.cli.options import DEFAULT_DATA
from sonde.cli.settings import place_of
from sonde.cli.terminal import done, note
from sonde.config import as_file
from sonde.directory import DataDirectory
from sonde.errors import Conflict
from sonde.moment import format_time

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_TLS = {("tls", "enabled"): "yes"}


@app.command()
def init(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="Where to; else config.ini.")] = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="Write config.ini into this data directory.")
    ] = None,
    tls: Annotated[
        bool, typer.Option("--tls", help="Make a private authority and a certificate in the data directory too.")
    ] = False,
    host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Name or address of the server, for its certificate; may be repeated."),
    ] = None,
) -> None:
    """Write a commented config.ini with every setting and fresh secrets (mode 0600). Nothing is overwritten.

    With --tls it also makes certificates, and turns TLS on in the file that it writes.
    """
    target = file or (data / "config.ini" if data else Path("config.ini"))
    if host and not tls:
        raise typer.BadParameter("goes with --tls", param_hint="--host")
    if not tls:
        _write(target, {})
        return
    _make(data or DEFAULT_DATA, host or [])
    if target.exists():
        note(f"{target} is there already, and nothing is overwritten; set this in it: [tls] enabled = yes")
    else:
        _write(target, _TLS)


def _make(data: Path, hosts: list[str]) -> None:
    directory = DataDirectory.create(data)
    made = make_certificates(directory, hosts, partial(note_local, *place_of(data)))
    done(f"wrote {directory.certificate}: for {', '.join(made.names)}, until {format_time(made.ends)[:10]}")
    done(f"wrote {directory.authority}: what browsers and clients have to trust; keep authority.key beside it secret")


def _write(target: Path, given: Mapping[tuple[str, str], str]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise Conflict(f"{target} is there already, and nothing is overwritten", hint="Name another file") from None
    with os.fdopen(handle, "w", encoding="utf-8") as opened:
        opened.write(as_file(given))
    done(f"wrote {target}: every setting, with fresh keys. `sonde config check` reads it")
