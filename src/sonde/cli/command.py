"""``sonde command``: have a device do something, and see what becomes of it."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Final

import msgspec
import typer
from rich.console import Console

from sonde.cli.calling import calling
from sonde.cli.options import DEFAULT_DATA, Ca, Data, Json, TokenFile, Url
from sonde.cli.tables import cell_text, print_json
from sonde.cli.terminal import ACCENT, done, is_live, note
from sonde.client import Client, Outcome
from sonde.errors import Invalid, NotFound, Problem, Reject

app = typer.Typer(add_completion=False, rich_markup_mode=None)
_WEEK: Final = 7 * 86_400
_YES, _NO = frozenset({"true", "yes", "on", "1"}), frozenset({"false", "no", "off", "0"})


@app.command()
def command(
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="The device.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="One of its commands.")],
    parameters: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Its parameters, as in duration=3.")
    ] = None,
    data: Data = DEFAULT_DATA,
    expires: Annotated[
        str, typer.Option(metavar="SPAN", help="How long it may wait for its device, as in 60s; else 5m.")
    ] = "",
    key: Annotated[str, typer.Option(metavar="KEY", help="Run again with the same key, it is not given again.")] = "",
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait for the device; print the id.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check it.")] = False,
    url: Url = "",
    token_file: TokenFile = None,
    ca: Ca = None,
    json: Json = False,
) -> None:
    """Have a device do something, and show what becomes of it.

    What the device gives back goes to standard output. Exit 0 when it succeeded, or was taken with --no-wait.
    """
    pairs = [_pair(text) for text in parameters or ()]
    with calling(data, url, token_file, ca, "sonde command", _WEEK) as client:
        given = _typed(pairs, _template(client, device, name))
        if dry_run:
            _print_check(client, device, name, given, json=json)
            return
        with _shown() as tell:
            try:
                outcome = client.command(
                    device, name, given, expires_in=expires or None, key=key, wait=not no_wait, tell=tell
                )
            except KeyboardInterrupt:
                note("it goes on without you: sonde commands list")
                raise typer.Exit(130) from None
    _print_outcome(outcome, waited=not no_wait, json=json)


def _print_check(client: Client, device: str, name: str, given: Mapping[str, Any], *, json: bool) -> None:
    checked = client.check(device, name, given)
    if json:
        print_json(msgspec.to_builtins(checked))
    there = "is there" if checked.online else "is not there now: it would be queued"
    done(f"{name} {_in_words(checked.parameters)} would be taken; the node {checked.node} {there}".replace("  ", " "))


def _print_outcome(outcome: Outcome, *, waited: bool, json: bool) -> None:
    if json:
        print_json(msgspec.to_builtins(outcome))
    elif not waited:
        typer.echo(outcome.id)
    elif outcome.details is not None:
        print_json(outcome.details)
    if waited and not outcome.ok:
        raise Reject(f"{outcome.command} {outcome.state}" + (f": {outcome.message}" if outcome.message else ""))
    if waited:
        done(outcome.message or f"{outcome.command} succeeded")
    elif outcome.online is False:
        note("its device is not there now; it is queued until then, or until it expires")


@contextmanager
def _shown() -> Iterator[Callable[[Outcome], None]]:
    """Shows how far a command is: in place when a person watches, else a line for each change."""
    if not is_live(sys.stderr):
        yield lambda outcome: None if outcome.is_over else note(_line(outcome))
        return
    with Console(stderr=True, highlight=False).status("sending", spinner="dots", spinner_style=ACCENT) as status:
        yield lambda outcome: status.update(_line(outcome))


def _line(outcome: Outcome) -> str:
    share = f" {outcome.progress:.0%}" if outcome.progress is not None and outcome.state == "running" else ""
    why = outcome.message
    if outcome.state == "queued" and outcome.online is False:
        why = "its device is not there; waiting for it"
    return cell_text(f"{outcome.state}{share}" + (f"  {why}" if why else ""))


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise Invalid(Problem(None, "", f"{text!r} is no parameter; write KEY=VALUE"))
    return name, value


def _template(client: Client, device: str, name: str) -> Mapping[str, Any]:
    """The parameters that a command declares; none if it does not exist, which the server says better."""
    try:
        found = client.query("/command-templates", device_id=device).data["command_templates"]
    except NotFound:
        return {}
    parameters: Mapping[str, Any] = found.get(name, {}).get("parameters", {})
    return parameters


def _typed(pairs: Sequence[tuple[str, str]], template: Mapping[str, Any]) -> dict[str, Any]:
    """Texts as values of the types that the command declares. What does not fit stays text: the server says what is wrong
    with it."""
    return {name: _value(text, template.get(name, {}).get("type", "")) for name, text in pairs}


def _value(text: str, type_: str) -> Any:
    lowered = text.strip().lower()
    if type_ == "string":
        return text
    if type_ == "boolean":
        return lowered in _YES if lowered in _YES | _NO else text
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return text


def _in_words(parameters: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={msgspec.json.encode(value).decode()}" for name, value in parameters.items())
