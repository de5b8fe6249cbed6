"""``sonde backup``: everything, while it runs."""

from pathlib import Path
from typing import Annotated, Final

import typer

from sonde.assemble.backup.snapshot import Snapshot, faults, newest
from sonde.assemble.backup.take import back_up
from sonde.assemble.places import check_in_files
from sonde.cli.options import DEFAULT_DATA, Config, Data, Sets
from sonde.cli.progress import progress_bar
from sonde.cli.settings import load_settings
from sonde.cli.terminal import done, note, warn
from sonde.directory import DataDirectory
from sonde.moment import format_time

_INSTEAD: Final = (
    "Back up the database with pg_dump, and keep the master keys; the brokers keep the log in copies: docs/scaling.md"
)
app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def backup(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the backups; best on another disk.")],
    data: Data = DEFAULT_DATA,
    config: Config = None,
    set_: Sets = None,
    keep: Annotated[int, typer.Option(metavar="N", min=0, help="Keep the newest N only; else all.")] = 0,
    without_keys: Annotated[
        bool, typer.Option("--without-keys", help="Leave keys and other secrets out: keep them elsewhere yourself.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Make none; read the newest one in DIR, or the one that DIR is.")
    ] = False,
) -> None:
    """Back up the log, the store's newest checkpoint, tokens, audit trail, configuration and keys into a new folder in DIR.

    The server may be running. What is in an earlier backup already is linked, not copied.
    """
    if verify:
        _verify(newest(folder))
        return
    loaded = load_settings(config, data, set_)
    check_in_files(loaded.settled(), "sonde backup", _INSTEAD)
    with progress_bar("backing up") as report:
        made = back_up(
            DataDirectory.open(data),
            loaded,
            folder,
            with_keys=not without_keys,
            keep=keep,
            progress=report,
        )
    typer.echo(made.path)
    _tell(made)


def _verify(snapshot: Snapshot) -> None:
    with progress_bar("reading") as report:
        wrong = faults(snapshot, report)
    for fault in wrong:
        typer.echo(fault)
    if wrong:
        raise typer.Exit(1)
    manifest = snapshot.manifest
    typer.echo(
        f"{snapshot.path}: {len(manifest.files):,} files, {snapshot.bytes:,} bytes, {format_time(manifest.made)}"
    )
    _tell(snapshot)
    done("the backup is whole")


def _tell(snapshot: Snapshot) -> None:
    manifest = snapshot.manifest
    for damage in manifest.damage:
        warn(f"damaged when it was copied: {damage}")
    if manifest.missing_keys:
        warn(f"the keys {', '.join(manifest.missing_keys)} are not in the backup, and it is worth nothing without them")
    elif manifest.keys:
        note("The keys are in the backup: whoever has it can read everything. Keep it as safe as the data.")
