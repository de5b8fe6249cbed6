"""Which partitions of a topic this process works on: the port ``Membership`` as a member of a consumer group.

The group shares the work out and nothing else. Its member reads nothing and commits no offsets: those are in the store.
"""

import threading
import time
from typing import Final

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from sonde.errors import SondeError
from sonde.log.kafka import clients
from sonde.log.kafka.connection import Connection
from sonde.log.kafka.failures import failure, raised

SESSION: Final = 10.0
"""Seconds after which the others get what a member had that is heard of no more."""

SILENCE: Final = 30.0
"""The same for a member that runs and does not ask."""


_STALE: Final = 15.0  # seconds after which a complaint that did not come again says nothing more


class KafkaMembership:
    """A place in ``group`` for the topic ``name``, or for its first ``most`` partitions. :class:`Hold` if the settings make
    no sense."""

    def __init__(
        self,
        connection: Connection,
        name: str,
        group: str,
        *,
        most: int | None = None,
        session: float = SESSION,
        silence: float = SILENCE,
    ) -> None:
        self._name = name
        self._group = group
        self._most = most
        self._silence = max(session, silence)
        self._lock = threading.Lock()
        self._mine: frozenset[int] = frozenset()
        self._problem: SondeError | None = None
        self._asked = self._complained = time.monotonic()
        self._open = True
        self._consumer = clients.member(connection, group, session=session, silence=silence, error_cb=self._complaint)
        self._consumer.subscribe([name], on_assign=self._gained, on_revoke=self._lost, on_lost=self._lost)

    def partitions(self) -> frozenset[int]:
        """See :meth:`sonde.ports.Membership.partitions`. :class:`Retry` while no broker answers and nothing is known,
        :class:`Hold` if the group or the topic may not be used."""
        with self._lock:
            if not self._open:
                return frozenset()
            now = time.monotonic()
            silent = now - self._asked > self._silence
            self._asked = now
            self._poll()
            if silent:  # others have what was this one's; whether it is told so yet or not
                return frozenset()
            if self._problem is not None and not self._mine and now - self._complained < _STALE:
                raise self._problem
            return self._mine

    def close(self) -> None:
        with self._lock:
            if not self._open:
                return
            self._open = False
            self._mine = frozenset()
            self._consumer.close()

    def _poll(self) -> None:
        """Let the client tell what has changed."""
        try:
            while (message := self._consumer.poll(0)) is not None:
                error = message.error()
                if error is not None and error.code() != KafkaError._MAX_POLL_EXCEEDED:
                    self._complaint(error)
        except (KafkaException, RuntimeError) as error:
            raise raised(error, f"let this process join the group {self._group} of {self._name}") from None

    def _complaint(self, error: KafkaError) -> None:
        self._complained = time.monotonic()
        self._problem = failure(error, f"let this process join the group {self._group} of {self._name}")

    def _gained(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        there = [TopicPartition(place.topic, place.partition, OFFSET_END) for place in places]
        consumer.incremental_assign(there)
        consumer.pause(there)
        self._mine |= {place.partition for place in places if self._most is None or place.partition < self._most}
        self._problem = None

    def _lost(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self._mine -= {place.partition for place in places}
        consumer.incremental_unassign(places)
