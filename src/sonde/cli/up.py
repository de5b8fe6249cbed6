"""``sonde up``: everything in one process."""

import os
import sys
import time
from typing import Annotated

import psutil
import typer
from rich.text import Text

from sonde.assemble.server import Running
from sonde.assemble.up import Up
from sonde.cli.live import StatusTable
from sonde.cli.options import DEFAULT_DATA, Config, Data, Plain, Sets
from sonde.cli.running import Screen, Stop, run
from sonde.cli.settings import load_settings
from sonde.cli.terminal import ACCENT, Enduring
from sonde.errors import Retry

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def up(
    data: Data = DEFAULT_DATA,
    host: Annotated[str | None, typer.Option(metavar="HOST", help="Address to listen on; else loopback.")] = None,
    port: Annotated[
        int | None, typer.Option(metavar="PORT", min=0, max=65535, help="Port; 0 takes any; else 8000.")
    ] = None,
    config: Config = None,
    set_: Sets = None,
    no_simulator: Annotated[
        bool, typer.Option("--no-simulator", help="Without the simulated building and the demo device.")
    ] = False,
    no_host: Annotated[bool, typer.Option("--no-host", help="Without the readings of this machine.")] = False,
    plain: Plain = False,
) -> None:
    """Run everything in one process: sensors, sink, log, processor, store and api.

    Ctrl-C stops it; what was confirmed is kept.
    """
    stop = Stop()
    options = [*(set_ or [])]
    options += [f"server.host={host}"] if host is not None else []
    options += [f"server.port={port}"] if port is not None else []
    screen = Screen(StatusTable().draw, plain=plain)
    with screen.open():
        running = Up(data, load_settings(config, data, options), host=not no_host, simulator=not no_simulator)
        try:
            running.start()
            _greet(screen, running)
            run(screen, running.status, stop, running.failed)
            screen.say(Text("stopping", "dim"))
        finally:
            in_time = running.stop()
    for stream in (sys.stdout, sys.stderr):
        Enduring(stream).flush()
    os._exit(0 if in_time else 1)  # all is closed; what libraries would still tidy up, and complain of, ends with us


def _greet(screen: Screen, up: Up) -> None:
    seconds = time.time() - psutil.Process().create_time()
    screen.say(
        Text.assemble(("sonde", f"bold {ACCENT}"), f"  ready in {seconds:.1f} s, listening at {up.url}"),
        Text(),
        Text.assemble(("  sign in  ", "dim"), *_sign_in(up)),
        Text.assemble(("  docs     ", "dim"), f"{up.url}/docs"),
        Text.assemble(("  data     ", "dim"), str(up.directory.path)),
    )


def _sign_in(up: Up) -> tuple[str | tuple[str, str], ...]:
    try:
        return Running(up.url, 0).sign_in_url(up.sign_in_secret()), ("  (once)", "dim")
    except Retry as error:
        return f"later, with sonde token link: {error}", ""
