"""Tables and JSON on standard output."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from rich.cells import cell_len

from sonde.cli.terminal import ACCENT, is_live, note

_STYLES: Final = {"cyan": "\x1b[36m", "dim": "\x1b[2m", "": ""}
_GAP: Final = "  "


def print_table(rows: Sequence[Mapping[str, Any]], *, empty: str = "nothing") -> None:
    """Objects as a table; ``empty`` is said when there is none."""
    if not rows:
        note(empty)
        return
    names = list(rows[0])
    print_columns([n.replace("_", " ") for n in names], [[row[n] for row in rows] for n in names])


def print_columns(names: Sequence[str], columns: Sequence[Sequence[Any]]) -> None:
    """Aligned columns under quiet headings; numbers to the right."""
    live = is_live(sys.stdout)
    texts = [[cell_text(value) for value in column] for column in columns]
    widths = [max(map(cell_len, [name, *column])) for name, column in zip(names, texts, strict=True)]
    right = [bool(column) and all(_is_number(v) for v in column) for column in columns]
    styles = [ACCENT, *[""] * (len(names) - 1)] if live else [""] * len(names)
    lines = [_line(names, widths, right, ["dim" if live else ""] * len(names))]
    lines += [_line(row, widths, right, styles) for row in zip(*texts, strict=True)]
    sys.stdout.writelines(lines)


def cell_text(value: Any) -> str:
    """A value in a table, on one line; nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, dict | list | tuple):
        return msgspec.json.encode(value).decode()
    text = str(value)
    return text if text.isprintable() else "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def minute(time: str | None) -> str:
    """A moment of :func:`sonde.moment.format_time` as a table shows it: to the minute."""
    return f"{time[:16]}Z" if time else ""


def print_json(value: Any) -> None:
    """JSON: one line for programs, indented for people."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2 if is_live(sys.stdout) else 0)
    sys.stdout.write(text.decode() + "\n")


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _line(cells: Iterable[str], widths: Sequence[int], right: Sequence[bool], styles: Sequence[str]) -> str:
    parts = []
    for text, width, to_right, style in zip(cells, widths, right, styles, strict=True):
        padding = " " * (width - cell_len(text))
        aligned = padding + text if to_right else text + padding
        parts.append(f"{_STYLES[style]}{aligned}\x1b[0m" if style else aligned)
    return _GAP.join(parts).rstrip() + "\n"
