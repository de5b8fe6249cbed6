"""``sonde commands``: what devices were asked to do."""

from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from sonde.cli.calling import calling
from sonde.cli.options import DEFAULT_DATA, Ca, Data, Json, TokenFile, Url
from sonde.cli.tables import print_json, print_table
from sonde.cli.terminal import done, note

app = typer.Typer(
    help="What devices were asked to do.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)
_SECONDS: Final = 120
_Id = Annotated[str, typer.Argument(metavar="ID", help="Id of the command.")]


@app.command("list")
def list_(
    data: Data = DEFAULT_DATA,
    device: Annotated[str, typer.Option(metavar="NAME", help="Only commands to this device.")] = "",
    state: Annotated[str, typer.Option(metavar="STATE", help="Only those that stand there, as in queued.")] = "",
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=10_000, help="How many at most; else 20.")] = 20,
    url: Url = "",
    token_file: TokenFile = None,
    ca: Ca = None,
    json: Json = False,
) -> None:
    """The newest commands, and what became of them."""
    asked = {name: text for name, text in (("device_id", device), ("state", state)) if text}
    with calling(data, url, token_file, ca, "sonde commands", _SECONDS) as client:
        found = client.query("/commands", limit=limit, **asked).data
    if json:
        print_json(found)
    else:
        print_table([_row(item) for item in found], empty="no commands; give one: sonde command DEVICE NAME")


@app.command()
def show(
    command: _Id,
    data: Data = DEFAULT_DATA,
    url: Url = "",
    token_file: TokenFile = None,
    ca: Ca = None,
    json: Json = False,
) -> None:
    """One command, step by step."""
    with calling(data, url, token_file, ca, "sonde commands", _SECONDS) as client:
        found = client.query(f"/commands/{quote(command, safe='')}").data
    if json:
        print_json(found)
        return
    print_table([{name: step[name] for name in ("time", "step", "progress", "message")} for step in found["steps"]])
    if found["details"] is not None:
        print_json(found["details"])
    note(f"{found['command']} on {found['device']}, asked for by {found['who']}: {found['state']}")


@app.command()
def cancel(command: _Id, data: Data = DEFAULT_DATA, url: Url = "", token_file: TokenFile = None, ca: Ca = None) -> None:
    """Take a command back that is still queued."""
    with calling(data, url, token_file, ca, "sonde commands", _SECONDS) as client:
        client.cancel(command)
    done(f"cancelled {command}")


def _row(item: dict[str, Any]) -> dict[str, Any]:
    return {
        "time": f"{item['accepted_at'][:19]}Z",
        "device": item["device"],
        "command": item["command"],
        "state": item["state"],
        "message": item["message"],
        "who": item["who"],
        "id": item["id"],
    }
