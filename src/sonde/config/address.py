"""Addresses of the log and the store. A password in one is never shown."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from pydantic import SecretStr

from sonde.config.values import Form

_PORT: Final = 9092
_MASK: Final = "********"
_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")
_SERVER: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
_POSTGRES: Final = re.compile(r"postgres(ql)?(\+[a-z0-9]+)?://")


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic of Apache Kafka: ``servers`` as ``host:port`` with commas between them, and its name."""

    servers: str
    name: str


def checked_servers(text: str) -> str:
    """Brokers as ``host:port``, separated by commas; the port is 9092 if none is named."""
    found = [_SERVER.fullmatch(server.strip()) for server in text.split(",") if server.strip()]
    servers = [(match[1], int(match[2] or _PORT)) for match in found if match is not None]
    if len(servers) < len(found) or any(not 0 < port < 65536 for _, port in servers):
        raise ValueError("should be brokers such as broker-1:9092,broker-2:9092")
    return ",".join(f"{host}:{port}" for host, port in servers)


def checked_topic(text: str) -> str:
    """The name of a topic, as Kafka allows it."""
    if not _TOPIC.fullmatch(text) or text in {".", ".."}:
        raise ValueError("should be a topic's name: up to 249 letters, digits, dots, hyphens and underscores")
    return text


def checked_log(text: str) -> str:
    """``file:``, ``file:/path`` or ``kafka://host:9092,host:9092/topic``. It is not quoted in errors."""
    if text.startswith("file:"):
        return text
    if not text.startswith("kafka:"):
        raise ValueError("should begin with file: or kafka://, as in kafka://broker:9092/telemetry.events")
    if "@" in text:
        raise ValueError("should not hold a user: put it into [kafka] sasl_username and sasl_password")
    servers, topic = _kafka_parts(text)
    checked_servers(servers)
    if topic:
        checked_topic(topic)
    return text


def topic_of(log: str, servers: str, topic: str) -> Topic | None:
    """The topic that the address of a log names, if it does; ``servers`` and ``topic`` fill in what it leaves out."""
    if not log.startswith("kafka:"):
        return None
    named, name = _kafka_parts(log)
    return Topic(checked_servers(named) or servers, name or topic)


def _kafka_parts(text: str) -> tuple[str, str]:
    servers, _, topic = text.removeprefix("kafka:").removeprefix("//").partition("/")
    return servers, topic.strip("/")


def checked_store(secret: SecretStr) -> SecretStr:
    """``duckdb:`` or ``postgresql://user@host/database``; what other programs write for the same is meant too."""
    text = secret.get_secret_value().strip()
    if text == "duckdb:":
        return SecretStr(text)
    if text.startswith("duckdb:"):
        raise ValueError("should be duckdb: alone; the embedded store lies in the data directory")
    found = _POSTGRES.match(text)
    if found is None:
        raise ValueError("should be duckdb: or begin with postgresql://, as in postgresql://sonde@db.example.org/sonde")
    url = f"postgresql://{text[found.end() :]}"
    try:
        urlsplit(url).port  # noqa: B018  # raises if it is none
    except ValueError:
        raise ValueError(
            "should have a number as its port, as in postgresql://sonde@db.example.org:5432/sonde"
        ) from None
    return SecretStr(url)


def with_password(url: str, password: str) -> str:
    """The address of a database, with ``password`` in it unless that is empty."""
    if not password:
        return url
    parts = urlsplit(url)
    before, _, place = parts.netloc.rpartition("@")
    user = before.partition(":")[0]
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{place}"))


def masked(secret: SecretStr) -> str:
    """The address of a database as it may be shown."""
    parts = urlsplit(secret.get_secret_value())
    if not parts.netloc and not parts.query:
        return secret.get_secret_value()
    before, at, place = parts.netloc.rpartition("@")
    user, colon, _ = before.partition(":")
    query = [(name, _MASK if "password" in name.lower() else value) for name, value in parse_qsl(parts.query)]
    netloc = f"{user}{f':{_MASK}' if colon else ''}{at}{place}"
    return urlunsplit(parts._replace(netloc=netloc, query=urlencode(query, safe="*/")))


DATABASE: Final = Form("address", masked)
