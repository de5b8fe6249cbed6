"""``sonde cert``: what proves who the server and its nodes are."""

from functools import partial
from typing import Annotated

import typer

from sonde.assemble.acts import note_local
from sonde.assemble.certificates.authority import Shown, renew_server, shown
from sonde.cli.options import DEFAULT_DATA, Config, Data, Json, Sets
from sonde.cli.settings import load_settings, place_of
from sonde.cli.tables import print_json, print_table
from sonde.cli.terminal import done
from sonde.clock import DAY, SystemClock
from sonde.directory import DataDirectory
from sonde.moment import format_time

app = typer.Typer(help="Certificates: show, renew.", no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@app.command()
def show(data: Data = DEFAULT_DATA, config: Config = None, set_: Sets = None, json: Json = False) -> None:
    """Show every certificate here, whom it names, and when it ends."""
    directory, settings = DataDirectory.open(data), load_settings(config, data, set_).settled()
    found = list(shown(directory, settings))
    if json:
        print_json([_fields(each) for each in found])
    else:
        print_table([_row(each) for each in found], empty="no certificates here; make them: sonde init --tls")


@app.command()
def renew(
    data: Data = DEFAULT_DATA,
    host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Name or address of the server; may be repeated; else as before."),
    ] = None,
) -> None:
    """Make a new certificate for the server, with a new key. A running server shows it to new connections at once."""
    directory = DataDirectory.open(data)
    made = renew_server(directory, host or (), partial(note_local, *place_of(data)))
    done(f"wrote {directory.certificate}: for {', '.join(made.names)}, until {format_time(made.ends)[:10]}")


def _fields(found: Shown) -> dict[str, object]:
    said = found.certificate
    return {
        "role": found.role,
        "file": str(found.file),
        "subject": said.subject,
        "issuer": said.issuer,
        "names": list(said.names),
        "begins": format_time(said.begins),
        "ends": format_time(said.ends),
        "days_left": _days_left(found),
        "fingerprint": said.fingerprint,
    }


def _row(found: Shown) -> dict[str, object]:
    said = found.certificate
    left = _days_left(found)
    return {
        "role": found.role,
        "for": ", ".join(said.names) or said.subject,
        "ends": f"{format_time(said.ends)[:10]} ({f'in {left} days' if left >= 0 else 'ended'})",
        "made_by": said.issuer,
        "file": str(found.file),
    }


def _days_left(found: Shown) -> int:
    return (found.certificate.ends - SystemClock().now()) // DAY
