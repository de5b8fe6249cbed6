"""``sonde api``: one role of many processes that share a log in Kafka and a store in PostgreSQL."""

from pathlib import Path
from typing import Annotated

import typer

from sonde.cli.options import Config, Host, Plain, Port, Sets
from sonde.cli.serving import run_role

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def api(
    data: Annotated[
        Path,
        typer.Option(
            "--data", metavar="DIR", envvar="SONDE_DATA", show_envvar=False, help="Directory of its own files."
        ),
    ] = Path("sonde-api"),
    host: Host = None,
    port: Port = None,
    config: Config = None,
    set_: Sets = None,
    plain: Plain = False,
) -> None:
    """Answer questions, show the dashboard, feed live charts and hand out commands; any number of these may run.

    Nodes hear of commands here: [node] api, unless a proxy makes one address of sinks and apis.
    Ctrl-C stops it; what was confirmed is kept.
    """
    run_role("api", data, config, set_ or (), host=host, port=port, plain=plain)
