"""The readings of one step in columns, sorted once by series and time."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sonde.changes import LATEST, READINGS
from sonde.clock import Micros
from sonde.process.dedupe import Piece
from sonde.reading import TIME, Batch, Kind, Quality
from sonde.window import run_starts

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
_RADIX: Final = 1 << 16  # numpy sorts 16 bits by radix, in one pass


@dataclass(slots=True)
class Arrived:
    """New readings in the order of the log. ``starts`` and ``ends`` are the rows of each frame, ``log_times`` its time."""

    batch: Batch
    pieces: Sequence[Piece]
    time: Ints
    quality: npt.NDArray[np.int8]  # may be changed
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    log_times: list[Micros] = field(default_factory=list)

    @classmethod
    def of(cls, batches: Sequence[Batch], pieces: Sequence[Piece]) -> "Arrived":
        batch = Batch.concat(batches)
        arrived = cls(
            batch,
            pieces,
            batch.columns.column("time").cast(pa.int64()).to_numpy(),
            batch.columns.column("quality").to_numpy().copy(),
        )
        at = 0
        for i, piece in enumerate(pieces):
            if i and piece.offset == pieces[i - 1].offset:
                arrived.ends[-1] += piece.rows
            else:
                arrived.starts.append(at)
                arrived.ends.append(at + piece.rows)
                arrived.log_times.append(piece.log_time)
            at += piece.rows
        return arrived

    def mark_clocks(self, future_limit: Micros) -> None:
        """Mark good readings whose time is further ahead of their frame's than a clock may be; of a frame of which nobody knows
        when it came, none."""
        for start, end, log_time in zip(self.starts, self.ends, self.log_times, strict=True):
            limit = log_time + future_limit
            if log_time and self.time[start:end].max() > limit:
                quality = self.quality[start:end]
                quality[(self.time[start:end] > limit) & (quality == Quality.GOOD)] = Quality.CLOCK


@dataclass
class Rows:
    """The same readings sorted by series and time; of equal times, the later in the log comes later.

    ``order`` says which row of the log's order each one was; ``at`` is where each series begins.
    """

    arrived: Arrived
    order: Ints
    series: npt.NDArray[np.int32]
    time: Ints
    kind: npt.NDArray[np.int8]
    value: npt.NDArray[np.float64]
    quality: npt.NDArray[np.int8]
    at: Ints

    @classmethod
    def of(cls, arrived: Arrived, series: npt.NDArray[np.int32]) -> "Rows":
        order = sorted_order(series, arrived.time)
        columns = arrived.batch.columns
        ordered = series[order]
        return cls(
            arrived=arrived,
            order=order,
            series=ordered,
            time=arrived.time[order],
            kind=columns.column("kind").to_numpy()[order],
            value=columns.column("value").to_numpy(zero_copy_only=False)[order],  # none becomes NaN
            quality=arrived.quality[order],
            at=run_starts(ordered),
        )

    @cached_property
    def ends(self) -> Ints:
        return np.append(self.at[1:], len(self.order))

    @cached_property
    def ids(self) -> npt.NDArray[np.int32]:
        """The series that have rows."""
        return self.series[self.at]

    @cached_property
    def span(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The least and the greatest value of each series; NaN if none of its values is a number."""
        return np.fmin.reduceat(self.value, self.at), np.fmax.reduceat(self.value, self.at)

    @cached_property
    def counts(self) -> Bools | None:
        """Which rows count in windows and alerts, none meaning all: finite numbers, good or out of their range."""
        plain = self.kind.max() <= Kind.BOOLEAN and not self.quality.any()
        finite = np.isfinite(self.value)
        if plain and finite.all():
            return None
        good = (self.quality == Quality.GOOD) | (self.quality == Quality.RANGE)
        counts: Bools = finite & good & (self.kind <= Kind.BOOLEAN)
        return counts

    def readings(self) -> pa.Table:
        """All rows, as a store takes them."""
        text = self.arrived.batch.columns.column("text")
        texts = text if text.null_count == len(text) else text.take(pa.array(self.order))
        return self._table(texts, slice(None))

    def newest(self, newest: Ints) -> Ints:
        """The last row of each series that is the newest known of it; clocks that are wrong do not count."""
        last = self.ends - 1
        if (self.quality == Quality.CLOCK).any():
            last = _last_where(self.quality != Quality.CLOCK, self.at, self.ends)
        return last[self.time[last] >= newest[self.series[last]]]

    def latest(self, last: Ints, arrived: Ints) -> pa.Table:
        """The rows ``last``, which came at the log times ``arrived``, as a store takes them."""
        rows = self._table(self.arrived.batch.columns.column("text").take(pa.array(self.order[last])), last)
        return rows.append_column(LATEST.field("arrived"), pa.array(arrived).cast(TIME))

    def _table(self, text: pa.Array, which: slice | Ints) -> pa.Table:
        value = pa.array(self.value[which], pa.float64(), from_pandas=True)  # NaN is none
        columns = [
            pa.array(self.series[which]),
            pa.array(self.time[which]).cast(TIME),
            pa.array(self.kind[which]),
            value,
            text,
            pa.array(self.quality[which]),
        ]
        return pa.Table.from_arrays(columns, schema=READINGS)


def _last_where(mask: Bools, at: Ints, ends: Ints) -> Ints:
    """The last row of each run for which ``mask`` holds; runs without one are left out."""
    rows = np.flatnonzero(mask)
    after = np.searchsorted(rows, ends)
    found = after > np.searchsorted(rows, at)
    last: Ints = rows[after[found] - 1]
    return last


def sorted_order(series: npt.NDArray[np.int32], time: Ints) -> Ints:
    """The order that sorts rows by series and time and keeps equal ones as they are.

    First by radix on the series; what is left is nearly sorted, which a merge sort does in a pass.
    """
    low = np.argsort((series & 0xFFFF).astype(np.uint16), kind="stable")
    if len(series) and series.max() >= _RADIX:
        low = low[np.argsort((series[low] >> 16).astype(np.uint16), kind="stable")]
    grouped, times = series[low].astype(np.int64), time[low]
    first, last = int(times.min()), int(times.max())
    span = last - first + 1
    if span * (int(grouped[-1]) + 1) < 1 << 63:
        return low[np.argsort(grouped * span + (times - first), kind="stable")]
    return low[np.lexsort((times, grouped))]
