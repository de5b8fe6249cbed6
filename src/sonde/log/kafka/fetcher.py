"""Fetches frames for places of a topic, one place in each partition."""

import threading
import time
from dataclasses import dataclass
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from sonde.errors import SondeError
from sonde.log.kafka.failures import failure, raised
from sonde.log.kafka.place import Place
from sonde.log.kafka.record import record_of

FETCH_BYTES: Final = 2 << 20
"""How much of one partition is fetched at a time."""

WAIT: Final = 100
"""ms for which brokers keep a question open: a place that moves waits for its end."""

_POLL: Final = 0.05  # seconds; a place that moves waits so long at most
_AT_ONCE: Final = 1000  # messages
_LOOK: Final = 1.0  # seconds between two looks for places that nobody reads
_IDLE: Final = 30.0  # seconds after which such a place is given up
_LEAST: Final = 256 << 10  # bytes that a place may have, however many there are
_AFTER_FAILURE: Final = 0.2


@dataclass(frozen=True, slots=True)
class _Orders:
    """What the consumer has to do before it fetches on."""

    leave: list[int]
    go: list[tuple[int, int]]  # partition, offset
    pause: list[int]
    resume: list[int]


class Fetcher:
    """A consumer with a thread of its own. ``lock`` guards the places, in which anybody may begin, move and take; ``wake``
    is for whoever has given the thread something to do. What is here stays below ``budget`` bytes, as long as frames are
    small beside it."""

    def __init__(self, consumer: Consumer, topic: str, lock: threading.Lock, budget: int) -> None:
        self.places: dict[int, Place] = {}
        self.wake = threading.Condition(lock)
        self._consumer = consumer
        self._topic = topic
        self._lock = lock
        self._budget = budget
        self._assigned: set[int] = set()  # these two belong to the thread
        self._paused: set[int] = set()
        self._looked = time.monotonic()
        self._stop = False
        self._thread = threading.Thread(target=self._run, name="sonde-kafka-read", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Fetch no more. Called with the lock held."""
        self._stop = True
        self.wake.notify_all()
        for place in self.places.values():
            place.came.notify_all()

    def close(self) -> None:
        """After :meth:`stop`."""
        self._thread.join()
        self._consumer.close()

    def _run(self) -> None:
        while (orders := self._next()) is not None:
            try:
                self._follow(orders)
                found = self._fetch()
            except (KafkaException, RuntimeError) as error:
                self._fail(raised(error, f"read {self._topic}"))
                time.sleep(_AFTER_FAILURE)
                continue
            if found:
                self._sort_in(found)

    def _next(self) -> _Orders | None:
        """Wait until there is something to fetch; none when it is to stop."""
        with self._lock:
            while not self._stop:
                self._give_up_idle()
                full = self._full()
                waits = any(place.waiting or place.moving for place in self.places.values())
                gone = self._assigned - self.places.keys()
                if gone or (self.places and (waits or not full)):
                    return self._orders(full, gone)
                self.wake.wait(_LOOK)
        return None

    def _full(self) -> set[int]:
        """Partitions of which there is so much that nobody has read yet that no more should come."""
        share = self._share()
        return {number for number, place in self.places.items() if place.unread_bytes * 2 >= share}

    def _share(self) -> int:
        return max(_LEAST, self._budget // max(1, len(self.places)))

    def _orders(self, full: set[int], gone: set[int]) -> _Orders:
        share = self._share()
        go = []
        for place in self.places.values():
            if place.moving:
                place.moving = False  # no older message comes after this: the thread does one thing after the other
                go.append((place.partition, place.end))
        moved = {number for number, _ in go}
        hungry = {n for n in self._paused & self.places.keys() if self.places[n].unread_bytes * 4 < share}
        return _Orders(
            leave=sorted(gone | (moved & self._assigned)),
            go=go,
            pause=sorted(full - self._paused - moved),
            resume=sorted((hungry | (moved & self._paused)) - full),
        )

    def _follow(self, orders: _Orders) -> None:
        consumer = self._consumer
        if orders.leave:
            consumer.incremental_unassign(self._named(orders.leave))
            self._assigned -= set(orders.leave)
        if orders.go:
            consumer.incremental_assign([TopicPartition(self._topic, number, offset) for number, offset in orders.go])
            self._assigned |= {number for number, _ in orders.go}
        if orders.pause:
            consumer.pause(self._named(orders.pause))
            self._paused |= set(orders.pause)
        if orders.resume:
            consumer.resume(self._named(orders.resume))
            self._paused -= set(orders.resume)
        self._paused &= self._assigned

    def _named(self, partitions: list[int]) -> list[TopicPartition]:
        return [TopicPartition(self._topic, number) for number in partitions]

    def _fetch(self) -> list[Message]:
        first = self._consumer.poll(_POLL)
        return [first, *self._consumer.consume(_AT_ONCE, 0)] if first is not None else []

    def _sort_in(self, found: list[Message]) -> None:
        with self._lock:
            touched = {number: place for m in found if (place := self._sorted(m)) and (number := place.partition) >= 0}
            share = self._share()
            for place in touched.values():
                place.trim(share)
                place.came.notify_all()

    def _sorted(self, message: Message) -> Place | None:
        """The place that a message belongs to, if there is one and the message means something there."""
        partition, offset, error = message.partition(), message.offset(), message.error()
        place = self.places.get(-1 if partition is None else partition)
        if place is None or place.moving or offset is None:
            return None
        if error is None:
            if offset >= place.end:
                place.add(record_of(message, offset))
        elif error.code() == KafkaError._PARTITION_EOF:
            place.reach(offset)
        else:
            place.failure = failure(error, f"read partition {partition} of {self._topic}")
        return place

    def _fail(self, error: SondeError) -> None:
        with self._lock:
            for place in self.places.values():
                place.failure = error
                place.came.notify_all()

    def _give_up_idle(self) -> None:
        now = time.monotonic()
        if now - self._looked < _LOOK:
            return
        self._looked = now
        idle = [n for n, place in self.places.items() if not place.waiting and now - place.used > _IDLE]
        for number in idle:
            del self.places[number]
