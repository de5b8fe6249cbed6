"""A progress bar on standard error, when a person watches; nothing otherwise."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from sonde.cli.terminal import ACCENT, is_live

Report = Callable[[int, int], None]
"""Called with what is done and what there is in all."""


@contextmanager
def progress_bar(what: str, *, counts: str = "") -> Iterator[Report]:
    """A bar under the name ``what``; ``counts`` names what is counted if the numbers mean something to people."""
    if not is_live(sys.stderr):
        yield lambda done, total: None
        return
    columns = [
        TextColumn("{task.description}", style="dim"),
        BarColumn(bar_width=32, complete_style=ACCENT, finished_style=ACCENT),
        TaskProgressColumn(),
        *([MofNCompleteColumn(separator=" of "), TextColumn(counts)] if counts else []),
        TimeRemainingColumn(compact=True),
    ]
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
