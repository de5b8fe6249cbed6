"""Kafka, by the configuration. Loaded only where the log is a topic."""

from pathlib import Path
from typing import Final

import structlog

from sonde.clock import DAY, SECOND
from sonde.config import Settings
from sonde.errors import Hold
from sonde.log.kafka.admin import Admin
from sonde.log.kafka.connection import Connection
from sonde.log.kafka.dead_letters import ROOM, KafkaDeadLetters
from sonde.log.kafka.log import KafkaLog
from sonde.log.kafka.membership import KafkaMembership
from sonde.log.kafka.topic import MESSAGE_BYTES, Plan, absent, find, make
from sonde.ports import DeadLetters, Membership

_log = structlog.get_logger()
APPEND_SECONDS: Final = 5.0
"""How long the copies have for a frame: a caller is told to come again before it gives up, and a server stops in time."""

_DEAD_LETTERS_KEPT: Final = 90 * DAY
_BEGIN: Final = "-----BEGIN "


def connection_of(settings: Settings) -> Connection:
    """How to reach the brokers. :class:`Hold` if a file with a certificate or key cannot be read."""
    topic, kafka = settings.topic, settings.kafka
    assert topic is not None
    return Connection(
        topic.servers,
        kafka.protocol,
        kafka.mechanism,
        kafka.sasl_username,
        kafka.sasl_password.get_secret_value(),
        _pem(kafka.ssl_ca, "ssl_ca"),
        _pem(kafka.ssl_cert, "ssl_cert"),
        _pem(kafka.ssl_key.get_secret_value(), "ssl_key"),
    )


def _pem(given: str, key: str) -> str:
    """The text itself, or that of the file that it names."""
    if not given or _BEGIN in given:
        return given
    try:
        return Path(given).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Hold(
            f"[kafka] {key} names a file that cannot be read ({error})", hint="Name another, or give its text"
        ) from None


def plans_of(settings: Settings) -> tuple[Plan, Plan]:
    """The topic that is the log, and the one for dead letters, as they are made."""
    topic, kafka, age = settings.topic, settings.kafka, settings.retention.log
    assert topic is not None
    copies = kafka.replication or 0
    kept = {} if age is None else {"retention": round(age * SECOND)}
    return (
        Plan(topic.name, kafka.partitions, copies=copies, events=kafka.plain_events, used=kafka.use_partitions, **kept),
        Plan(kafka.topic_dlq, 1, _DEAD_LETTERS_KEPT, copies, MESSAGE_BYTES + ROOM),
    )


def open_log(settings: Settings, *, make_it: bool = True) -> KafkaLog:
    """The topic that is the log; with ``make_it`` that and the one for dead letters are made if they are not there.
    :class:`sonde.errors.Retry` if no broker answers, :class:`Hold` if there is none."""
    topic, kafka = settings.topic, settings.kafka
    assert topic is not None
    connection = connection_of(settings)
    made = make(connection, plans_of(settings)) if make_it else []
    for name in made:
        _log.info("topic_made", topic=name)
    return KafkaLog(connection, topic.name, group=kafka.group_id, most=kafka.use_partitions, seconds=APPEND_SECONDS)


def open_membership(settings: Settings) -> Membership:
    """A place among the processors."""
    topic, kafka = settings.topic, settings.kafka
    assert topic is not None
    return KafkaMembership(connection_of(settings), topic.name, kafka.group_id, most=kafka.use_partitions)


def open_dead_letters(settings: Settings, log: KafkaLog) -> DeadLetters:
    """Where goes what of ``log`` can never be read."""
    return _dead_letters(settings, log.id, log.max_frame_bytes)


def find_dead_letters(settings: Settings) -> DeadLetters:
    """The same without a log that is open; :class:`Hold` if there is no such topic."""
    topic = settings.topic
    assert topic is not None
    connection = connection_of(settings)
    found = find(Admin(connection), topic.name, settings=True)
    if found is None:
        raise absent(topic.name, connection.servers)
    return _dead_letters(settings, found.id, found.max_frame_bytes)


def _dead_letters(settings: Settings, log: str, max_frame_bytes: int) -> DeadLetters:
    topic, kafka = settings.topic, settings.kafka
    assert topic is not None
    return KafkaDeadLetters(
        connection_of(settings),
        kafka.topic_dlq,
        topic.name,
        log,
        group=kafka.group_id,
        max_frame_bytes=max_frame_bytes,
        seconds=APPEND_SECONDS,
    )
