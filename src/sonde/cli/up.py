"""``sonde up``: everything in one process."""

from typing import Annotated

import typer
from rich.text import Text

from sonde.assemble.role import ALL, Server
from sonde.assemble.server import Running
from sonde.assemble.up import Up
from sonde.cli.live import StatusTable
from sonde.cli.options import DEFAULT_DATA, Config, Data, Host, Plain, Port, Sets, with_address
from sonde.cli.running import Screen, Stop
from sonde.cli.serving import serve
from sonde.cli.settings import load_settings
from sonde.errors import Retry

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def up(
    data: Data = DEFAULT_DATA,
    host: Host = None,
    port: Port = None,
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
    screen = Screen(StatusTable().draw, plain=plain)
    with screen.open():
        loaded = load_settings(config, data, with_address(set_, host, port))
        running: Up | Server
        if loaded.settled().topic is None:
            running = Up(data, loaded, host=not no_host, simulator=not no_simulator)
        else:
            running = Server(data, loaded, ALL, stop.wanted, node=True, host=not no_host, simulator=not no_simulator)
        serve(screen, running, stop, lambda: _greeting(running))


def _greeting(up: "Up | Server") -> list[Text]:
    return [
        Text(),
        Text.assemble(("  sign in  ", "dim"), *_sign_in(up)),
        Text.assemble(("  docs     ", "dim"), f"{up.url}/docs"),
        Text.assemble(("  data     ", "dim"), str(up.data)),
    ]


def _sign_in(up: "Up | Server") -> tuple[str | tuple[str, str], ...]:
    try:
        return Running(up.url, 0).sign_in_url(up.sign_in_secret()), ("  (once)", "dim")
    except Retry as error:
        return f"later, with sonde token link: {error}", ""
