"""``sonde rebuild``: the store again, from the log."""

from typing import Final

import typer

from sonde.assemble.embedded.offline import remake
from sonde.assemble.places import check_in_files
from sonde.cli.options import DEFAULT_DATA, Config, Data, Sets
from sonde.cli.progress import progress_bar
from sonde.cli.settings import load_settings
from sonde.cli.terminal import done, note, warn
from sonde.directory import DataDirectory

_INSTEAD: Final = (
    "Stop the processors, name an empty database in [store] url and start them again: they make the store from the log; "
    "docs/scaling.md says how the tokens get there"
)
app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def rebuild(data: Data = DEFAULT_DATA, config: Config = None, set_: Sets = None) -> None:
    """Make the store again from its newest checkpoint and the log, and say whether it equals what was there.

    The old store stays until the new one is done. Stop the server first; a server that finds its store damaged does this
    by itself.
    """
    settings = load_settings(config, data, set_).settled()
    check_in_files(settings, "sonde rebuild", _INSTEAD)
    with progress_bar("rebuilding", counts="frames") as report:
        made = remake(DataDirectory.open(data), settings, report)
    done(f"the store was made again, up to frame {made.offset:,} of the log")
    if made.differences is None:
        note(f"there was nothing to compare it with: {made.reason}")
    elif not made.differences:
        typer.echo("it equals what was there")
    else:
        typer.echo("it differs from what was there:")
        for difference in made.differences:
            typer.echo(f"  {difference}")
    if made.kept is not None:
        warn(f"the old store is kept as {made.kept}")
