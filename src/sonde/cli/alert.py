"""``sonde alert``: what is wrong now, and who takes care of it."""

from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from sonde.cli.calling import calling
from sonde.cli.options import DEFAULT_DATA, Ca, Data, Json, TokenFile, Url
from sonde.cli.tables import print_json, print_table
from sonde.cli.terminal import done, note
from sonde.clock import SECOND, SystemClock
from sonde.moment import format_time, parse_span, parse_time

app = typer.Typer(
    help="Alerts: what is wrong, and who takes care of it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
_SECONDS: Final = 120
_AGENT: Final = "sonde alert"
_Id = Annotated[str, typer.Argument(metavar="ID", help="Id of the alert.")]
_Why = Annotated[str, typer.Option(metavar="TEXT", help="For whoever looks at it later.")]


@app.command("list")
def list_(
    data: Data = DEFAULT_DATA,
    state: Annotated[str, typer.Option(metavar="STATE", help="open, firing, resolved …; else open.")] = "open",
    severity: Annotated[str, typer.Option(metavar="SEVERITY", help="Only info, warning or critical.")] = "",
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=10_000, help="How many at most; else 20.")] = 20,
    url: Url = "",
    token_file: TokenFile = None,
    ca: Ca = None,
    json: Json = False,
) -> None:
    """Show alerts, newest first: those that are open, unless told otherwise."""
    asked = {name: text for name, text in (("state", state), ("severity", severity)) if text}
    with calling(data, url, token_file, ca, _AGENT, _SECONDS) as client:
        found = client.query("/alerts", limit=limit, **asked).data
    if json:
        print_json(found)
    else:
        print_table([_row(item) for item in found], empty="no such alerts")


@app.command()
def show(
    alert: _Id,
    data: Data = DEFAULT_DATA,
    url: Url = "",
    token_file: TokenFile = None,
    ca: Ca = None,
    json: Json = False,
) -> None:
    """One alert, with what became of it."""
    with calling(data, url, token_file, ca, _AGENT, _SECONDS) as client:
        found = client.query(_path(alert)).data
    if json:
        print_json(found)
        return
    print_table([{**event, "time": f"{event['time'][:19]}Z"} for event in found["history"]], empty="it has not fired")
    note(f"{found['message']}: {found['state']}")


@app.command()
def ack(
    alert: _Id, data: Data = DEFAULT_DATA, why: _Why = "", url: Url = "", token_file: TokenFile = None, ca: Ca = None
) -> None:
    """Acknowledge an alert: somebody has seen it, and takes care of it."""
    with calling(data, url, token_file, ca, _AGENT, _SECONDS) as client:
        client.change("POST", f"{_path(alert)}/acknowledge", {"why": why})
    done(f"acknowledged {alert}")


@app.command()
def shelve(
    alert: _Id,
    until: Annotated[str, typer.Argument(metavar="TIME", help="A moment, or a span from now as in 2h.")],
    data: Data = DEFAULT_DATA,
    why: _Why = "",
    url: Url = "",
    token_file: TokenFile = None,
    ca: Ca = None,
) -> None:
    """Be quiet about an alert until a moment; then it fires again if it still holds."""
    end = _end(until)
    with calling(data, url, token_file, ca, _AGENT, _SECONDS) as client:
        client.change("POST", f"{_path(alert)}/shelve", {"until": end, "why": why})
    done(f"shelved {alert} until {end[:19]}Z")


def _path(alert: str) -> str:
    return f"/alerts/{quote(alert, safe='')}"


def _end(text: str) -> str:
    if text[-1:].isalpha() and text[-1:] not in "zZ":
        return format_time(SystemClock().now() + parse_span(text, "until") * SECOND)
    return format_time(parse_time(text, "until"))


def _row(item: dict[str, Any]) -> dict[str, Any]:
    return {
        "time": f"{item['time'][:19]}Z",
        "state": item["state"],
        "severity": item["severity"],
        "message": item["message"],
        "rule": item["rule"],
        "id": item["alert_id"],
    }
