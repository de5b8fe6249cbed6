"""The topic that is a log: what it is now, and how it is made."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from confluent_kafka import TopicCollection, Uuid
from confluent_kafka.admin import ConfigResource  # type: ignore[attr-defined]
from confluent_kafka.cimpl import NewTopic

from sonde.clock import DAY, SECOND, Micros
from sonde.errors import Hold, Retry
from sonde.log.kafka.admin import SECONDS, Absent, Admin, Taken
from sonde.log.kafka.connection import Connection

EVENT_PARTITIONS: Final = 64
MESSAGE_BYTES: Final = 96 << 20
"""``max.message.bytes`` of a topic that Sonde makes: the largest frame that a sink can make fits."""

COPIES: Final = 3
ENVELOPE: Final = 1024
"""What a broker counts as part of a message beside the frame; rather too much than too little."""

_LOOKS: Final = 10
_BETWEEN: Final = 0.2
_BROKER_BYTES: Final = 1 << 20
"""What a topic takes if nobody may look and nobody has said."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A topic as it should be made. ``copies`` 0 means three, or as many as there are brokers; ``events`` that other programs
    may write to it; the first ``used`` partitions are used, or all."""

    name: str
    partitions: int = EVENT_PARTITIONS
    retention: Micros = 7 * DAY
    copies: int = 0
    message_bytes: int = MESSAGE_BYTES
    events: bool = False
    used: int | None = None

    def settings(self, copies: int) -> dict[str, str]:
        """For a topic with so many copies of each partition."""
        return {
            "cleanup.policy": "delete",
            "retention.ms": str(self.retention * 1000 // SECOND),
            "retention.bytes": "-1",
            "compression.type": "producer",  # frames are compressed, and sealed
            "max.message.bytes": str(self.message_bytes),
            "min.insync.replicas": str(max(1, copies - 1)),
            "unclean.leader.election.enable": "false",
            "message.timestamp.type": "LogAppendTime",  # when events of others came is what the broker says
        }


@dataclass(frozen=True, slots=True)
class Partition:
    """Where one partition is; ``leader`` is -1 when none leads it."""

    leader: int
    copies: tuple[int, ...]
    in_sync: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as it is. ``settings`` are empty where nobody may look."""

    name: str
    id: str
    partitions: Sequence[Partition]
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def max_frame_bytes(self) -> int:
        """The largest frame that it takes."""
        return int(self.settings.get("max.message.bytes", _BROKER_BYTES)) - ENVELOPE


def look(admin: Admin, name: str, *, settings: bool = False) -> Topic | None:
    """What a topic is now; none if there is no such topic. :class:`Retry` if no broker answers, :class:`Hold` if it may not
    be looked at."""
    try:
        asked = admin.client.describe_topics(TopicCollection([name]), request_timeout=SECONDS)
        found = admin.answer(asked[name], f"say what the topic {name} is")
    except Absent:
        return None
    partitions = [
        Partition(p.leader.id if p.leader is not None else -1, _ids(p.replicas), _ids(p.isr)) for p in found.partitions
    ]
    return Topic(name, _hex(found.topic_id), partitions, _settings(admin, name) if settings else {})


def find(admin: Admin, name: str, *, settings: bool = False) -> Topic | None:
    """The same, but it takes a while before it believes that there is none: brokers hear of new topics one by one."""
    for _ in range(_LOOKS):
        if found := look(admin, name, settings=settings):
            return found
        time.sleep(_BETWEEN)
    return None


def make(connection: Connection, plans: Sequence[Plan]) -> list[str]:
    """Make those topics that are not there; the names of those that were made. :class:`Hold` says what to ask the
    administrator of Kafka for, where that is not allowed; :class:`Retry` if no broker answers."""
    admin = Admin(connection)
    missing = [plan for plan in plans if not _is_there(admin, plan)]
    made = [plan.name for plan in missing if _make(admin, plan)]
    for plan in missing:
        _await(admin, plan.name)
    return made


def _is_there(admin: Admin, plan: Plan) -> bool:
    try:
        return look(admin, plan.name) is not None
    except Hold as error:
        raise _ask_for(admin, plan, error) from None


def _make(admin: Admin, plan: Plan) -> bool:
    """Make one; whether it was this call that made it."""
    copies = plan.copies or min(COPIES, brokers(admin))
    new = NewTopic(plan.name, plan.partitions, copies, config=plan.settings(copies))
    asked = admin.client.create_topics([new], request_timeout=SECONDS, operation_timeout=SECONDS)[plan.name]
    try:
        admin.answer(asked, f"make the topic {plan.name}")
    except Taken:  # somebody was faster
        return False
    except Hold as error:
        raise _ask_for(admin, plan, error) from None
    return True


def _ask_for(admin: Admin, plan: Plan, why: Hold) -> Hold:
    """What to ask the administrator for, when a topic cannot be looked at or made."""
    return Hold(
        why.message,
        hint="Ask the administrator of Kafka for the rights that docs/scaling.md lists, and unless the topic is there for"
        f" this: {command(admin.servers, plan)}",
    )


def _await(admin: Admin, name: str) -> None:
    """Until a new topic can be used."""
    deadline = time.monotonic() + 3 * SECONDS
    while (found := look(admin, name)) is None or any(p.leader < 0 for p in found.partitions):
        if time.monotonic() > deadline:
            raise Retry(f"the topic {name} was made, but has no leaders yet", hint="See sonde doctor", after=1.0)
        time.sleep(_BETWEEN)


def command(servers: str, plan: Plan) -> str:
    """What an administrator can type to make a topic."""
    copies = plan.copies or COPIES
    words = [f"kafka-topics.sh --bootstrap-server {servers} --create --topic {plan.name}"]
    words += [f"--partitions {plan.partitions} --replication-factor {copies}"]
    words += [f"--config {key}={value}" for key, value in plan.settings(copies).items()]
    return " ".join(words)


def absent(name: str, servers: str) -> Hold:
    """The error for a topic that is not there."""
    return Hold(
        f"Kafka has no topic {name}", hint=f"Ask the administrator of Kafka for this: {command(servers, Plan(name))}"
    )


def brokers(admin: Admin) -> int:
    """How many brokers there are."""
    return len(
        admin.answer(admin.client.describe_cluster(request_timeout=SECONDS), "say which brokers there are").nodes
    )


def _settings(admin: Admin, name: str) -> Mapping[str, str]:
    resource = ConfigResource(ConfigResource.Type.TOPIC, name)
    asked = admin.client.describe_configs([resource], request_timeout=SECONDS)[resource]
    try:
        return {key: str(entry.value) for key, entry in admin.answer(asked, f"say how {name} is set").items()}
    except Hold:  # they are asked for to be helpful: who may write and read may not always look
        return {}


def _ids(nodes: Sequence[Any]) -> tuple[int, ...]:
    return tuple(node.id for node in nodes)


def _hex(id: Uuid) -> str:
    both: Any = id
    high, low = both.get_most_significant_bits(), both.get_least_significant_bits()
    return f"{high & _BITS:016x}{low & _BITS:016x}"


_BITS: Final = (1 << 64) - 1
