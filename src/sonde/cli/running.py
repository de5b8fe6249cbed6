"""What the commands that go on running share: signals, the table or the log lines, and how they end."""

import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

import structlog
from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from sonde.assemble.pages import give_back_pages
from sonde.cli.logs import configure_logs, plain_logs
from sonde.cli.terminal import Enduring, is_live
from sonde.status import Status

REFRESH: Final = 0.5
_SAY_EVERY: Final = 60.0  # seconds between two status lines when no table is shown
_SAME_SIGNAL: Final = 0.5  # seconds; some tell a process and its group
_log = structlog.get_logger()

Draw = Callable[[Status], RenderableType]


class Stop:
    """Set by the first SIGINT or SIGTERM; a second one, that is not the same one told twice, ends the process at once."""

    def __init__(self) -> None:
        self.wanted = threading.Event()
        self._first = 0.0
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._heard)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if self.wanted.is_set() and time.monotonic() - self._first > _SAME_SIGNAL:
            os.write(2, b"\nsonde: stopped at once; what was confirmed is safe\n")
            os._exit(130 if number == signal.SIGINT else 143)
        if not self.wanted.is_set():
            self._first = time.monotonic()
            self.wanted.set()


class Screen:
    """Standard output while something runs: a table that stays below the log lines, or the log lines alone."""

    def __init__(self, draw: Draw, *, plain: bool) -> None:
        self._draw = draw
        self._console = Console(highlight=False)
        self._plain = Enduring(sys.stdout)
        self._live: Live | None = None
        if not plain and is_live(sys.stdout):
            self._live = Live(console=self._console, auto_refresh=False, transient=False, redirect_stderr=False)
        self._said = time.monotonic()

    @contextmanager
    def open(self) -> Iterator[None]:
        """Log lines go where they belong as long as this is open."""
        if self._live is None:
            plain_logs()
            yield
            return
        configure_logs(_Above(self._console), colours=True)
        with self._live:
            yield

    def show(self, status: Status) -> None:
        """Draw ``status``; without a table, say it now and then."""
        if self._live is not None:
            self._live.update(self._draw(status), refresh=True)
        elif time.monotonic() - self._said >= _SAY_EVERY:
            self._said = time.monotonic()
            _log.info("status", **_figures(status))

    def say(self, *lines: RenderableType) -> None:
        """Print lines that stay."""
        for line in lines:
            if self._live is not None:
                self._console.print(line, soft_wrap=True)  # a link stays in one piece
            else:
                print(line.plain if isinstance(line, Text) else line, file=self._plain, flush=True)


def run(screen: Screen, status: Callable[[], Status], stop: Stop, failed: Callable[[], BaseException | None]) -> None:
    """Show ``status`` until somebody wants it to stop; raise what ``failed`` gives."""
    give_back_pages()
    while not stop.wanted.wait(REFRESH):
        error = failed()
        if error is not None:
            raise error
        screen.show(status())


class _Above(io.StringIO):
    """A file whose lines appear above the table."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def write(self, text: str) -> int:
        if text.strip("\n"):
            self._console.print(Text.from_ansi(text.rstrip("\n")))
        return len(text)


def _figures(status: Status) -> dict[str, Any]:
    figures = {
        "received": status.received,
        "durable": status.durable,
        "stored": status.stored,
        "behind": max(0, status.log_end - status.stored_offset),
        "series": status.series,
        "alerts_firing": status.alerts_firing,
        "waiting": sum(lane.readings for lane in status.outbox),
    }
    said = [*status.problems, *status.warnings]
    return {**figures, **({"problems": "; ".join(said)} if said else {})}
