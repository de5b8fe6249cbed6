"""``sonde processor``: one role of many processes that share a log in Kafka and a store in PostgreSQL."""

from pathlib import Path

import typer

from sonde.cli.options import Config, Host, OwnData, Plain, Port, Sets, with_address
from sonde.cli.serving import run_role

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def processor(
    data: OwnData = Path("sonde-processor"),
    host: Host = None,
    port: Port = None,
    config: Config = None,
    set_: Sets = None,
    plain: Plain = False,
) -> None:
    """Bring what is in Kafka into PostgreSQL; any number of these may run, and share the partitions out.

    One of them also judges rules over windows, lets go of what is old, and tells people of alerts.
    Ctrl-C stops it; what was confirmed is kept.
    """
    run_role("processor", data, config, with_address(set_, host, port), plain=plain)
