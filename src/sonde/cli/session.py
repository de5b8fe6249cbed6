"""``sonde session``: who is signed in."""

from typing import Annotated, Any

import typer

from sonde.assemble.tokens import open_people
from sonde.cli.options import DEFAULT_DATA, Config, Data, Json, Sets
from sonde.cli.settings import place_of
from sonde.cli.tables import minute, print_json, print_table
from sonde.cli.terminal import done
from sonde.errors import NotFound
from sonde.people import described_session

app = typer.Typer(help="Sessions: who is signed in.", no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@app.command("list")
def list_(data: Data = DEFAULT_DATA, config: Config = None, set_: Sets = None, json: Json = False) -> None:
    """Show the browsers that are signed in, and the links that wait to be used."""
    with open_people(*place_of(data, config, set_)) as people:
        sessions = [described_session(session) for session in people.sessions()]
    if json:
        print_json(sessions)
    else:
        print_table([_row(session) for session in sessions], empty="nobody is signed in; sonde token link makes a link")


@app.command()
def revoke(
    session: Annotated[str, typer.Argument(metavar="ID|NAME", help="Id of one session, or the name of a token.")],
    data: Data = DEFAULT_DATA,
    config: Config = None,
    set_: Sets = None,
) -> None:
    """End a session, or all those of a token. A running server sees it within a second."""
    with open_people(*place_of(data, config, set_)) as people:
        try:
            people.end_session(session)
            ended = 1
        except NotFound:
            ended = people.end_sessions_of(session)
    done(f"ended {ended} session{'s' if ended > 1 else ''}")


def _row(session: dict[str, Any]) -> dict[str, object]:
    return {
        "id": session["id"],
        "name": session["name"],
        "kind": session["kind"],
        "created": minute(session["created"]),
        "expires": minute(session["expires"]),
        "last_used": minute(session["last_used"]) or "never",
        "address": session["last_address"] or session["address"],
        "agent": session["agent"],
    }
