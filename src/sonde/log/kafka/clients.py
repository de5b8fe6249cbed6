"""The settings of Kafka's own client, for what Sonde wants of it."""

from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from sonde.errors import Hold
from sonde.log.kafka.connection import Connection

Complaint = KafkaError
"""What a client says by itself: a broker that went away, a certificate that is wrong."""

_QUEUE_KB: Final = 256 << 10  # frames that wait for their confirmation, in one producer
_FETCHED_KB: Final = 8 << 10  # frames that a consumer has fetched and nobody has taken
_LINGER: Final = 2  # ms in which several appends become one request
_MARGIN: Final = 1 << 20


def admin(connection: Connection, **more: Any) -> AdminClient:
    """Asks about topics, makes them, cuts them."""
    refresh = {
        "topic.metadata.refresh.interval.ms": 2000
    }  # else one that was asked first is asked on, though it has gone
    made: AdminClient = _made(AdminClient, {**_common(connection), **refresh, **more})
    return made


def producer(connection: Connection, max_frame_bytes: int, seconds: float, **more: Any) -> Producer:
    """Confirms when all copies have a frame; gives up after ``seconds``. Each frame gets there once, in order."""
    made: Producer = _made(
        Producer,
        {
            **_common(connection),
            "acks": "all",
            "enable.idempotence": True,
            "compression.type": "none",  # frames are compressed, and sealed
            "linger.ms": _LINGER,
            "message.timeout.ms": int(seconds * 1000),
            "request.timeout.ms": max(1000, int(seconds * 500)),
            "message.max.bytes": max_frame_bytes + _MARGIN,
            "queue.buffering.max.kbytes": max(_QUEUE_KB, 2 * max_frame_bytes >> 10),
            "topic.metadata.propagation.max.ms": 5000,
            **more,
        },
    )
    return made


def consumer(connection: Connection, group: str, max_frame_bytes: int, fetch_bytes: int, **more: Any) -> Consumer:
    """Reads what it is assigned by hand. The group has no part in it but its name, which rights go by."""
    made: Consumer = _made(
        Consumer,
        {
            **_common(connection),
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",  # what another program took back was never there
            "check.crcs": True,
            "fetch.message.max.bytes": fetch_bytes,
            "fetch.max.bytes": max(fetch_bytes, _FETCHED_KB << 10),
            "fetch.error.backoff.ms": 100,
            "queued.max.messages.kbytes": min(_FETCHED_KB, 4 * fetch_bytes >> 10),
            "receive.message.max.bytes": max_frame_bytes + (_FETCHED_KB << 10) + _MARGIN,
            **more,
        },
    )
    return made


def member(connection: Connection, group: str, *, session: float, silence: float, **more: Any) -> Consumer:
    """Takes part in a group, and reads nothing."""
    made: Consumer = _made(
        Consumer,
        {
            **_common(connection),
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "latest",
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": int(session * 1000),
            "heartbeat.interval.ms": max(100, int(session * 1000 / 4)),
            "max.poll.interval.ms": int(max(session, silence) * 1000),
            "topic.metadata.refresh.interval.ms": 5000,  # how soon more partitions are noticed
            **more,
        },
    )
    return made


def _common(connection: Connection) -> dict[str, Any]:
    return {
        **connection.settings(),
        "client.id": "sonde",
        "log_level": 0,  # what goes wrong is returned, not printed
        "allow.auto.create.topics": False,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1000,
        "socket.keepalive.enable": True,
        "socket.connection.setup.timeout.ms": 10_000,
    }


def _made(kind: Any, settings: dict[str, Any]) -> Any:
    if kind is not Consumer:
        settings.pop("allow.auto.create.topics")
    try:
        return kind(settings)
    except KafkaException as error:
        reason = error.args[0].str() if error.args and isinstance(error.args[0], KafkaError) else str(error)
        raise Hold(f"the client of Kafka does not take its settings: {reason}", hint="Check [kafka]") from None
