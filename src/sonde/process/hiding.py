"""What of the log is not shown any more: what was set aside, what somebody purged, what lies below the floor."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from sonde.changes import Mark, Series
from sonde.clock import Micros
from sonde.entry import Entry, EntryKind
from sonde.errors import Invalid
from sonde.removal import PurgeOrder

_REMEMBERED: Final = 100_000  # entries that were set aside
Bools = npt.NDArray[np.bool_]
SeriesOf = Callable[[int], Series]


class Hiding:
    """Knows what was taken away after it came. ``floor`` is the moment before which no reading is kept."""

    def __init__(self) -> None:
        self.floor: Micros | None = None
        self._purges: list[tuple[int, PurgeOrder]] = []
        self._set_aside: dict[tuple[int, int], int] = {}

    def note(self, marks: Iterable[Mark]) -> None:
        """Remember entries that were set aside."""
        for mark in marks:
            if mark.reason == "set_aside":
                while len(self._set_aside) >= _REMEMBERED:
                    self._set_aside.pop(next(iter(self._set_aside)))
                self._set_aside[mark.offset, mark.entry] = mark.readings

    def see(self, offset: int, entries: Sequence[Entry]) -> None:
        """Remember the purges among the entries of the frame at ``offset``; those that make no sense took nothing."""
        for entry in entries:
            if entry.kind == EntryKind.PURGE:
                try:
                    self._purges.append((offset, PurgeOrder.parse(entry.payload)))
                except Invalid:
                    continue

    def is_set_aside(self, offset: int, number: int, entry: Entry) -> bool:
        """Whether the whole of an entry was set aside when it came."""
        readings = self._set_aside.get((offset, number))
        return readings is not None and readings == entry.rows

    def hidden(
        self, offset: int, ids: npt.NDArray[np.int32], time: npt.NDArray[np.int64], of: SeriesOf
    ) -> Bools | None:
        """Which readings of the frame at ``offset`` are not shown any more; none if all are."""
        hidden: Bools | None = None if self.floor is None else time < self.floor
        for place, order in self._purges:
            if place > offset:
                taken = self._taken(order, ids, time, of)
                hidden = taken if hidden is None else hidden | taken
        return hidden if hidden is not None and hidden.any() else None

    def _taken(self, order: PurgeOrder, ids: npt.NDArray[np.int32], time: npt.NDArray[np.int64], of: SeriesOf) -> Bools:
        found, inverse = np.unique(ids, return_inverse=True)
        meant = order.matching([of(number)._replace(id=number) for number in found.tolist()])
        taken: Bools = np.ones(len(ids), np.bool_) if meant is None else np.isin(found, meant)[inverse]
        return taken if order.before is None else taken & (time < order.before)
