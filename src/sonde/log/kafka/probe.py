"""Reads a few frames anywhere in a topic, for those who will not go on from there."""

import threading
import time
from collections.abc import Sequence
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from sonde.errors import Retry
from sonde.log.kafka.failures import failure, raised
from sonde.log.kafka.record import record_of
from sonde.ports import Record

FETCH_BYTES: Final = 64 << 10
"""How much is fetched at a time."""

WAIT: Final = 5
"""ms for which brokers keep a question open: whoever goes elsewhere waits for its end."""

_POLL: Final = 0.2


class Probe:
    """A consumer that goes where it is asked to; one reader at a time."""

    def __init__(self, consumer: Consumer, topic: str) -> None:
        self._consumer = consumer
        self._topic = topic
        self._lock = threading.Lock()
        self._open = True

    def read(self, partition: int, offset: int, limit_bytes: int, seconds: float) -> Sequence[Record]:
        """Frames from ``offset`` on, at least one if there is one. :class:`Retry` if none comes in so many seconds,
        :class:`NotFound` below the first offset that is kept."""
        deadline = time.monotonic() + seconds
        with self._lock:
            try:
                self._consumer.assign([TopicPartition(self._topic, partition, offset)])
                while self._open and time.monotonic() < deadline:
                    message = self._consumer.poll(_POLL)
                    if message is None or message.partition() != partition:
                        continue
                    error, at = message.error(), message.offset()
                    if error is not None and error.code() == KafkaError._PARTITION_EOF:
                        return ()
                    if error is not None:
                        raise failure(error, f"read partition {partition} of {self._topic}")
                    if at is not None and at >= offset:
                        return self._more(record_of(message, at), partition, limit_bytes)
            except (KafkaException, RuntimeError) as error:
                raise raised(error, f"read {self._topic}") from None
            finally:
                self._rest()
        raise Retry(f"Kafka gave nothing of partition {partition} in {seconds:.0f} s", after=1.0)

    def _more(self, first: Record, partition: int, limit_bytes: int) -> Sequence[Record]:
        """What came with the first one."""
        found, size = [first], len(first.frame)
        while size < limit_bytes:
            message = self._consumer.poll(0)
            if message is None or message.error() is not None or message.partition() != partition:
                break
            at = message.offset()
            if at is None or at <= found[-1].offset:
                break
            record = record_of(message, at)
            size += len(record.frame)
            if size > limit_bytes:
                break
            found.append(record)
        return found

    def _rest(self) -> None:
        """Fetch nothing until somebody asks."""
        if self._open:
            self._consumer.unassign()

    def close(self) -> None:
        self._open = False
        with self._lock:
            self._consumer.close()
