"""All groups: what comes from the log is sorted into their parcels."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sonde.api.live.group import AT_ONCE, Group
from sonde.api.live.index import Index
from sonde.api.live.items import Item
from sonde.api.live.news import NEWS
from sonde.api.live.parcel import Sealed
from sonde.api.live.place import Place
from sonde.api.live.subscription import Subscription
from sonde.api.live.thinning import Held
from sonde.api.live.wanted import Wanted
from sonde.api.live.writer import Readings
from sonde.changes import Series
from sonde.fresh import Fresh


class Ready(NamedTuple):
    """What a group has to send, and where its members are ``before`` that. If it was ``overrun``, more came than that: they
    read it by themselves."""

    group: Group
    before: Place
    frames: list[Sealed]
    overrun: bool


class Groups:
    """The subscriptions that are up to date, by what they want. ``series`` gives the names of a number in :class:`Fresh`."""

    def __init__(self, series: Callable[[int], Series]) -> None:
        self._series = series
        self._index = Index(series)
        self._groups: dict[Wanted, Group] = {}
        self._touched: dict[Group, None] = {}  # those that may have something to send
        self._thinned: dict[Group, None] = {}  # those with a rate: what they hold back comes due by itself

    def __iter__(self) -> Iterator[Group]:
        return iter(list(self._groups.values()))

    def join(self, subscription: Subscription) -> None:
        """Put a subscription to those that want the same."""
        group = self._groups.get(subscription.wanted)
        if group is None:
            group = self._groups[subscription.wanted] = Group(subscription.wanted)
            self._index.add(group)
            if group.wanted.rate:
                self._thinned[group] = None
        group.members[subscription] = None
        subscription.is_live = True

    def leave(self, subscription: Subscription) -> None:
        """Take a subscription out."""
        subscription.is_live = False
        group = self._groups[subscription.wanted]
        del group.members[subscription]
        if not group.members:
            del self._groups[subscription.wanted]
            self._index.remove(group)
            self._touched.pop(group, None)
            self._thinned.pop(group, None)

    def sort(self, fresh: Fresh, place: Place) -> None:
        """Put what a frame brings into the parcels of those who want it; all before it came from before ``place``."""
        if fresh.series is not None:
            found = self._index.rows(fresh.series)
            if len(found):
                self._sort_readings(fresh, found, place)
        for entry in fresh.entries:
            news = NEWS[entry.kind](entry, fresh.log_time) if entry.kind in NEWS else None
            if news is not None:
                for group in self:
                    if news.type in group.wanted.kinds and group.wanted.matches_device(news.device):
                        self._say(group, news.type, place, news.members)
        if fresh.lost:
            behind = place.copy()
            behind.move(fresh.partition, fresh.until)
            members = {"from": str(place), "to": str(behind), "reason": "damaged", "detail": fresh.lost}
            for group in self:
                self._say(group, "gap", behind, members)

    def say(self, item: Item, place: Place) -> None:
        """Say something that the log does not hold to those who want it."""
        known = item.type == "corrected" and item.series is not None  # its readings were told of, to the same groups
        for group in self._index.named(item.series) if known and item.series is not None else self:
            if item.type in group.wanted.kinds and (known or item.series is None or group.wanted.matches(item.series)):
                group.parcel.say(item.type, place, item.members, in_log=False)
                self._touched[group] = None

    def say_where(self, group: Group, place: Place) -> None:
        """Say how far the log was read."""
        self._say(group, "cursor", place, {})

    def take(self, before: Place, place: Place, now: float) -> list[Ready]:
        """What each group has to send, now that the log was read from ``before`` up to ``place``."""
        touched, self._touched = self._touched, {}
        ready = []
        for group in {**touched, **self._thinned}:
            start, overrun = group.place(before), group.is_overrun
            frames = group.take(place, now)
            if frames or overrun:
                ready.append(Ready(group, start, frames, overrun))
        return ready

    def due(self) -> float | None:
        """When something that is held back may go."""
        return min((due for group in self._thinned if (due := group.due()) is not None), default=None)

    def _say(self, group: Group, type_: str, place: Place, members: Mapping[str, Any]) -> None:
        group.parcel.say(type_, place, members)
        self._touched[group] = None

    def _sort_readings(self, fresh: Fresh, found: npt.NDArray[np.intp], place: Place) -> None:
        for start in range(0, len(found), AT_ONCE):
            some = found[start : start + AT_ONCE]
            if start:  # of a very large frame: those who are overrun by now want nothing more of it
                some = some[self._still_wanted(fresh, some)]
            self._sort_some(fresh, some, place)

    def _still_wanted(self, fresh: Fresh, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
        assert fresh.series is not None
        numbers = fresh.series[rows]
        taken = [
            number for number in np.unique(numbers).tolist() if any(g.takes_readings for g in self._index.of(number))
        ]
        return np.isin(numbers, taken)

    def _sort_some(self, fresh: Fresh, found: npt.NDArray[np.intp], place: Place) -> None:
        readings = Readings(fresh, found, self._series)
        partition, offset, of, touched = fresh.partition, fresh.offset, self._index.of, self._touched
        for i, (row, number) in enumerate(zip(found.tolist(), readings.ids, strict=True)):
            v1 = plain = None
            for group in of(number):
                if not group.takes_readings:
                    continue
                if group.wanted.plain:
                    plain = plain or readings.plain(i)
                    held = Held(plain, partition, offset, row)
                else:
                    v1 = v1 or readings.v1(i)
                    held = Held(v1, partition, offset, row)
                group.add(number, held, place)
                touched[group] = None
