"""``sonde audit``: who did what."""

import re
from dataclasses import asdict
from typing import Annotated, Any, Final

import typer

from sonde.assemble.acts import open_trail
from sonde.assemble.anchors import verify_trail
from sonde.audit import described, find
from sonde.cli.options import DEFAULT_DATA, Config, Data, Json, Sets
from sonde.cli.settings import installation, place_of
from sonde.cli.tables import print_json, print_table
from sonde.cli.terminal import done
from sonde.errors import Invalid, Problem

app = typer.Typer(
    help="The audit trail: who did what.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)

_ANCHOR: Final = re.compile(r"([1-9][0-9]{0,17}):([0-9a-f]{64})", re.ASCII)


@app.command()
def show(
    data: Data = DEFAULT_DATA,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000_000, help="How many at most.")] = 20,
    who: Annotated[str, typer.Option(metavar="NAME", help="Only what this one did; local: commands here.")] = "",
    what: Annotated[
        str, typer.Option(metavar="KIND", help="Only such acts: token.create, or token for all about tokens.")
    ] = "",
    config: Config = None,
    set_: Sets = None,
    json: Json = False,
) -> None:
    """Show what was done on purpose, newest first."""
    acts: list[dict[str, Any]] = []
    before: int | None = None
    with open_trail(*place_of(data, config, set_)) as trail:
        while len(acts) < limit:
            found, before = find(trail.read, before, limit - len(acts), who, what)
            acts += [described(number, act) for number, act in found]
            if before is None:
                break
    if json:
        print_json(acts)
    else:
        print_table([_row(act) for act in acts], empty="nothing was done yet, or nothing that fits")


@app.command()
def verify(
    data: Data = DEFAULT_DATA,
    config: Config = None,
    set_: Sets = None,
    anchor: Annotated[
        list[str] | None,
        typer.Option(metavar="NUMBER:HASH", help="What an earlier verify printed; may be repeated."),
    ] = None,
    no_log: Annotated[bool, typer.Option("--no-log", help="Without the anchors that the log holds.")] = False,
    json: Json = False,
) -> None:
    """Check that no act was changed, taken out or put in; exit 1 if one was. The server may be running."""
    directory, settings = installation(data, config, set_)
    found = verify_trail(directory, settings, dict(map(_anchor, anchor or ())), in_log=not no_log)
    if json:
        print_json(asdict(found))
        return
    if found.number:
        typer.echo(f"{found.number}:{found.hash}")
    done(f"{_many(found.acts, 'act')} as written; {_many(found.anchors, 'anchor')} compared")


def _anchor(text: str) -> tuple[int, bytes]:
    match = _ANCHOR.fullmatch(text.strip().lower())
    if match is None:
        raise Invalid(Problem(None, "--anchor", f"{text[:80]!r} is no number and hash as verify prints them"))
    return int(match[1]), bytes.fromhex(match[2])


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _row(act: dict[str, Any]) -> dict[str, object]:
    return {
        "number": act["number"],
        "time": f"{act['time'][:19]}Z",
        "who": act["who"],
        "what": act["what"],
        "on": act["on"],
        "from": act["address"],
        "detail": " ".join(f"{name}={text}" for name, text in act["detail"].items()),
    }
