"""``sonde token``: who may do what."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from sonde.assemble.server import running
from sonde.assemble.tokens import open_control, open_people
from sonde.cli.options import DEFAULT_DATA, Config, Data, Json, Sets
from sonde.cli.settings import Place, load_settings, place_of
from sonde.cli.tables import minute, print_json, print_table
from sonde.cli.terminal import done, note
from sonde.clock import SystemClock
from sonde.directory import DataDirectory
from sonde.people import described, parse_end

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
    config: Config = None,
    set_: Sets = None,
) -> None:
    """Make a token and print it, alone, on standard output. It is not shown again."""
    ends = parse_end(expires, SystemClock().now(), "--expires") if expires else None
    scopes = [word for words in scope for word in words.replace(",", " ").split()]
    with open_people(*_place(data, config, set_)) as people:
        made, _ = people.create_token(name, scopes, devices=device or (), node=node, expires=ends)
    typer.echo(made.text)
    note("Keep it now, it is not shown again. Programs send it as the header Authorization: Bearer sonde_…")


@app.command("list")
def list_(data: Data = DEFAULT_DATA, config: Config = None, set_: Sets = None, json: Json = False) -> None:
    """Show all tokens, without their secrets."""
    with open_control(*place_of(data, config, set_)) as control:
        tokens = [described(credential, SystemClock().now()) for credential in control.tokens()]
    if json:
        print_json(tokens)
    else:
        print_table([_row(t) for t in tokens], empty="no tokens yet; make one: sonde token create NAME --scope ingest")


@app.command()
def revoke(token: _NameOrId, data: Data = DEFAULT_DATA, config: Config = None, set_: Sets = None) -> None:
    """Revoke tokens and end their sessions. A running server sees it within a second."""
    with open_people(*place_of(data, config, set_)) as people:
        revoked = people.revoke_token(token)
    done(f"revoked {revoked} token{'s' if revoked > 1 else ''}")


@app.command()
def link(token: _NameOrId = _ADMIN, data: Data = DEFAULT_DATA, config: Config = None, set_: Sets = None) -> None:
    """Print a link that signs a browser in, once, with the rights of a token."""
    place = place_of(data, config, set_)
    server = running(place.directory, shared=place.settings is not None)
    with open_people(*place) as people:
        secret = people.make_link(token)
    typer.echo(server.sign_in_url(secret))


def _place(data: Path, config: Path | None, options: Sequence[str] | None) -> Place:
    """Where tokens are; one may be made before the first start."""
    if not (data / "FORMAT").exists() and load_settings(config, data, options).settled().database is None:
        DataDirectory.create(data)
        note(f"{data} is a new data directory")
    return place_of(data, config, options)


def _row(token: dict[str, Any]) -> dict[str, object]:
    return {
        "name": token["name"],
        "id": token["id"],
        "scopes": " ".join(token["scopes"]),
        "devices": " ".join(token["devices"]) or "all",
        "node": token["node"],
        "last_used": minute(token["last_used"]) or "never",
        "expires": minute(token["expires"]) or "never",
        "state": token["state"],
    }
