"""What may be wrong with a broker or a topic, in plain words, and what to do about it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from confluent_kafka import TopicCollection
from confluent_kafka.admin import AclOperation  # type: ignore[attr-defined]

from sonde.clock import DAY, SECOND, Micros
from sonde.errors import Hold, Retry
from sonde.log.kafka import topic
from sonde.log.kafka.admin import SECONDS, Absent, Admin
from sonde.log.kafka.connection import Connection
from sonde.log.kafka.topic import Plan, Topic

Level = Literal["ok", "warning", "wrong"]
_LEAST_RETENTION: Final[Micros] = DAY
_NO_LIMIT: Final = "-1"


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing that was looked at: how it is, and what to do if it is not well."""

    level: Level
    message: str
    hint: str = ""


def checks(connection: Connection, plan: Plan, *, behind: Micros | None = None) -> Iterator[Remark]:
    """Look at the brokers and at the topic that ``plan`` says how to make. ``behind`` is how much time the slowest reader
    of the topic is behind it, if that is known."""
    admin = Admin(connection)
    try:
        count = topic.brokers(admin)
        found = topic.find(admin, plan.name, settings=True)
    except (Hold, Retry) as error:
        yield Remark("wrong", error.message, error.hint)
        return
    yield Remark("ok", f"{count} {'broker answers' if count == 1 else 'brokers answer'} at {connection.servers}")
    if found is None:
        yield Remark("wrong", f"there is no topic {plan.name}", _make(connection.servers, plan))
        return
    remarks = [
        *_number(found, plan),
        *_copies(found),
        *_settings(found, plan),
        *_retention(found, behind),
        *_rights(admin, plan.name),
    ]
    yield from remarks
    if not remarks:
        yield Remark(
            "ok", f"the topic {plan.name} has {len(found.partitions)} partitions, each in {_fewest(found)} copies"
        )


def _number(found: Topic, plan: Plan) -> Iterator[Remark]:
    there = len(found.partitions)
    if plan.used is not None and there != plan.used:
        yield Remark(
            "warning",
            f"the topic {plan.name} has {there} partitions, and [kafka] use_partitions is {plan.used}",
            "What others write into the rest is not read: they should write into the first ones only"
            if there > plan.used
            else "Leave it empty, unless the topic was given more partitions in use",
        )


def _copies(found: Topic) -> Iterator[Remark]:
    """How many copies there are, and whether they are where they should be."""
    partitions, least = found.partitions, int(found.settings.get("min.insync.replicas", 1))
    if headless := [n for n, p in enumerate(partitions) if p.leader < 0]:
        yield Remark("wrong", f"no broker leads {_named(headless)}", "Start the brokers that have their copies")
    elif too_few := [n for n, p in enumerate(partitions) if len(p.in_sync) < least]:
        yield Remark(
            "wrong",
            f"{_named(too_few)} takes nothing: fewer than min.insync.replicas ({least}) copies are up to date",
            "Start the brokers that are away",
        )
    elif behind := [n for n, p in enumerate(partitions) if len(p.in_sync) < len(p.copies)]:
        yield Remark("warning", f"not all copies of {_named(behind)} are up to date", "Is a broker away?")
    fewest = _fewest(found)
    if fewest < topic.COPIES:
        yield Remark(
            "warning",
            f"{found.name} is kept in {fewest} {'copy' if fewest == 1 else 'copies'}",
            "Three let a broker die without loss and without a pause: kafka-reassign-partitions.sh adds some",
        )
    if fewest >= topic.COPIES and least < 2:
        yield Remark(
            "warning",
            f"min.insync.replicas of {found.name} is {least}: what one broker alone has is confirmed, and lost with it",
            f"kafka-configs.sh --alter --topic {found.name} --add-config min.insync.replicas=2",
        )
    if 1 < fewest <= least:
        yield Remark(
            "warning",
            f"min.insync.replicas of {found.name} is {least}, of {fewest} copies: nothing is taken while one broker is away",
            f"kafka-configs.sh --alter --topic {found.name} --add-config min.insync.replicas={fewest - 1}",
        )


def _settings(found: Topic, plan: Plan) -> Iterator[Remark]:
    """What the topic does with what it takes."""
    settings = found.settings
    if not settings:
        yield Remark(
            "warning",
            f"nobody may see how {found.name} is set",
            "Ask the administrator of Kafka for DescribeConfigs on it",
        )
        return
    if settings.get("cleanup.policy") != "delete":
        yield Remark(
            "wrong",
            f"cleanup.policy of {found.name} is {settings.get('cleanup.policy')}: Kafka would throw frames away",
            f"kafka-configs.sh --alter --topic {found.name} --add-config cleanup.policy=delete",
        )
    if settings.get("unclean.leader.election.enable") == "true":
        yield Remark(
            "warning",
            f"{found.name} may get a leader that lacks what was confirmed",
            f"kafka-configs.sh --alter --topic {found.name} --add-config unclean.leader.election.enable=false",
        )
    if settings.get("compression.type") not in {"producer", "uncompressed"}:
        yield Remark(
            "warning",
            f"the brokers compress {found.name} again: frames are compressed already",
            f"kafka-configs.sh --alter --topic {found.name} --add-config compression.type=producer",
        )
    if plan.events and settings.get("message.timestamp.type") == "CreateTime":
        yield Remark(
            "warning",
            f"when an event of another program came to {found.name} is what that program's clock says",
            f"kafka-configs.sh --alter --topic {found.name} --add-config message.timestamp.type=LogAppendTime",
        )
    if found.max_frame_bytes + topic.ENVELOPE < plan.message_bytes:
        yield Remark(
            "warning",
            f"{found.name} takes messages of {found.max_frame_bytes + topic.ENVELOPE} bytes: larger requests are refused",
            f"kafka-configs.sh --alter --topic {found.name} --add-config max.message.bytes={plan.message_bytes}",
        )


def _retention(found: Topic, behind: Micros | None) -> Iterator[Remark]:
    """Whether Kafka throws away what nobody has read yet."""
    text = found.settings.get("retention.ms", _NO_LIMIT)
    kept = None if text == _NO_LIMIT else int(text) * SECOND // 1000
    if kept is not None and behind is not None and 2 * behind > kept:
        yield Remark(
            "wrong",
            f"a reader of {found.name} is {_hours(behind)} behind, and Kafka keeps {_hours(kept)}: readings will be lost",
            f"At once: kafka-configs.sh --alter --topic {found.name} --add-config retention.ms=-1; then more processors",
        )
    elif kept is not None and kept < _LEAST_RETENTION:
        yield Remark(
            "warning",
            f"Kafka keeps {found.name} for {_hours(kept)}: the database may not be away for longer",
            f"kafka-configs.sh --alter --topic {found.name} --add-config retention.ms={7 * DAY // 1000}",
        )
    if found.settings.get("retention.bytes", _NO_LIMIT) != _NO_LIMIT:
        yield Remark(
            "warning",
            f"{found.name} is cut by size (retention.bytes), whether it was read or not",
            f"kafka-configs.sh --alter --topic {found.name} --add-config retention.bytes=-1",
        )


_RIGHTS: Final[tuple[tuple[AclOperation, Level, str], ...]] = (
    (AclOperation.WRITE, "wrong", "sinks cannot append"),
    (AclOperation.READ, "wrong", "processors cannot read"),
    (AclOperation.DELETE, "warning", "what is no longer needed cannot be cut"),
)


def _rights(admin: Admin, name: str) -> Iterator[Remark]:
    """What this user may do with the topic."""
    asked = admin.client.describe_topics(
        TopicCollection([name]), include_authorized_operations=True, request_timeout=SECONDS
    )
    try:
        allowed = admin.answer(asked[name], f"say who may use {name}").authorized_operations
    except (Absent, Hold, Retry):
        return  # whether it can be asked at all was said before
    if allowed is None:
        return
    for right, level, what in _RIGHTS:
        if right not in allowed:
            name_of = right.name.capitalize()
            yield Remark(
                level,
                f"this user may not {name_of} {name}: {what}",
                f"Ask the administrator of Kafka for {name_of} on it",
            )


def _make(servers: str, plan: Plan) -> str:
    return f"Sonde makes it at its start, if it may; else ask the administrator of Kafka for {topic.command(servers, plan)}"


def _fewest(found: Topic) -> int:
    return min((len(p.copies) for p in found.partitions), default=0)


def _named(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:5])) + (" …" if len(numbers) > 5 else "")
    return f"partition {shown}" if len(numbers) == 1 else f"{len(numbers)} partitions ({shown})"


def _hours(span: Micros) -> str:
    hours = span / (3600 * SECOND)
    return f"{hours / 24:.1f} days" if hours >= 48 else f"{hours:.1f} hours"
