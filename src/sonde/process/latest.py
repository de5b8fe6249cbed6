"""What is newest of every series: its time, its value, and when it came."""

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from sonde.changes import Newest
from sonde.clock import Micros
from sonde.process.heard import Heard
from sonde.process.rows import Rows

Ints = npt.NDArray[np.int64]
NEVER: Final = np.iinfo(np.int64).min >> 1  # half, so that a difference fits


class Latest:
    """Arrays by number of series. ``value`` is NaN where the newest reading does not count in windows and alerts;
    ``arrived`` is a log time."""

    def __init__(self, series: int, newest: Mapping[int, Newest]) -> None:
        self.time = np.full(series, NEVER, np.int64)
        self.value = np.full(series, np.nan)
        self.arrived = np.full(series, NEVER, np.int64)
        for number, one in newest.items():
            self.time[number], self.arrived[number] = one.time, one.arrived
            if one.value is not None:
                self.value[number] = one.value

    def grow(self, series: int) -> None:
        """Make room for this many series, and for more to come."""
        more = series - len(self.time)
        if more > 0:
            more = max(more, len(self.time))
            self.time = np.append(self.time, np.full(more, NEVER))
            self.value = np.append(self.value, np.full(more, np.nan))
            self.arrived = np.append(self.arrived, np.full(more, NEVER))

    def purge(self, known: "slice | Ints", before: Micros | None) -> None:
        """Forget what is newest of series, if it is from before a moment."""
        gone = np.full(len(self.time[known]), True) if before is None else self.time[known] < before
        for values, nothing in ((self.time, NEVER), (self.arrived, NEVER), (self.value, np.nan)):
            values[known] = np.where(gone, nothing, values[known])

    def arrivals(self, rows: Rows, last: Ints, heard: Heard) -> Ints:
        """The log time of each of the rows ``last``."""
        pieces = rows.arrived.pieces
        ends = np.cumsum([piece.rows for piece in pieces])
        offsets = np.array([piece.offset for piece in pieces], np.int64)
        piece = np.searchsorted(ends, rows.order[last], side="right")
        times: Ints = heard.log_times[np.searchsorted(heard.offsets, offsets[piece])]
        return times

    def move_on(self, rows: Rows, last: Ints, arrived: Ints) -> None:
        """The rows ``last`` are newest now."""
        series = rows.series[last]
        counted = rows.value[last] if rows.counts is None else np.where(rows.counts[last], rows.value[last], np.nan)
        self.time[series], self.value[series], self.arrived[series] = rows.time[last], counted, arrived
