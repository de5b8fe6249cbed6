"""Where the partitions of a topic begin and end."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from sonde.errors import Retry
from sonde.log.kafka.failures import raised

FRESH: Final = 0.2
"""For so many seconds an answer is given again."""

_SECONDS: Final = 10.0
_SPEC: Final[Any] = OffsetSpec  # its methods have no types
_FIRST: Final[Any] = _SPEC.earliest()
_LAST: Final[Any] = _SPEC.latest()


class Ends:
    """Asks the brokers, but not each time: of many that ask at once, one does."""

    def __init__(self, admin: AdminClient, topic: str, partitions: Callable[[], int]) -> None:
        self._admin = admin
        self._topic = topic
        self._partitions = partitions
        self._lock = threading.Lock()
        self._known: Mapping[int, tuple[int, int]] = {}
        self._asked = float("-inf")

    def get(self, *, fresh: bool = False) -> Mapping[int, tuple[int, int]]:
        """By partition, the first offset that is kept and the next one to be given out; ``fresh``: as of now.
        :class:`Retry` if one of them cannot be known."""
        began = time.monotonic()
        with self._lock:
            stale = self._asked < (began if fresh else began - FRESH)
            if stale or len(self._known) != self._partitions():
                asked = time.monotonic()
                self._known = self._ask()
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
        try:
            return {n: (firsts[n].result(_SECONDS).offset, lasts[n].result(_SECONDS).offset) for n in every}
        except KafkaException as error:
            raise raised(error, doing) from None
        except TimeoutError:
            raise Retry(f"Kafka cannot {doing}: no answer in {_SECONDS:.0f} s", after=1.0) from None

    def _offsets(self, every: range, which: Any) -> dict[int, Any]:
        asked = self._admin.list_offsets(
            {TopicPartition(self._topic, number): which for number in every},
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=_SECONDS,
        )
        return {place.partition: answer for place, answer in asked.items()}
