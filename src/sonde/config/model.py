"""The whole configuration as one value: :class:`Settings`."""

from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel, ConfigDict, SecretStr
from pydantic.fields import FieldInfo

from sonde.config.address import Topic, topic_of, with_password
from sonde.config.keeping import Kafka, Log, Store
from sonde.config.key import Section
from sonde.config.named import DEFAULT_RULES, DEFAULT_SENSORS, KINDS, Rule, Sensor
from sonde.config.outside import Email, Webhook
from sonde.config.sections import SECTIONS, Api, Auth, Node, Process, Retention, Server, Sink, Tls


class Settings(BaseModel):
    """All sections. ``sensors``, ``rules`` and the like go by the name in ``[sensor.NAME]``, ``[rule.NAME]`` …"""

    model_config = ConfigDict(extra="forbid", frozen=True)

    server: Server
    tls: Tls
    auth: Auth
    sink: Sink
    log: Log
    store: Store
    process: Process
    retention: Retention
    node: Node
    api: Api
    kafka: Kafka
    sensors: Mapping[str, Sensor]
    rules: Mapping[str, Rule]
    webhooks: Mapping[str, Webhook] = {}
    emails: Mapping[str, Email] = {}

    @property
    def topic(self) -> Topic | None:
        """The topic that is the log; None where the log is in files."""
        return topic_of(self.log.url, self.kafka.bootstrap_servers, self.kafka.topic)

    @property
    def database(self) -> SecretStr | None:
        """The address of the PostgreSQL database that is the store, with its password; None where the store is DuckDB."""
        url = self.store.url.get_secret_value()
        if not url.startswith("postgresql:"):
            return None
        return SecretStr(with_password(url, self.store.password.get_secret_value()))


NAMED: Final[Mapping[str, Mapping[str, Mapping[str, str]]]] = {
    "sensor": DEFAULT_SENSORS,
    "rule": DEFAULT_RULES,
    "webhook": {},
    "email": {},
}
"""The kinds of sections that have a name of their own, with those that are there by default."""

NAMED_CLASSES: Final[Mapping[str, type[Section]]] = {"rule": Rule, "webhook": Webhook, "email": Email}
"""Those of which there is one class each."""


def section_class(section: str, kind: str = "") -> type[Section] | None:
    """The class of ``[section]``; for a sensor, that of its ``kind``. None if there is no such section."""
    if section in SECTIONS:
        return SECTIONS[section]
    prefix, _, name = section.partition(".")
    if not name:
        return None
    if prefix == "sensor":
        return KINDS.get(kind or name)
    return NAMED_CLASSES.get(prefix)


def fields(section: str, kind: str = "") -> Mapping[str, FieldInfo]:
    """The keys of a section; for a sensor of unknown kind, those that any sensor has."""
    found = section_class(section, kind)
    if found is None and section.startswith("sensor."):
        return {name: info for each in KINDS.values() for name, info in each.model_fields.items()}
    return found.model_fields if found else {}


def default_sections() -> list[str]:
    """All sections that are there if nobody says anything, in their order."""
    return [*SECTIONS, *(f"{prefix}.{name}" for prefix, names in NAMED.items() for name in names)]
