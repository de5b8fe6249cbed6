"""``sonde rule``: what alerts are raised for."""

from typing import Annotated, Any, Final
from urllib.parse import quote

import typer
from pydantic import ValidationError

from sonde.cli.calling import calling
from sonde.cli.options import DEFAULT_DATA, Ca, Data, Json, TokenFile, Url
from sonde.cli.tables import minute, print_json, print_table
from sonde.cli.terminal import done, note
from sonde.clock import SECOND, SystemClock
from sonde.config.named import Rule as Section
from sonde.errors import Invalid, Problem
from sonde.moment import format_span, format_time, parse_span, parse_time

app = typer.Typer(
    help="Rules: what alerts are raised for.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)
_SECONDS: Final = 120
_AGENT: Final = "sonde rule"
_Id = Annotated[str, typer.Argument(metavar="NAME", help="Name of the rule.")]
_Keys = Annotated[
    list[str],
    typer.Argument(
        metavar="KEY=VALUE", help="As in the configuration: type=above metric=co2 threshold=1000 duration=5m."
    ),
]


@app.command("list")
def list_(
    data: Data = DEFAULT_DATA, url: Url = "", token_file: TokenFile = None, ca: Ca = None, json: Json = False
) -> None:
    """Show the rules in force, and who said so last."""
    with calling(data, url, token_file, ca, _AGENT, _SECONDS) as client:
        found = client.query("/alert-rules", limit=10_000).data
    if json:
        print_json(found)
    else:
        print_table(
            [_row(item) for item in found], empty="no rules; set one: sonde rule set NAME type=above threshold=…"
        )


@app.command("set")
def set_(
    name: _Id, keys: _Keys, data: Data = DEFAULT_DATA, url: Url = "", token_file: TokenFile = None, ca: Ca = None
) -> None:
    """Set a rule, new or in place of the one with this name. It is in force at once, and after restarts."""
    body = _parsed(name, keys)
    with calling(data, url, token_file, ca, _AGENT, _SECONDS) as client:
        client.change("PUT", _path(name), body)
    done(f"set {name}")


@app.command()
def remove(name: _Id, data: Data = DEFAULT_DATA, url: Url = "", token_file: TokenFile = None, ca: Ca = None) -> None:
    """Remove a rule. Its open alerts are resolved."""
    with calling(data, url, token_file, ca, _AGENT, _SECONDS) as client:
        client.change("DELETE", _path(name))
    done(f"removed {name}")


@app.command()
def preview(
    keys: _Keys,
    data: Data = DEFAULT_DATA,
    since: Annotated[
        str, typer.Option(metavar="TIME", help="A moment, or a span before now as in 7d; else 1d.")
    ] = "1d",
    until: Annotated[str, typer.Option(metavar="TIME", help="A moment, or a span before now; else now.")] = "",
    url: Url = "",
    token_file: TokenFile = None,
    ca: Ca = None,
    json: Json = False,
) -> None:
    """Tell what a rule would have done in the past. Nothing is changed."""
    asked = {"rule": _parsed("preview", keys), "since": _moment(since, "--since"), "until": _moment(until, "--until")}
    with calling(data, url, token_file, ca, _AGENT, _SECONDS) as client:
        found = client.change("POST", "/alert-rules/preview", asked).data
    if json:
        print_json(found)
        return
    print_table([_previewed(alert) for alert in found["alerts"]], empty="it would not have fired")
    if found["count"]:
        seconds = found["firing_seconds"]
        long = f"{seconds / 3600:,.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"
        note(f"alerts: {found['count']:,}, series: {found['series']:,}; firing for {long} in all")


def _path(name: str) -> str:
    return f"/alert-rules/{quote(name, safe='')}"


def _parsed(name: str, keys: list[str]) -> dict[str, Any]:
    """The rule that words like ``threshold=1000`` make, as it travels."""
    given: dict[str, str] = {}
    for word in keys:
        key, equals, value = word.partition("=")
        if not equals:
            raise Invalid(Problem(None, word, "has another form; write KEY=VALUE, as in threshold=1000"))
        given[key.strip().lower()] = value
    try:
        return Section.model_validate(given).rule(name).body()
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        known = ", ".join(Section.model_fields)
        said = f"is no key of a rule; there are {known}" if first["type"] == "extra_forbidden" else first["msg"]
        raise Invalid(Problem(None, field, said.removeprefix("Value error, "))) from None


def _moment(text: str, option: str) -> str:
    now = SystemClock().now()
    if not text:
        return format_time(now)
    if text[-1:].isalpha() and text[-1:] not in "zZ":
        return format_time(now - parse_span(text, option) * SECOND)
    return format_time(parse_time(text, option))


def _row(item: dict[str, Any]) -> dict[str, Any]:
    rule = item["rule"]
    looked = {n: rule[n] for n in ("metric", "device", "site", "zone") if rule[n] != "*"}
    what = {n: rule[n] for n in ("of", "window", "across", "threshold", "upper", "text", "per", "duration", "clear")}
    usual = {"across": "series", "duration": 0.0}
    said = {n: value for n, value in what.items() if value is not None and value != usual.get(n)}
    return {
        "name": item["id"],
        "type": rule["type"],
        "watches": " ".join(f"{n}={value}" for n, value in looked.items()) or "everything",
        "when": " ".join(f"{n}={_shown(n, value)}" for n, value in said.items()),
        "severity": rule["severity"],
        "said_by": item["who"] or item["source"],
        "changed": minute(item["changed"]),
    }


def _shown(name: str, value: Any) -> str:
    if name in ("window", "per", "duration") and value == int(value):
        return format_span(int(value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _previewed(alert: dict[str, Any]) -> dict[str, Any]:
    place = alert["device"] or " ".join(n for n in (alert["site"], alert["zone"]) if n)
    return {
        "fired_at": f"{alert['fired_at'][:19]}Z",
        "resolved_at": f"{alert['resolved_at'][:19]}Z" if alert["resolved_at"] else "still firing",
        "place": place,
        "metric": alert["metric"],
        "value": alert["value"],
        "peak": alert["peak"],
        "message": alert["message"],
    }
