"""What is wrong between settings that are each right: :func:`wrong`, and what to know of them: :func:`worth_knowing`."""

from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Final, TypeAlias

from sonde.config.model import Settings
from sonde.moment import format_span

Spoken: TypeAlias = Mapping[tuple[str, str], str]
"""By section and key, where a value was said, in the words of whoever said it."""


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reachable from this machine only."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def wrong(settings: Settings, spoken: Spoken) -> Iterator[tuple[str, str]]:
    """Where, and what."""
    host = settings.server.host
    if not is_loopback(host) and settings.auth.anonymous_scopes:
        yield (
            spoken["auth", "anonymous_scopes"],
            f"is allowed on loopback only, and [server] host is {host}; take one of them out",
        )
    yield from _windows(settings, spoken)
    yield from _keeping(settings, spoken)


def worth_knowing(settings: Settings, spoken: Spoken) -> Iterator[str]:
    """What somebody should know, though nothing is wrong."""
    host = settings.server.host
    if spoken.get(("server", "host")) == "HOST" and not is_loopback(host):
        yield f"HOST makes Sonde listen on {host}, beyond this machine"
    yield from _not_kept_here(settings, spoken)
    if settings.topic is None:
        defaults = type(settings.kafka).model_fields
        for (section, key), where in spoken.items():
            if section == "kafka" and getattr(settings.kafka, key) != defaults[key].default:
                yield f"{where} is not used: the log is in files, as [log] url says"
                return


_OF_FILES: Final = {
    "windows_size": "give windows an age: [retention] windows",
    "alerts_most": "give alerts an age: [retention] alerts",
    "log_size": "the brokers bound a topic: its retention.bytes",
    "warn_below": "the disks are those of the brokers and the database",
    "shed_below": "the disks are those of the brokers and the database",
    "shed": "the disks are those of the brokers and the database",
}
"""Keys of [retention] that mean something for files only, and what is there instead."""


def _not_kept_here(settings: Settings, spoken: Spoken) -> Iterator[str]:
    defaults = type(settings.retention).model_fields
    for key, instead in _OF_FILES.items():
        if settings.database is not None and getattr(settings.retention, key) != defaults[key].default:
            where = spoken.get(("retention", key), f"[retention] {key}")
            yield f"{where} does nothing where log and store are Kafka and PostgreSQL; {instead}"


def _windows(settings: Settings, spoken: Spoken) -> Iterator[tuple[str, str]]:
    """The windows of a rule are made of those that are kept."""
    kept = settings.process.windows
    for name, rule in settings.rules.items():
        if rule.window is not None and all(rule.window % width for width in kept):
            widths = ", ".join(format_span(int(width)) for width in kept)
            yield (
                spoken.get((f"rule.{name}", "window"), f"[rule.{name}]"),
                f"window should be a multiple of a width that is kept: {widths} ([process] windows)",
            )


def _keeping(settings: Settings, spoken: Spoken) -> Iterator[tuple[str, str]]:
    """The log and the store belong together: both on one machine, or both where many processes reach them."""
    topic, database = settings.topic, settings.database
    log = spoken.get(("log", "url"), "[log] url")
    if topic is not None:
        yield from _topic(settings, spoken, log)
    if topic is not None and database is None:
        yield (
            log,
            "a log in Kafka needs PostgreSQL as the store, since many processes write and ask, and DuckDB lets one process "
            "in; set [store] url = postgresql://user@host/database",
        )
    if topic is None and database is not None:
        yield (
            spoken.get(("store", "url"), "[store] url"),
            "PostgreSQL as the store needs a log in Kafka, since a log in files belongs to one process; set [log] url = "
            "kafka://host:9092/topic",
        )


def _topic(settings: Settings, spoken: Spoken, log: str) -> Iterator[tuple[str, str]]:
    topic, kafka = settings.topic, settings.kafka
    assert topic is not None
    if not topic.servers:
        yield log, "names no broker; write kafka://host:9092/topic, or set [kafka] bootstrap_servers"
    elif kafka.bootstrap_servers not in {"", topic.servers}:
        where = spoken.get(("kafka", "bootstrap_servers"), "")
        yield where, "names other brokers than [log] url; take one of them out"
    if ("kafka", "topic") in spoken and kafka.topic != topic.name:
        yield spoken["kafka", "topic"], "names another topic than [log] url; take one of them out"
    if topic.name == kafka.topic_dlq:
        yield log, "names the topic of what was set aside, [kafka] topic_dlq; the log needs one of its own"
