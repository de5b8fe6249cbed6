"""Series get their numbers in the order in which they appear in the log."""

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sonde.changes import Series
from sonde.reading import NAMES, Batch

_DENSE: Final = 1 << 21  # combinations of names for which a table is kept; beyond, they are sorted
Names = tuple[str, ...]
Codes = npt.NDArray[np.int64]


class Numbering:
    """Every series that the log has named so far, and its number."""

    def __init__(self, series: Iterable[Series] = ()) -> None:
        self.series: list[Series] = sorted(series)
        self._numbers: dict[Names, int] = {s[1:]: s.id for s in self.series}
        self._next = self.series[-1].id + 1 if self.series else 0

    def place(self, series: Iterable[Series]) -> tuple[list[int], list[Series]]:
        """The numbers of series that somebody names otherwise than by readings, and those that are new."""
        numbers: list[int] = []
        new: list[Series] = []
        for one in series:
            number = self._numbers.get(one[1:])
            if number is None:
                number = self._numbers[one[1:]] = self._next
                self._next += 1
                new.append(one._replace(id=number))
            numbers.append(number)
        self.series.extend(new)
        return numbers, new

    def number(self, batch: Batch) -> tuple[npt.NDArray[np.int32], list[Series]]:
        """The number of each row's series, and the series that are new."""
        codes, size = _codes(batch.columns)
        first = _first_rows(codes, size)
        keys = list(zip(*(_names(batch.columns.column(name), first) for name in NAMES), strict=True))
        new: list[Series] = []
        numbers = np.empty(size, np.int32)
        for row, key in zip(first.tolist(), keys, strict=True):
            number = self._numbers.get(key)
            if number is None:
                number = self._numbers[key] = self._next
                self._next += 1
                new.append(Series(number, *key))
            numbers[codes[row]] = number
        self.series.extend(new)
        return numbers[codes], new


def _codes(columns: Any) -> tuple[Codes, int]:
    """For each row, one number that stands for its five names; all are below the second result."""
    codes, size = np.zeros(columns.num_rows, np.int64), 1
    for name in NAMES:
        column = columns.column(name)
        names = len(column.dictionary)
        if names == 1:
            continue
        codes = codes * names + column.indices.to_numpy()
        size *= names
        if size > _DENSE:
            found, codes = np.unique(codes, return_inverse=True)
            size = len(found)
    return codes, size


def _names(column: pa.DictionaryArray, rows: Codes) -> list[str]:
    names = column.dictionary.to_pylist()
    return [names[i] for i in column.indices.to_numpy()[rows].tolist()]


def _first_rows(codes: Codes, size: int) -> Codes:
    """The first row of each code that occurs, in the order of rows."""
    first = np.full(size, -1, np.int64)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    return np.sort(first[first >= 0])
