"""Clients that want the same and are up to date: what they get is put together once."""

from collections.abc import Mapping
from typing import Any, Final

from sonde.api.live.parcel import Parcel, Sealed
from sonde.api.live.place import Place
from sonde.api.live.thinning import Held, Thinning
from sonde.api.live.wanted import Wanted

AT_ONCE: Final = 10_000
"""Readings put together at once; that takes some 20 ms, in which nobody else is served."""


class Group:
    """The subscriptions with the same words. ``matched`` are the series that they are about, as far as those have come."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.members: dict[Any, None] = {}
        self.matched: list[int] = []
        self.takes_readings = "data" in wanted.kinds
        self._room = AT_ONCE  # readings that may still be added before the next time
        self.is_quiet = True  # since the last time that anyone looked
        self.parcel = Parcel(wanted)
        self._thinning = Thinning(wanted.rate) if wanted.rate else None

    @property
    def is_overrun(self) -> bool:
        """Whether more came at once than is put together at once: then its members go on by themselves."""
        return self._room <= 0

    def add(self, series: int, held: Held, place: Place) -> None:
        """Add a reading; what came before it came from before ``place``."""
        self._room -= 1
        if self._room <= 0:
            self.takes_readings = False
            return
        if self._thinning is not None:
            self.parcel.skipped += self._thinning.put(series, held)
            return
        if self.parcel.is_full:
            behind = place.copy()
            behind.move(held.partition, held.offset, held.row)
            self.parcel.seal(behind)
        self.parcel.add(held.reading)

    def place(self, place: Place) -> Place:
        """Where its members are when the log was read up to ``place``: not beyond what is held back."""
        return place if self._thinning is None else _before(place, self._thinning.oldest())

    def take(self, place: Place, now: float) -> list[Sealed]:
        """The frames to send, now that the log was read up to ``place``; nothing of it may be sent if it is overrun."""
        self._room, self.takes_readings = AT_ONCE, "data" in self.wanted.kinds
        if self._thinning is not None:
            ready = self._thinning.take(now)
            if ready:
                place = self.place(place)
                for reading in ready:
                    if self.parcel.is_full:
                        self.parcel.seal(place)
                    self.parcel.add(reading)
        self.parcel.seal(place)
        frames = self.parcel.take()
        self.is_quiet = self.is_quiet and not frames
        return frames

    def due(self) -> float | None:
        """When something that is held back may go."""
        return self._thinning.next() if self._thinning is not None else None


def _before(place: Place, held: Mapping[int, tuple[int, int]]) -> Place:
    """``place``, but not beyond what is held back: whoever resumes there gets it."""
    behind = place.copy()
    for partition, (offset, row) in held.items():
        behind.move(partition, offset, row)
    return behind
