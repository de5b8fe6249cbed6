"""Where the partitions of a topic begin and end."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from confluent_kafka import IsolationLevel, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]

from sonde.errors import Retry
from sonde.log.kafka.admin import SECONDS, Absent, Admin

FRESH: Final = 0.2
"""For so many seconds an answer is given again, or that there is none."""

_SPEC: Final[Any] = OffsetSpec  # its methods have no types
_FIRST: Final[Any] = _SPEC.earliest()
_LAST: Final[Any] = _SPEC.latest()


class Ends:
    """Asks the brokers, but not each time: of many that ask at once, one does."""

    def __init__(self, admin: Admin, topic: str, partitions: Callable[[], int]) -> None:
        self._admin = admin
        self._topic = topic
        self._partitions = partitions
        self._lock = threading.Lock()
        self._known: Mapping[int, tuple[int, int]] = {}
        self._asked = float("-inf")
        self._failure: Retry | None = None
        self._failed = float("-inf")

    def get(self, *, fresh: bool = False) -> Mapping[int, tuple[int, int]]:
        """By partition, the first offset that is kept and the next one to be given out; ``fresh``: as of now.
        :class:`Retry` if one of them cannot be known, also to whoever waited for the question of another meanwhile."""
        began = time.monotonic()
        with self._lock:
            if self._failure is not None and began < self._failed + FRESH:
                raise self._failure
            stale = self._asked < (began if fresh else began - FRESH)
            if stale or len(self._known) != self._partitions():
                asked = time.monotonic()
                try:
                    self._known = self._ask()
                except Retry as error:
                    self._failure, self._failed = error, time.monotonic()
                    raise
                self._asked = asked
            return self._known

    def forget(self) -> None:
        """What is known is no longer so."""
        with self._lock:
            self._asked = float("-inf")

    def _ask(self) -> Mapping[int, tuple[int, int]]:
        every = range(self._partitions())
        firsts, lasts = self._offsets(every, _FIRST), self._offsets(every, _LAST)
        doing = f"say where {self._topic} begins and ends"
        answer = self._admin.answer
        try:
            return {n: (answer(firsts[n], doing).offset, answer(lasts[n], doing).offset) for n in every}
        except Absent:
            raise Retry(f"Kafka cannot {doing}: a partition is not known there", after=1.0) from None

    def _offsets(self, every: range, which: Any) -> dict[int, Any]:
        asked = self._admin.client.list_offsets(
            {TopicPartition(self._topic, number): which for number in every},
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=SECONDS,
        )
        return {place.partition: answer for place, answer in asked.items()}
