"""``sonde token``: who may do what."""

from pathlib import Path
from typing import Annotated

import typer

from sonde.assemble.server import running
from sonde.assemble.tokens import open_control, open_people
from sonde.cli.options import DEFAULT_DATA, Data, Json
from sonde.cli.tables import print_json, print_table
from sonde.cli.terminal import done, note
from sonde.clock import SECOND, Micros, SystemClock
from sonde.directory import DataDirectory
from sonde.errors import Invalid, Problem
from sonde.moment import format_time, parse_span, parse_time
from sonde.ports import Credential

app = typer.Typer(help="Tokens: who may do what.", no_args_is_help=True, add_completion=False, rich_markup_mode=None)

_ADMIN = "admin"
_NameOrId = Annotated[str, typer.Argument(metavar="NAME|ID", help="Name or id of the token.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it; two valid tokens may share a name.")],
    scope: Annotated[list[str], typer.Option(metavar="SCOPE", help="ingest, read, command or admin; may be repeated.")],
    data: Data = DEFAULT_DATA,
    device: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Devices it may write, as in 'boiler-*'; else all.")
    ] = None,
    node: Annotated[str, typer.Option(metavar="NAME", help="The node that it identifies.")] = "",
    expires: Annotated[
        str, typer.Option(metavar="SPAN", help="When it ends: after a span as in 90d, or a moment.")
    ] = "",
) -> None:
    """Make a token and print it, alone, on standard output. It is not shown again."""
    ends = _moment(expires) if expires else None
    scopes = [word for words in scope for word in words.replace(",", " ").split()]
    with open_people(_directory(data)) as people:
        made, _ = people.create_token(name, scopes, devices=device or (), node=node, expires=ends)
    typer.echo(made.text)
    note("Keep it now, it is not shown again. Programs send it as the header Authorization: Bearer sonde_…")


@app.command("list")
def list_(data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """Show all tokens, without their secrets."""
    with open_control(DataDirectory.open(data)) as control:
        credentials = control.tokens()
    if json:
        print_json([_fields(credential) for credential in credentials])
    else:
        print_table(
            [_row(c) for c in credentials], empty="no tokens yet; make one: sonde token create NAME --scope ingest"
        )


@app.command()
def revoke(token: _NameOrId, data: Data = DEFAULT_DATA) -> None:
    """Revoke tokens. A running server sees it within a second."""
    with open_people(DataDirectory.open(data)) as people:
        revoked = people.revoke_token(token)
    done(f"revoked {revoked} token{'s' if revoked > 1 else ''}")


@app.command()
def link(token: _NameOrId = _ADMIN, data: Data = DEFAULT_DATA) -> None:
    """Print a link that signs a browser in, once, with the rights of a token."""
    directory = DataDirectory.open(data)
    server = running(directory)
    with open_people(directory) as people:
        secret = people.make_link(token)
    typer.echo(server.sign_in_url(secret))


def _directory(data: Path) -> DataDirectory:
    """The data directory; a token may be made before the first start."""
    if not (data / "FORMAT").exists():
        directory = DataDirectory.create(data)
        note(f"{data} is a new data directory")
        return directory
    return DataDirectory.open(data)


def _moment(text: str) -> Micros:
    now = SystemClock().now()
    try:
        return now + parse_span(text) * SECOND if text[-1:].isalpha() and text[-1:] not in "zZ" else parse_time(text)
    except Invalid:
        problem = f"{text!r} is neither a span such as 90d nor a moment such as 2030-01-01T00:00:00Z"
        raise Invalid(Problem(None, "--expires", problem)) from None


def _state(c: Credential) -> str:
    if c.revoked:
        return "revoked"
    return "expired" if c.expires is not None and c.expires <= SystemClock().now() else "valid"


def _fields(c: Credential) -> dict[str, object]:
    return {
        "name": c.name,
        "id": c.id,
        "scopes": sorted(c.scopes),
        "devices": list(c.devices),
        "node": c.node,
        "created": format_time(c.created),
        "last_used": None if c.last_used is None else format_time(c.last_used),
        "expires": None if c.expires is None else format_time(c.expires),
        "state": _state(c),
    }


def _row(c: Credential) -> dict[str, object]:
    return {
        "name": c.name,
        "id": c.id,
        "scopes": " ".join(sorted(c.scopes)),
        "devices": " ".join(c.devices) or "all",
        "node": c.node,
        "last_used": _minute(c.last_used) or "never",
        "expires": _minute(c.expires) or "never",
        "state": _state(c),
    }


def _minute(moment: Micros | None) -> str:
    return "" if moment is None else f"{format_time(moment)[:16]}Z"
