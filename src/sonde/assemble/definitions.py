"""What results depend on, as entries for the log: rules and settings of the configuration that the log does not say yet."""

from collections.abc import Iterable
from typing import Any

from sonde.changes import Definition
from sonde.config import Settings
from sonde.entry import Entry, EntryKind

SOURCE = "config"


def new_definitions(settings: Settings, known: Iterable[Definition]) -> list[Entry]:
    """Entries that bring what the log last said in line with the configuration; none if it says so already."""
    said = {(definition.kind, definition.name): definition.body for definition in known}
    rules = {name: rule.rule(name).body() for name, rule in settings.rules.items() if rule.enabled}
    gone = {name: None for kind, name in said if kind == "rule" and said[kind, name] is not None and name not in rules}
    entries = [
        _entry(EntryKind.RULE, {"id": name, "rule": body})
        for name, body in {**rules, **gone}.items()
        if said.get(("rule", name)) != body
    ]
    wanted = {
        "windows": [round(width) for width in settings.process.windows],
        "future_limit": settings.sink.future_limit,
    }
    if said.get(("settings", "settings")) != wanted:
        entries.insert(0, _entry(EntryKind.SETTINGS, wanted))
    return entries


def _entry(kind: EntryKind, payload: Any) -> Entry:
    return Entry(kind=kind, source=SOURCE, payload=payload)
