"""Dead letters in a topic of their own: each is a record with the frame as it was, and in its headers where it stood and why.

That one was taken back is a record too, so nothing is ever deleted here but by the topic's own retention. All of it stands in
the first partition, in the order in which it came.
"""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from sonde.errors import Hold, Retry, TooLarge
from sonde.log.kafka import clients
from sonde.log.kafka.connection import Connection
from sonde.log.kafka.failures import failure, raised
from sonde.ports import DeadLetter

ROOM: Final = 64 << 10
"""How much larger a dead letter may be than its frame."""

_PARTITION: Final = 0
_LETTER: Final = "letter"
_TAKEN: Final = "taken back"
_WHY_BYTES: Final = 4096
_FETCH_BYTES: Final = 1 << 20
_POLL: Final = 0.5
_NO_TOPIC: Final = frozenset(
    {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}
)


class KafkaDeadLetters:
    """The port ``DeadLetters`` in a topic. ``log`` is the id of the log in ``log_topic``: letters of another are not told.
    ``seconds`` is how long one call may wait for Kafka."""

    def __init__(
        self,
        connection: Connection,
        topic: str,
        log_topic: str,
        log: str,
        *,
        group: str,
        max_frame_bytes: int,
        seconds: float = 10.0,
    ) -> None:
        self._connection = connection
        self._topic = topic
        self._log_topic = log_topic
        self._log = log
        self._group = group
        self._max_frame_bytes = max_frame_bytes
        self._seconds = seconds
        self._lock = threading.Lock()
        self._producer = clients.producer(connection, max_frame_bytes + ROOM, seconds)

    def put(self, letter: DeadLetter) -> None:
        """See :meth:`sonde.ports.DeadLetters.put`. :class:`Hold` if the topic does not take so large a record."""
        try:
            self._produce(self._topic, _PARTITION, letter.frame, self._key(letter), _headers(letter))
        except TooLarge as error:
            raise Hold(
                f"frame {letter.name} of the log cannot be read and is too large for {self._topic} ({error.message})",
                hint=f"Raise max.message.bytes of {self._topic} above that of {self._log_topic}",
            ) from None

    def letters(self, limit: int) -> Sequence[DeadLetter]:
        """See :meth:`sonde.ports.DeadLetters.letters`."""
        known = {message.key() for message in self._mine() if _header(message, "sonde") == _TAKEN}
        found: list[DeadLetter] = []
        for message in self._mine():
            if len(found) >= limit:
                break
            if _header(message, "sonde") == _LETTER and message.key() not in known:
                known.add(message.key())
                found.append(_letter(message))
        return found

    def take_back(self, letter: DeadLetter) -> int:
        """See :meth:`sonde.ports.DeadLetters.take_back`."""
        offset = self._produce(self._log_topic, letter.partition, letter.frame)
        self._produce(self._topic, _PARTITION, b"", self._key(letter), {"sonde": _TAKEN})
        return offset

    def close(self) -> None:
        self._producer.flush(self._seconds)

    def _key(self, letter: DeadLetter) -> bytes:
        return f"{self._log} {letter.name}".encode()

    def _produce(
        self,
        topic: str,
        partition: int,
        value: bytes,
        key: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> int:
        """Write one record, and wait until all copies have it; its offset."""
        told: list[tuple[KafkaError | None, int]] = []

        def report(error: KafkaError | None, message: Message) -> None:
            told.append((error, -1 if message.offset() is None else int(message.offset() or 0)))

        more: Any = {"headers": [(name, text.encode()) for name, text in headers.items()]} if headers else {}
        with self._lock:
            try:
                self._producer.produce(topic, value=value, key=key, partition=partition, on_delivery=report, **more)
            except (KafkaException, BufferError, RuntimeError) as error:
                raise raised(
                    RuntimeError(str(error)) if isinstance(error, BufferError) else error, _write(topic)
                ) from None
            end = time.monotonic() + 2 * self._seconds
            while not told and time.monotonic() < end:
                self._producer.poll(_POLL)
        if not told:
            raise Retry(f"Kafka cannot {_write(topic)}: no answer in {2 * self._seconds:.0f} s", after=1.0)
        [(problem, offset)] = told
        if problem is not None:
            raise failure(problem, _write(topic))
        return offset

    def _mine(self) -> Iterator[Message]:
        """Every record about this log, from the first to what is there now."""
        prefix = f"{self._log} ".encode()
        for message in self._records():
            key = message.key()
            if isinstance(key, bytes) and key.startswith(prefix):
                yield message

    def _records(self) -> Iterator[Message]:
        consumer = clients.consumer(self._connection, self._group, self._max_frame_bytes + ROOM, _FETCH_BYTES)
        doing = f"read {self._topic}"
        try:
            place = TopicPartition(self._topic, _PARTITION)
            first, end = consumer.get_watermark_offsets(place, timeout=self._seconds)
            if first >= end:
                return
            consumer.assign([TopicPartition(self._topic, _PARTITION, first)])
            heard = time.monotonic()
            while True:
                message = consumer.poll(_POLL)
                if message is None:
                    if time.monotonic() - heard > self._seconds:
                        raise Retry(f"Kafka cannot {doing}: no answer in {self._seconds:.0f} s", after=1.0)
                    continue
                heard = time.monotonic()
                problem = message.error()
                if problem is None:
                    yield message
                elif problem.code() == KafkaError._PARTITION_EOF:
                    return
                elif not problem.retriable() and problem.code() != KafkaError._TRANSPORT:
                    raise failure(problem, doing)
        except KafkaException as error:
            if error.args[0].code() not in _NO_TOPIC:  # nobody has made it: nothing was ever put there
                raise raised(error, doing) from None
        finally:
            consumer.close()


def _write(topic: str) -> str:
    return f"write to {topic}"


def _headers(letter: DeadLetter) -> dict[str, str]:
    why = letter.why.encode()[:_WHY_BYTES].decode(errors="ignore")
    return {
        "sonde": _LETTER,
        "partition": str(letter.partition),
        "offset": str(letter.offset),
        "reason": letter.reason,
        "why": why,
        "noticed": str(letter.noticed),
    }


def _header(message: Message, name: str) -> str:
    headers: Any = message.headers() or ()
    return next((bytes(value or b"").decode(errors="replace") for key, value in headers if key == name), "")


def _letter(message: Message) -> DeadLetter:
    value: Any = message.value()
    return DeadLetter(
        int(_header(message, "partition")),
        int(_header(message, "offset")),
        _header(message, "reason"),
        _header(message, "why"),
        int(_header(message, "noticed")),
        bytes(value or b""),
    )
