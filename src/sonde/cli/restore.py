"""``sonde restore``: a backup as a new data directory."""

from pathlib import Path
from typing import Annotated

import typer

from sonde.assemble.backup.restore import restore as restore_backup
from sonde.cli.progress import progress_bar
from sonde.cli.settings import place_of
from sonde.cli.terminal import done, note, warn
from sonde.moment import format_time

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def restore(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder of backups (the newest is taken), or one backup.")
    ],
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", help="The new data directory: empty, or not there yet.")
    ],
    keys: Annotated[
        Path | None, typer.Option("--keys", metavar="FILE", help="The keys.json to use, if the backup is without keys.")
    ] = None,
) -> None:
    """Make a new data directory of a backup. If it is interrupted, run it again: it goes on."""
    with progress_bar("restoring") as report:
        made = restore_backup(folder, data, keys=keys, progress=report)
    manifest = made.snapshot.manifest
    done(f"{data} is as {made.snapshot.path} of {format_time(manifest.made)[:19]}Z has it")
    for damage in manifest.damage:
        warn(f"damaged when the backup was made: {damage}")
    if made.missing_keys:
        warn(
            f"the log needs the keys {', '.join(made.missing_keys)}: bring them before the start, sonde keys add --key SOURCE"
        )
    if place_of(data).settings is not None:
        note(f"These settings name Kafka and PostgreSQL: to go on there, sonde log copy --from {data}")
    note(f"Start it: sonde up --data {data}. Tokens that were revoked since then are valid again: sonde token list")
