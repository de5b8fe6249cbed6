"""``sonde migrate``: the tables in PostgreSQL, brought up to date."""

import typer

from sonde.assemble.shared.migrating import migrate_database
from sonde.cli.options import DEFAULT_DATA, Config, Data, Sets
from sonde.cli.settings import load_settings
from sonde.cli.terminal import done

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def migrate(config: Config = None, data: Data = DEFAULT_DATA, set_: Sets = None) -> None:
    """Bring the tables in PostgreSQL to the version that this Sonde needs; all of it happens, or nothing.

    Stop the processors and apis before, and make a backup. Sinks may go on.
    """
    before, now = migrate_database(load_settings(config, data, set_).settled())
    if before == now:
        done(f"the tables have version {now} already")
    else:
        done(f"the tables had version {before} and have {now}" if before else f"made the tables, version {now}")
