"""``sonde node``: only the edge; and how a node comes to its sink."""

import time
from pathlib import Path
from typing import Annotated

import psutil
import typer
from rich.text import Text

from sonde.assemble.certificates.invite import invite_here, invite_there
from sonde.assemble.certificates.join import join as join_sink
from sonde.assemble.node import RunningNode
from sonde.assemble.pages import use_small_pool
from sonde.assemble.remote import Remote, client_tls
from sonde.cli.live import NodeTable
from sonde.cli.options import DEFAULT_DATA, Ca, Config, Data, Json, Plain, Sets, TokenFile, Url, bearer_token
from sonde.cli.running import Screen, Stop, run
from sonde.cli.settings import installation, load_settings
from sonde.cli.tables import print_json
from sonde.cli.terminal import ACCENT, done, note
from sonde.directory import DataDirectory

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_STOP_SECONDS = 6.0


@app.callback(invoke_without_command=True)
def node(
    context: typer.Context, config: Config = None, data: Data = DEFAULT_DATA, set_: Sets = None, plain: Plain = False
) -> None:
    """Read sensors, keep their readings in an outbox, and send them to a sink elsewhere.

    The sink is the one that was joined (sonde node join), else [node] sink with [node] token. Ctrl-C stops it; what the sink
    has not confirmed waits for the next start.
    """
    if context.invoked_subcommand is not None:
        _refuse_options(context)
        return
    use_small_pool()
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


@app.command()
def invite(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the node.")],
    device: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Devices it may write, as in 'boiler-*'; else all.")
    ] = None,
    lasts: Annotated[str, typer.Option(metavar="SPAN", help="How long the code is good; else an hour.")] = "1h",
    data: Data = DEFAULT_DATA,
    config: Config = None,
    set_: Sets = None,
    url: Url = "",
    token_file: TokenFile = None,
    ca: Ca = None,
    json: Json = False,
) -> None:
    """Make a code with which a node joins, once, and print the command for it."""
    if url:
        headers = {"Authorization": f"Bearer {bearer_token(token_file)}"}
        made = invite_there(Remote(url, headers, client_tls(url, ca, data)), name, device or (), lasts)
    else:
        made = invite_here(*installation(data, config, set_), name, device or (), lasts)
    if json:
        print_json({"node": made.node, "url": made.url, "code": made.code, "expires": made.expires})
        return
    typer.echo(f"sonde node join {made.url or 'URL'} {made.code}")
    note(f"Run this on the node. It works once, until {made.expires[:16]}Z")


@app.command()
def join(
    url: Annotated[str, typer.Argument(metavar="URL", help="Address of the sink.")],
    code: Annotated[
        str, typer.Argument(metavar="CODE", help="As sonde node invite printed it; - reads it from stdin.")
    ],
    data: Data = DEFAULT_DATA,
    ca: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Authority to trust; else the one that the code vouches for."),
    ] = None,
) -> None:
    """Join a sink: get a token and a certificate for this node, and keep them in the data directory. Then start sonde node."""
    directory = DataDirectory.create(data)
    lock = directory.lock()
    try:
        made = join_sink(directory, url, _read(code), ca)
    finally:
        lock.release()
    done(f"joined {made.sink} as {made.node}; start it: sonde node{'' if data == DEFAULT_DATA else f' --data {data}'}")


def _read(code: str) -> str:
    """A code on the command line can be seen by others on this machine for a moment; one from standard input cannot."""
    return typer.get_text_stream("stdin").readline().strip() if code == "-" else code


def _refuse_options(context: typer.Context) -> None:
    """An option before the name of the command would be lost."""
    for parameter in context.params:
        source = context.get_parameter_source(parameter)
        if source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(f"options go behind {context.invoked_subcommand}")
