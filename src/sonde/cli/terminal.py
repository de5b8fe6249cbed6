"""What commands print: results on standard output, everything else on standard error. One accent, no boxes."""

import os
import sys
from typing import IO, Any, Final, TextIO

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


class Enduring:
    """A stream that takes lines though they cannot be written: the disk is full, or whoever read has gone. What runs goes on;
    how many lines are missing is said when writing is possible again."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lost = 0

    def write(self, text: str) -> int:
        try:
            if self._lost and text.strip():
                self._stream.write(f"({self._lost} lines could not be written)\n")
                self._lost = 0
            self._stream.write(text)
        except (OSError, ValueError):
            self._lost += text.count("\n")
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):  # it stays in the buffer, which is written first when that is possible again
            return
