"""What is not shown any more though its rows may still lie somewhere: below a floor, or purged.

Rows in generations that a purge takes are deleted with it; those in parts are hidden until the parts are written anew.
"""

# ruff: noqa: S608 - names of tables and columns are Sonde's own

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from sonde.changes import Definition
from sonde.clock import Micros
from sonde.removal import floors_of
from sonde.store.part import Content, Part

_MOMENT: Final = {"readings": "time", "windows": "start"}


@dataclass(frozen=True, slots=True)
class Purged:
    """A purge that parts may still hold rows of: those whose log ends at ``place`` or before."""

    number: int
    place: int
    before: Micros | None
    everything: bool

    def meets(self, part: Part) -> bool:
        """Whether ``part`` may hold rows of it."""
        return part.next_offset <= self.place and (self.before is None or part.min_time < self.before)

    def taken(self, content: Content) -> str:
        """The condition that holds of rows that are purged."""
        chosen = f"series in (select series from store.purged where number = {self.number})"
        conditions = [] if self.everything else [chosen]
        if self.before is not None:
            conditions.append(f"{_MOMENT[content]} < make_timestamptz({self.before})")
        return " and ".join(conditions) or "true"


@dataclass(frozen=True, slots=True)
class Hidden:
    """``floors`` by name, and purges that are not done with, oldest first."""

    floors: Mapping[str, Micros] = field(default_factory=dict)
    purges: tuple[Purged, ...] = ()

    def raised(self, definitions: Iterable[Definition]) -> "Hidden":
        """With the floors among ``definitions`` too."""
        return Hidden({**self.floors, **floors_of(definitions)}, self.purges)

    @property
    def widths(self) -> Mapping[int, Micros]:
        """The floors of windows, by width."""
        return {int(n.removeprefix("windows ")): at for n, at in self.floors.items() if n.startswith("windows ")}

    def kept(self, content: Content) -> str:
        """The condition that holds of rows that no floor hides; empty if there is no floor."""
        if content == "readings":
            floor = self.floors.get("readings")
            return "" if floor is None else f"time >= make_timestamptz({floor})"
        below = [f"(width = {width} and start < make_timestamptz({at}))" for width, at in sorted(self.widths.items())]
        return f"not ({' or '.join(below)})" if below else ""

    def is_below(self, part: Part) -> bool:
        """Whether all readings of ``part`` are hidden by the floor."""
        floor = self.floors.get("readings")
        return part.content == "readings" and floor is not None and part.max_time < floor

    def touches(self, part: Part) -> bool:
        """Whether some rows of ``part`` may be hidden, so that its count of rows says nothing."""
        floors = [self.floors.get("readings")] if part.content == "readings" else self.widths.values()
        low = any(floor is not None and part.min_time < floor for floor in floors)
        return low or any(purge.meets(part) for purge in self.purges)

    def groups(self, parts: Iterable[Part]) -> Iterator[tuple[tuple[Purged, ...], list[Part]]]:
        """``parts`` by the purges that they may hold rows of."""
        found: dict[tuple[Purged, ...], list[Part]] = {}
        for part in parts:
            found.setdefault(tuple(p for p in self.purges if p.meets(part)), []).append(part)
        yield from found.items()
