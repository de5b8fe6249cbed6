"""Clients that want the same and are up to date: what they get is put together once."""

from collections.abc import Mapping
from typing import Any

from sonde.api.live.parcel import Parcel, Sealed
from sonde.api.live.place import Place
from sonde.api.live.thinning import Held, Thinning
from sonde.api.live.wanted import Wanted


class Group:
    """The subscriptions with the same words. ``matched`` are the series that they are about, as far as those have come."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.members: dict[Any, None] = {}
        self.matched: list[int] = []
        self.wants_data = "data" in wanted.kinds
        self.is_quiet = True  # since the last time that anyone looked
        self.parcel = Parcel(wanted)
        self._thinning = Thinning(wanted.rate) if wanted.rate else None

    def add(self, series: int, held: Held, place: Place) -> None:
        """Add a reading; what came before it came from before ``place``."""
        if self._thinning is not None:
            self.parcel.skipped += self._thinning.put(series, held)
            return
        if self.parcel.is_full:
            behind = place.copy()
            behind.move(held.partition, held.offset, held.row)
            self.parcel.seal(behind)
        self.parcel.add(held.reading)

    def take(self, place: Place, now: float) -> list[Sealed]:
        """The frames to send, now that the log was read up to ``place``."""
        if self._thinning is not None:
            ready = self._thinning.take(now)
            if ready:
                place = _before(place, self._thinning.oldest())
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
