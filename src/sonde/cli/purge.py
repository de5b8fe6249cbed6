"""``sonde purge``: forget readings for good."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Protocol

import msgspec
import typer

from sonde.assemble.doctor.look_up import server_here
from sonde.assemble.purging import Matching, Stopped, purge_over
from sonde.assemble.remote import Remote, client_tls
from sonde.assemble.server import find_running
from sonde.cli.options import DEFAULT_DATA, Ca, Config, Data, Sets, TokenFile, Url, bearer_token
from sonde.cli.settings import installation, load_settings
from sonde.cli.terminal import done, note
from sonde.clock import SECOND, Micros, SystemClock
from sonde.errors import Hold, Invalid, Problem
from sonde.moment import format_time, parse_span, parse_time
from sonde.removal import PurgeOrder, whole_windows

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_WORD = "purge"


class _Place(Protocol):
    """Where purges are done."""

    def count(self, order: PurgeOrder) -> Matching: ...

    def purge(self, order: PurgeOrder) -> None: ...


class _Server:
    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def count(self, order: PurgeOrder) -> Matching:
        return purge_over(self._remote, order, dry_run=True)

    def purge(self, order: PurgeOrder) -> None:
        purge_over(self._remote, order, dry_run=False)


@app.command()
def purge(
    data: Data = DEFAULT_DATA,
    config: Config = None,
    set_: Sets = None,
    device: Annotated[
        str | None, typer.Option(metavar="PATTERN", help="Devices, as in 'press-7/*'; else every one.")
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Metrics; may be repeated; else every one.")
    ] = None,
    before: Annotated[
        str, typer.Option(metavar="TIME", help="Only what is older: a moment, or an age as in 90d; else all of it.")
    ] = "",
    why: Annotated[str, typer.Option("--note", metavar="TEXT", help="Why; kept in the audit trail.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do it without asking.")] = False,
    url: Url = "",
    token_file: TokenFile = None,
    ca: Ca = None,
) -> None:
    """Take readings out for good, with their windows, newest values and alerts. The server may be running or not.

    What comes afterwards is not touched. The log holds what was purged until it is cut, and backups made before hold it too.
    """
    moment = _moment(before) if before else None
    metrics: Sequence[str | None] = metric or (None,)
    orders = [PurgeOrder(device, one, moment, "local", why) for one in metrics]
    for order in orders:
        PurgeOrder.parse(msgspec.to_builtins(order))
    if not url and moment is not None:
        moment = whole_windows(moment, [round(w) for w in load_settings(config, data, set_).settled().process.windows])
        orders = [msgspec.structs.replace(order, before=moment) for order in orders]
    with _opened(data, config, set_, url, token_file, ca) as place:
        found = [place.count(order) for order in orders]
        _tell(orders, found)
        if not any(one.readings for one in found):
            note("nothing matches; nothing was done")
            return
        if not yes:
            _confirm()
        for order, one in zip(orders, found, strict=True):
            place.purge(msgspec.structs.replace(order, readings=one.readings))
    done(f"purged {sum(one.readings for one in found):,} readings")
    note("The log holds them until it is cut ([retention] log, log_size), and so do backups made before.")


@contextmanager
def _opened(
    data: Path, config: Path | None, sets: Sequence[str] | None, url: str, token: Path | None, ca: Path | None
) -> Iterator[_Place]:
    if url:
        bearer = bearer_token(token)
        yield _Server(Remote(url, {"Authorization": f"Bearer {bearer}"} if bearer else {}, client_tls(url, ca, data)))
        return
    directory, settings = installation(data, config, sets)
    if settings.topic is not None or find_running(directory) is not None:
        with server_here(directory, settings, "sonde purge") as remote:
            yield _Server(remote)
        return
    stopped = Stopped(directory, settings)
    try:
        yield stopped
    finally:
        stopped.close()


def _tell(orders: Sequence[PurgeOrder], found: Sequence[Matching]) -> None:
    for order, one in zip(orders, found, strict=True):
        until = "" if order.before is None else f", from before {format_time(order.before)}"
        devices = f"{one.devices:,} device{'' if one.devices == 1 else 's'}"
        typer.echo(f"{order.text}{until}: {one.readings:,} readings of {devices}")


def _confirm() -> None:
    if not sys.stdin.isatty():
        raise Hold("nobody is there to confirm it", hint="Add --yes if you are sure")
    typed = typer.prompt(f"They cannot be brought back. Type {_WORD} to go on", default="", show_default=False)
    if typed.strip() != _WORD:
        raise Hold("nothing was done", hint=f"Type {_WORD} to go on")


def _moment(text: str) -> Micros:
    try:
        if text[-1:].isalpha() and text[-1:] not in "zZ":
            return SystemClock().now() - round(parse_span(text) * SECOND)
        return parse_time(text)
    except Invalid:
        problem = f"{text[:64]!r} is neither an age such as 90d nor a moment such as 2026-01-01T00:00:00Z"
        raise Invalid(Problem(None, "--before", problem)) from None
