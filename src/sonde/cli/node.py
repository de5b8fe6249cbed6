"""``sonde node``: only the edge."""

import time

import psutil
import typer
from rich.text import Text

from sonde.assemble.node import RunningNode
from sonde.cli.live import NodeTable
from sonde.cli.options import DEFAULT_DATA, Config, Data, Plain, Sets
from sonde.cli.running import Screen, Stop, run
from sonde.cli.settings import load_settings
from sonde.cli.terminal import ACCENT

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_STOP_SECONDS = 6.0


@app.command()
def node(config: Config = None, data: Data = DEFAULT_DATA, set_: Sets = None, plain: Plain = False) -> None:
    """Read sensors, keep their readings in an outbox, and send them to a sink elsewhere.

    The sink and the token are [node] sink and [node] token (SONDE_NODE_TOKEN). Ctrl-C stops it; what the sink has not
    confirmed waits for the next start.
    """
    stop = Stop()
    table = NodeTable()
    screen = Screen(table.draw, plain=plain)
    with screen.open():
        running = RunningNode(data, load_settings(config, data, set_)).start()
        seconds = time.time() - psutil.Process().create_time()
        screen.say(
            Text.assemble(("sonde", f"bold {ACCENT}"), f"  ready in {seconds:.1f} s, sending to {running.sink}"),
            Text.assemble(("  data     ", "dim"), str(running.directory.path)),
        )
        try:
            run(screen, running.status, stop, lambda: None)
        finally:
            running.stop(_STOP_SECONDS)
