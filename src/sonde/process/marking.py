"""Marks the quality of readings that do not fit what their device's profile declares."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from sonde.changes import Series
from sonde.process.rows import Rows
from sonde.profile import Metric, Profile
from sonde.reading import Kind, Quality

_ALL: Final = 0xFF
_FITS: Final[Mapping[str, int]] = {
    "number": 1 << Kind.NUMBER | 1 << Kind.INTEGER | 1 << Kind.NONE,
    "integer": 1 << Kind.INTEGER | 1 << Kind.NONE,
    "boolean": 1 << Kind.BOOLEAN | 1 << Kind.NONE,
    "text": 1 << Kind.TEXT | 1 << Kind.NONE,
    "json": _ALL,
}
"""The kinds that a declared type allows, as bits; a sensor that failed is no question of type."""


class Marking:
    """What each series may be, by number; asked once a series and step, not once a reading."""

    def __init__(self) -> None:
        self._fits = np.zeros(0, np.uint8)
        self._low = np.zeros(0)
        self._high = np.zeros(0)
        self._metrics: dict[int, Metric] = {}  # those with an enum or whole numbers need a look at each value

    @property
    def is_needed(self) -> bool:
        """Whether any series has a profile."""
        return bool(self._metrics)

    def learn(self, series: Sequence[Series], profiles: Mapping[str, Profile]) -> None:
        """Take over what ``profiles`` declare of ``series``, whose numbers may be new."""
        if not series:
            return
        size = max(s.id for s in series) + 1
        self._grow(size)
        for one in series:
            profile = profiles.get(one.device)
            metric = profile.metrics.get(one.metric) if profile is not None else None
            self._set(one.id, metric)

    def _grow(self, size: int) -> None:
        more = size - len(self._fits)
        if more > 0:
            more = max(more, len(self._fits))
            self._fits = np.append(self._fits, np.full(more, _ALL, np.uint8))
            self._low = np.append(self._low, np.full(more, -np.inf))
            self._high = np.append(self._high, np.full(more, np.inf))

    def _set(self, series: int, metric: Metric | None) -> None:
        self._metrics.pop(series, None)
        self._fits[series], self._low[series], self._high[series] = _ALL, -np.inf, np.inf
        if metric is None:
            return
        self._fits[series] = _FITS[metric.data_type]
        self._low[series] = -np.inf if metric.min is None else metric.min
        self._high[series] = np.inf if metric.max is None else metric.max
        self._metrics[series] = metric

    def mark(self, rows: Rows) -> None:
        """Set the quality of good readings that do not fit to ``TYPE`` or ``RANGE``."""
        if not self._metrics:
            return
        ids = rows.ids
        least, greatest = rows.span
        kinds = np.bitwise_or.reduceat(np.left_shift(1, rows.kind).astype(np.uint8), rows.at)
        doubtful = (kinds & ~self._fits[ids]) != 0
        doubtful |= (least < self._low[ids]) | (greatest > self._high[ids])
        doubtful |= np.array([self._has_enum(int(i)) for i in ids]) if self._enums() else False
        for run in np.flatnonzero(doubtful).tolist():
            self._mark_run(rows, int(ids[run]), slice(int(rows.at[run]), int(rows.ends[run])))

    def _enums(self) -> bool:
        return any(metric.enum is not None for metric in self._metrics.values())

    def _has_enum(self, series: int) -> bool:
        metric = self._metrics.get(series)
        return metric is not None and metric.enum is not None

    def _mark_run(self, rows: Rows, series: int, run: slice) -> None:
        metric = self._metrics[series]
        kind, value, quality = rows.kind[run], rows.value[run], rows.quality[run]
        good = quality == Quality.GOOD
        unfit = (np.left_shift(1, kind).astype(np.uint8) & ~self._fits[series]) != 0
        if metric.data_type == "integer":
            unfit &= ~((kind == Kind.NUMBER) & (value == np.floor(value)))
        outside = (value < self._low[series]) | (value > self._high[series])
        if metric.enum is not None:
            outside |= self._not_in_enum(rows, metric.enum, run)
        quality[good & outside] = Quality.RANGE
        quality[good & unfit] = Quality.TYPE

    def _not_in_enum(self, rows: Rows, enum: Sequence[str], run: slice) -> npt.NDArray[np.bool_]:
        text = rows.arrived.batch.columns.column("text").take(rows.order[run]).to_pylist()
        known = set(enum)
        unknown: npt.NDArray[np.bool_] = (rows.kind[run] == Kind.TEXT) & np.array([t not in known for t in text])
        return unknown
