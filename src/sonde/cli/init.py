"""``sonde init``: a configuration to begin with."""

import os
from pathlib import Path
from typing import Annotated

import typer

from sonde.cli.terminal import done
from sonde.config import as_file
from sonde.errors import Conflict

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def init(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="Where to; else config.ini.")] = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="Write config.ini into this data directory.")
    ] = None,
) -> None:
    """Write a commented config.ini with every setting and fresh secrets (mode 0600). Nothing is overwritten."""
    target = file or (data / "config.ini" if data else Path("config.ini"))
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise Conflict(f"{target} is there already, and nothing is overwritten", hint="Name another file") from None
    with os.fdopen(handle, "w", encoding="utf-8") as opened:
        opened.write(as_file())
    done(f"wrote {target}: every setting, with fresh keys. `sonde config check` reads it")
