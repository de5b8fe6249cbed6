"""``sonde api``: one role of many processes that share a log in Kafka and a store in PostgreSQL."""

from pathlib import Path

import typer

from sonde.cli.options import Config, Host, OwnData, Plain, Port, Sets, with_address
from sonde.cli.serving import run_role

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def api(
    data: OwnData = Path("sonde-api"),
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
    run_role("api", data, config, with_address(set_, host, port), plain=plain)
