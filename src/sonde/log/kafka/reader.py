"""Reads frames of a topic: any number of readers, wherever each of them is."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from confluent_kafka import Consumer

from sonde.errors import NotFound, Retry, SondeError
from sonde.log.kafka import fetcher, probe
from sonde.log.kafka.failures import closed
from sonde.log.kafka.fetcher import Fetcher
from sonde.log.kafka.place import Place
from sonde.log.kafka.probe import Probe
from sonde.ports import Record

PLACES: Final = 3
"""So many readers of one partition, each at a place of its own, are served ahead; further ones are served one by one."""

_PROBE_BYTES: Final = 4096  # who wants no more than this will not go on from there
_PATIENCE: Final = 15.0  # seconds for frames that are there
_PAUSE: Final = 0.1  # seconds between two looks for an end that has not come so far
_CHECK: Final = 1.0  # seconds

Span = tuple[int, int]
MakeConsumer = Callable[[int, int], Consumer]
"""A consumer that fetches so many bytes of a partition at a time, and waits so many ms for what is not there yet."""


class Reader:
    """``ends`` says where partitions begin and end, as of now if asked so, ``appended`` how far this process has written;
    ``check`` raises what is wrong with the topic or the brokers. What was fetched takes up to ``budget`` bytes."""

    def __init__(
        self,
        make: MakeConsumer,
        topic: str,
        *,
        ends: Callable[[bool], Mapping[int, Span]],
        appended: Callable[[int], int],
        check: Callable[[], None],
        budget: int,
    ) -> None:
        self._make = make
        self._topic = topic
        self._ends = ends
        self._appended = appended
        self._check = check
        self._budget = budget
        self._lock = threading.Lock()
        self._fetchers: list[Fetcher] = []
        self._probe = Probe(make(probe.FETCH_BYTES, probe.WAIT), topic)
        self._closing = threading.Event()

    def read(self, partition: int, offset: int, limit_bytes: int, wait: float) -> Sequence[Record]:
        """See :meth:`sonde.ports.Log.read`. The caller has seen to it that there is such a partition."""
        deadline = time.monotonic() + wait
        if found := self._at_hand(partition, offset, limit_bytes):
            return found
        while True:
            place = self._find(partition, offset)
            if place is None:
                end = self._end(partition, offset)
                if end < offset or (end == offset and wait <= 0):
                    if self._is_past(deadline):
                        return ()
                    continue
                if limit_bytes > _PROBE_BYTES or end == offset:
                    place = self._begin(partition, offset)
                if place is None:
                    return self._probe.read(partition, offset, limit_bytes, _PATIENCE)
            came = self._await(place, offset, limit_bytes, deadline)
            if came is not None:
                return came

    def cut(self, partition: int, first: int) -> None:
        """What is below an offset is no longer in the log."""
        with self._lock:
            for one in self._fetchers:
                if place := one.places.get(partition):
                    place.cut(first)

    def held_bytes(self) -> int:
        """How much of what was fetched is held here."""
        with self._lock:
            return sum(place.bytes for one in self._fetchers for place in one.places.values())

    def close(self) -> None:
        with self._lock:
            if self._closing.is_set():
                return
            self._closing.set()
            for one in self._fetchers:
                one.stop()
        for one in self._fetchers:
            one.close()
        self._probe.close()

    def _at_hand(self, partition: int, offset: int, limit_bytes: int) -> Sequence[Record]:
        with self._lock:
            if self._closing.is_set():
                raise closed()
            place = self._covering(partition, offset)
            if place is None:
                return ()
            if found := place.take(offset, limit_bytes, time.monotonic()):
                place.owner.notify()
            return found

    def _end(self, partition: int, offset: int) -> int:
        """Where a partition ends; :class:`NotFound` if it begins beyond ``offset``."""
        first, end = self._ends(True)[partition]
        if offset < first:
            raise NotFound(
                f"offset {offset} is no longer in partition {partition} of {self._topic}",
                hint=f"It is kept from offset {first} on",
            )
        return end

    def _is_past(self, deadline: float) -> bool:
        """Whether a moment has come; if not, wait a little for it."""
        left = deadline - time.monotonic()
        return left <= 0 or self._closing.wait(min(_PAUSE, left))

    def _find(self, partition: int, offset: int) -> Place | None:
        with self._lock:
            if self._closing.is_set():
                raise closed()
            return self._covering(partition, offset)

    def _covering(self, partition: int, offset: int) -> Place | None:
        """Called with the lock held."""
        for one in self._fetchers:
            place = one.places.get(partition)
            if place is not None and place.has(offset):
                return place
        return None

    def _begin(self, partition: int, offset: int) -> Place | None:
        """A new place, or one that nobody has used for long; none if all are in use."""
        now = time.monotonic()
        with self._lock:
            if self._closing.is_set():
                raise closed()
            for one in self._fetchers:
                if partition not in one.places:
                    return self._put(one, partition, offset, now)
            if len(self._fetchers) < PLACES:
                made = Fetcher(
                    self._make(fetcher.FETCH_BYTES, fetcher.WAIT), self._topic, self._lock, self._budget // PLACES
                )
                self._fetchers.append(made)
                return self._put(made, partition, offset, now)
            free = [one for one in self._fetchers if not one.places[partition].waiting]
            if not free:
                return None
            one = min(free, key=lambda other: other.places[partition].used)
            one.places[partition].move(offset, now)
            one.wake.notify()
            return one.places[partition]

    def _put(self, one: Fetcher, partition: int, offset: int, now: float) -> Place:
        place = one.places[partition] = Place(partition, offset, now, self._lock, one.wake)
        one.wake.notify()
        return place

    def _await(self, place: Place, offset: int, limit_bytes: int, deadline: float) -> Sequence[Record] | None:
        """What comes at a place; none if one has to look for another place."""
        patience = max(deadline, time.monotonic() + _PATIENCE)
        with self._lock:
            place.waiting += 1
            try:
                while place.has(offset) and not self._closing.is_set():
                    now = time.monotonic()
                    found = place.take(offset, limit_bytes, now)
                    place.owner.notify()
                    if found:
                        return found
                    if now >= deadline and self._is_over(place, offset, patience):
                        if place.has(offset):  # something may have come meanwhile
                            return place.take(offset, limit_bytes, now)
                        break
                    place.came.wait(max(_PAUSE / 2, min(_CHECK, deadline - now)))
            finally:
                place.waiting -= 1
            if self._closing.is_set():
                return ()
            failure = place.failure
        if failure is not None:
            self._failed(place, failure, offset)
        return None

    def _failed(self, place: Place, failure: SondeError, offset: int) -> None:
        """Raise what happened at a place; the next reader gets another one."""
        with self._lock:
            for one in self._fetchers:
                if one.places.get(place.partition) is place:
                    del one.places[place.partition]
                    one.wake.notify()
        self._check()
        end = self._end(place.partition, offset)
        if offset > end:
            raise Retry(
                f"partition {place.partition} of {self._topic} ends at {end}, before offset {offset}", after=1.0
            )
        raise failure

    def _is_over(self, place: Place, offset: int, patience: float) -> bool:
        """Whether there is nothing at ``offset``, though it was waited for. Called with the lock held, which is let go of
        while brokers are asked."""
        number, end = place.partition, place.end
        if not place.at_end or self._appended(number) > end:
            self._lock.release()
            try:
                end = self._ends(False)[number][1]
            finally:
                self._lock.acquire()
        self._check()
        if end <= offset or (place.at_end and end <= place.end):
            return True
        if time.monotonic() > patience:
            raise Retry(f"Kafka gave nothing of partition {number} of {self._topic} in {_PATIENCE:.0f} s", after=1.0)
        return False
