"""Which groups are about which series."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from sonde.api.live.group import Group
from sonde.changes import Series


class Index:
    """Remembers for each series who wants it; a pattern looks at a name once."""

    def __init__(self, series: Callable[[int], Series]) -> None:
        self._series = series
        self._wanting: list[list[Group]] = []  # by series
        self._wanted = np.zeros(0, np.bool_)  # whether anyone wants it
        self._numbers: dict[tuple[object, ...], int] = {}
        self._of_device: dict[str, list[int]] = {}
        self._groups: dict[Group, None] = {}

    def add(self, group: Group) -> None:
        """Take in a group."""
        self._groups[group] = None
        names = group.wanted.only_devices
        numbers: Iterable[int] = range(len(self._wanting))
        if names is not None:
            numbers = [number for name in names for number in self._of_device.get(name, ())]
        for number in numbers:
            self._try(group, number, self._series(number))

    def remove(self, group: Group) -> None:
        """Forget a group."""
        del self._groups[group]
        for number in group.matched:
            self._wanting[number].remove(group)
            self._wanted[number] = bool(self._wanting[number])
        group.matched.clear()

    def rows(self, series: npt.NDArray[np.int32]) -> npt.NDArray[np.intp]:
        """Which of some readings anyone wants, by their series."""
        if not self._groups or not len(series):
            return np.zeros(0, np.intp)
        self._learn(int(series.max()) + 1)
        return np.flatnonzero(self._wanted[series] & (series >= 0))

    def named(self, series: Series) -> Sequence[Group]:
        """Who wants a series that the feed knows, by its names; ``id`` is another's number."""
        number = self._numbers.get(series[1:])
        return self._wanting[number] if number is not None else ()

    def of(self, number: int) -> Sequence[Group]:
        """Who wants a series."""
        return self._wanting[number]

    def _learn(self, size: int) -> None:
        """Look at the series that are new."""
        known = len(self._wanting)
        if size <= known:
            return
        if size > len(self._wanted):
            self._wanted = np.append(self._wanted, np.zeros(max(size, 2 * known) - len(self._wanted), np.bool_))
        for number in range(known, size):
            series = self._series(number)
            self._wanting.append([])
            self._numbers[series[1:]] = number
            self._of_device.setdefault(series.device, []).append(number)
            for group in self._groups:
                self._try(group, number, series)

    def _try(self, group: Group, number: int, series: Series) -> None:
        if group.wanted.matches(series):
            self._wanting[number].append(group)
            self._wanted[number] = True
            group.matched.append(number)
