"""``sonde sink``: one role of many processes that share a log in Kafka and a store in PostgreSQL."""

from pathlib import Path

import typer

from sonde.cli.options import Config, Host, OwnData, Plain, Port, Sets, with_address
from sonde.cli.serving import run_role

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def sink(
    data: OwnData = Path("sonde-sink"),
    host: Host = None,
    port: Port = None,
    config: Config = None,
    set_: Sets = None,
    plain: Plain = False,
) -> None:
    """Take readings in, and confirm them when Kafka has them; any number of these may run.

    It goes on while the database is away: it knows for a day who may send.
    Ctrl-C stops it; what was confirmed is kept.
    """
    run_role("sink", data, config, with_address(set_, host, port), plain=plain)
