"""What of the parts is to go: those wholly below a floor, and rows of others that a purge or the floor of a width takes."""

# ruff: noqa: S608 - names of tables and columns are Sonde's own

from dataclasses import dataclass
from typing import Literal

from sonde.store.engine import Connection, fetch
from sonde.store.hidden import Purged
from sonde.store.layout import Layout
from sonde.store.part import Part


@dataclass(frozen=True, slots=True)
class Removal:
    """``parts`` go; of those that are in ``anew`` too, what is not hidden is kept in new ones. ``done`` is the number of a
    purge of which nothing is left to do."""

    why: Literal["expired", "purged"]
    parts: tuple[Part, ...] = ()
    anew: tuple[Part, ...] = ()
    done: int | None = None


class Release:
    """Finds the next :class:`Removal`. Remembers which parts it has looked into."""

    def __init__(self) -> None:
        self._widths: dict[str, frozenset[int]] = {}  # of the windows in a part
        self._clean: dict[int, set[str]] = {}  # purge → parts that hold nothing of it

    def next(self, cursor: Connection, layout: Layout) -> Removal | None:
        """The next thing to do, none if all that is left in parts is seen."""
        names = {part.name for part in layout.parts}
        self._widths = {name: widths for name, widths in self._widths.items() if name in names}
        return self._below(layout) or self._narrow(cursor, layout) or self._purged(cursor, layout)

    @staticmethod
    def _below(layout: Layout) -> Removal | None:
        gone = tuple(part for part in layout.parts if layout.hidden.is_below(part))
        return Removal("expired", gone) if gone else None

    def _narrow(self, cursor: Connection, layout: Layout) -> Removal | None:
        """A part of windows of which all of one width are below that width's floor."""
        floors = layout.hidden.widths
        for part in layout.parts_of("windows"):
            if not any(part.max_time < floor for floor in floors.values()):
                continue
            widths = self._widths_of(cursor, layout, part)
            gone = {width for width in widths if part.max_time < floors.get(width, 0)}
            if gone:
                return Removal("expired", (part,), () if gone == widths else (part,))
        return None

    def _purged(self, cursor: Connection, layout: Layout) -> Removal | None:
        for purge in layout.hidden.purges:
            clean = self._clean.setdefault(purge.number, set())
            for part in layout.parts:
                if not purge.meets(part) or part.name in clean:
                    continue
                left = _left(cursor, layout, part)
                if left < part.rows and self._holds(cursor, layout, purge, part):
                    return Removal("purged", (part,), (part,) if left else ())
                clean.add(part.name)
            del self._clean[purge.number]
            return Removal("purged", done=purge.number)
        return None

    def _widths_of(self, cursor: Connection, layout: Layout, part: Part) -> frozenset[int]:
        if part.name not in self._widths:
            found = fetch(cursor, f"select distinct width from read_parquet([{layout.files([part])}])")
            self._widths[part.name] = frozenset(found["width"].to_pylist())
        return self._widths[part.name]

    @staticmethod
    def _holds(cursor: Connection, layout: Layout, purge: Purged, part: Part) -> bool:
        rows = f"read_parquet([{layout.files([part])}]) where {purge.taken(part.content)}"
        return bool(fetch(cursor, f"select count(*) > 0 as found from {rows}")["found"][0].as_py())


def _left(cursor: Connection, layout: Layout, part: Part) -> int:
    """How many rows of ``part`` are not hidden."""
    source = layout.source(part.content, parts=[part], generations=False)
    return int(fetch(cursor, f"select count(*) as rows from ({source})")["rows"][0].as_py())
