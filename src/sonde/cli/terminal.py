"""What commands print: results on standard output, everything else on standard error. One accent, no boxes."""

import os
import sys
from typing import IO, Any, Final

import typer

from sonde.errors import SondeError

ACCENT: Final = "cyan"


def is_live(stream: IO[Any]) -> bool:
    """Whether a person watches ``stream``."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def complain(error: Exception) -> None:
    """One line: what happened, where, and what to do."""
    text = str(error)
    if isinstance(error, OSError) and not isinstance(error, SondeError):
        text = f"{error.strerror or error}: {error.filename}" if error.filename else str(error)
    mark = typer.style("sonde:", fg=typer.colors.RED, bold=True) if is_live(sys.stderr) else "sonde:"
    typer.echo(f"{mark} {' '.join(text.split())}", err=True)


def note(text: str) -> None:
    """Something worth knowing that is no result."""
    typer.echo(typer.style(text, dim=True) if is_live(sys.stderr) else text, err=True)


def warn(text: str) -> None:
    """Something that is not as it seems."""
    mark = typer.style("warning:", fg=typer.colors.YELLOW) if is_live(sys.stderr) else "warning:"
    typer.echo(f"{mark} {text}", err=True)


def done(text: str) -> None:
    """A command came to its end."""
    mark = typer.style("✓", fg=ACCENT) if is_live(sys.stderr) else "ok:"
    typer.echo(f"{mark} {text}", err=True)
