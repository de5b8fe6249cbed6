"""A message of Kafka as a record of the log."""

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message

from sonde.moment import LATEST
from sonde.ports import Record

_MS = 1_000


def record_of(message: Message, offset: int) -> Record:
    """What a message holds; a null is an empty one. Its time is the broker's or its producer's, as the topic is set; a time
    that no calendar has, as of a producer that counts in other units, says nothing."""
    kind, milliseconds = message.timestamp()
    known = kind != TIMESTAMP_NOT_AVAILABLE and 0 < milliseconds < LATEST // _MS
    return Record(offset, message.value() or b"", milliseconds * _MS if known else 0)
