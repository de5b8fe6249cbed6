"""``sonde status``: how a running Sonde is."""

import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.live import Live

from sonde.assemble.doctor.look_up import server_here, status_of
from sonde.assemble.remote import Remote, client_tls
from sonde.cli.live import StatusTable
from sonde.cli.options import DEFAULT_DATA, Ca, Data, Json, TokenFile, Url, bearer_token
from sonde.cli.running import REFRESH, Stop
from sonde.cli.settings import place_of
from sonde.cli.tables import print_json
from sonde.cli.terminal import is_live
from sonde.status import Status

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def status(
    data: Data = DEFAULT_DATA,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until Ctrl-C.")] = False,
    json: Json = False,
    url: Url = "",
    token_file: TokenFile = None,
    ca: Ca = None,
) -> None:
    """Show how a running Sonde is: once, or again and again. Exits with 1 if it is not ready."""
    place: Any = (
        nullcontext(Remote(url, _bearer(token_file), client_tls(url, ca, data)))
        if url
        else server_here(*place_of(data), "sonde status")
    )
    with place as remote:
        last = _watch(remote, json=json) if watch else _once(remote, json=json)
    if last.problems:
        raise typer.Exit(1)


def _once(remote: Remote, *, json: bool) -> Status:
    first = status_of(remote)
    if json:
        print_json(msgspec.to_builtins(first))
        return first
    table = StatusTable()
    table.draw(first)
    time.sleep(REFRESH)  # a rate needs two moments
    second = status_of(remote)
    Console(highlight=False, soft_wrap=True).print(table.draw(second))
    return second


def _watch(remote: Remote, *, json: bool) -> Status:
    stop, table = Stop(), StatusTable()
    found = status_of(remote)
    live = Live(console=Console(highlight=False), auto_refresh=False) if is_live(sys.stdout) and not json else None
    with live or nullcontext():
        while True:
            if live is not None:
                live.update(table.draw(found), refresh=True)
            elif json:
                print_json(msgspec.to_builtins(found))
                sys.stdout.flush()
            else:
                Console(highlight=False, soft_wrap=True).print(table.draw(found))
            if stop.wanted.wait(REFRESH if live is not None else 1.0):
                return found
            found = status_of(remote)


def _bearer(token_file: Path | None) -> dict[str, str]:
    token = bearer_token(token_file)
    return {"Authorization": f"Bearer {token}"} if token else {}
