"""A message of Kafka as a record of the log."""

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message

from sonde.ports import Record

_MS = 1_000


def record_of(message: Message, offset: int) -> Record:
    """What a message holds; a null is an empty one. Its time is the broker's or its producer's, as the topic is set."""
    kind, milliseconds = message.timestamp()
    time = 0 if kind == TIMESTAMP_NOT_AVAILABLE else max(0, milliseconds) * _MS
    return Record(offset, message.value() or b"", time)
