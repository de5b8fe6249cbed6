"""``sonde config``: what is in force, and what is wrong."""

from collections.abc import Sequence
from dataclasses import asdict

import typer

from sonde.cli.options import DEFAULT_DATA, Config, Data, Json, Sets
from sonde.cli.settings import load_settings
from sonde.cli.tables import print_json, print_table
from sonde.cli.terminal import done
from sonde.config import Row, as_rows

app = typer.Typer(
    help="Settings: what is in force, and what is wrong.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.command()
def check(config: Config = None, data: Data = DEFAULT_DATA, set_: Sets = None) -> None:
    """Say everything that is wrong with the settings; exit 1 if anything is."""
    loaded = load_settings(config, data, set_)
    for fault in loaded.faults:
        typer.echo(str(fault))
    if loaded.faults:
        raise typer.Exit(1)
    done(f"{loaded.file or 'no file, the defaults'}: nothing is wrong")


@app.command()
def show(config: Config = None, data: Data = DEFAULT_DATA, set_: Sets = None, json: Json = False) -> None:
    """Show every setting in force and where it came from. Secrets are masked."""
    rows = list(as_rows(load_settings(config, data, set_)))
    if json:
        print_json([asdict(row) for row in rows])
    else:
        print_table(_lines(rows))


def _lines(rows: Sequence[Row]) -> list[dict[str, object]]:
    return [{"setting": f"[{r.section}] {r.key}", "value": r.value, "from": r.origin} for r in rows]
