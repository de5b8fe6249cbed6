"""Which readings a single subscription is about."""

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from sonde.api.live.wanted import Wanted
from sonde.changes import Series

Rows = npt.NDArray[np.intp]
_NO: Final = 1
_YES: Final = 2


class Matching:
    """Looks at the names of each series once; a byte a series."""

    def __init__(self, wanted: Wanted, series: Callable[[int], Series]) -> None:
        self._wanted = wanted
        self._series = series
        self._known = np.zeros(64, np.int8)

    def rows(self, series: npt.NDArray[np.int32]) -> Rows:
        """The rows that are wanted, by the number of their series (-1: nobody's)."""
        if not len(series):
            return np.zeros(0, np.intp)
        more = int(series.max()) + 1 - len(self._known)
        if more > 0:
            self._known = np.append(self._known, np.zeros(max(more, len(self._known)), np.int8))
        there = series >= 0
        known = self._known[series]
        new = np.unique(series[there & (known == 0)])
        if len(new):
            for number in new.tolist():
                self._known[number] = _YES if self._wanted.matches(self._series(number)) else _NO
            known = self._known[series]
        return np.flatnonzero(there & (known == _YES))
