"""Fewer readings of each series than come: the newest wins, and those left out are counted."""

from typing import NamedTuple


class Held(NamedTuple):
    """A reading that waits: what it says, and where it is in the log."""

    reading: bytes
    partition: int
    offset: int
    row: int


class Thinning:
    """At most ``rate`` readings of one series a second. A reading waits only if one of its series went out shortly before."""

    def __init__(self, rate: float) -> None:
        self._interval = 1 / rate
        self._due: dict[int, float] = {}
        self._held: dict[int, Held] = {}

    def put(self, series: int, held: Held) -> int:
        """Hold a reading; how many it replaces."""
        replaced = series in self._held
        self._held[series] = held
        return int(replaced)

    def take(self, now: float) -> list[bytes]:
        """The readings that may go at the moment ``now``."""
        due, until = self._due, now + self._interval
        ready = [series for series in self._held if due.get(series, now) <= now]
        for series in ready:
            due[series] = until
        return [self._held.pop(series).reading for series in ready]

    def next(self) -> float | None:
        """When one that waits may go; none if none waits."""
        return min((self._due.get(series, 0.0) for series in self._held), default=None)

    def oldest(self) -> dict[int, tuple[int, int]]:
        """For each partition, where the first reading that waits is: offset and row."""
        found: dict[int, tuple[int, int]] = {}
        for held in self._held.values():
            place = (held.offset, held.row)
            if held.partition not in found or place < found[held.partition]:
                found[held.partition] = place
        return found
