"""Tables and JSON on standard output."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sonde.cli.terminal import ACCENT, is_live, note

_NO_TERMINAL_WIDTH = 100_000  # lines are not broken when a program reads them


def console() -> Console:
    """Standard output: colours and its width for a terminal, bare lines for a program."""
    if is_live(sys.stdout):
        return Console(highlight=False)
    return Console(highlight=False, width=_NO_TERMINAL_WIDTH, no_color=True, force_terminal=False)


def print_table(rows: Sequence[Mapping[str, Any]], *, empty: str = "nothing") -> None:
    """Aligned columns under quiet headings; numbers to the right. ``empty`` is said when there is no row."""
    if not rows:
        note(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    names = list(rows[0])
    for number, name in enumerate(names):
        numeric = all(isinstance(row[name], int | float) and not isinstance(row[name], bool) for row in rows)
        table.add_column(
            name.replace("_", " "),
            justify="right" if numeric else "left",
            style=ACCENT if number == 0 else "",
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(cell_text(row[name])) for name in names))
    screen = console()
    with screen.capture() as capture:
        screen.print(table)
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def cell_text(value: Any) -> str:
    """A value in a table: thousands in groups, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def print_json(value: Any) -> None:
    """JSON for programs, indented for people."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2 if is_live(sys.stdout) else 0)
    sys.stdout.write(text.decode() + "\n")
