"""What results depend on, as entries for the log: rules and settings of the configuration that the log does not say yet.

The newest statement about a rule counts. So the configuration is compared with what it said itself when it was last read: a
rule is set, or removed, when its section has changed since, and what was changed through the api meanwhile stays otherwise.
"""

from collections.abc import Sequence
from typing import Any

from sonde.changes import Definition
from sonde.config import Settings
from sonde.entry import CONFIG, Entry, EntryKind
from sonde.routing import check_partitions


def new_definitions(settings: Settings, known: Sequence[Definition], partitions: int | None = None) -> list[Entry]:
    """Entries for what the configuration says now and did not say before, for every partition of the log; none if it says
    the same. ``partitions`` is how many there are, of a log of which that could change: :class:`sonde.errors.Hold` if it
    had another number of them before."""
    if partitions is not None:
        check_partitions(known, partitions)
    said = {(definition.kind, definition.name): definition.body for definition in known}
    rules: dict[str, Any] = {name: rule.rule(name).body() for name, rule in settings.rules.items() if rule.enabled}
    before = {name: body for (kind, name), body in said.items() if kind == "asserted"}
    gone = dict.fromkeys(name for name in before if name not in rules)
    entries = [
        _entry(EntryKind.RULE, {"id": name, "rule": body})
        for name, body in {**rules, **gone}.items()
        if before.get(name) != body
    ]
    wanted: dict[str, Any] = {
        "windows": [round(width) for width in settings.process.windows],
        "future_limit": settings.sink.future_limit,
    }
    if partitions is not None:
        wanted["partitions"] = partitions
    if said.get(("settings", "settings")) != wanted:
        entries.insert(0, _entry(EntryKind.SETTINGS, wanted))
    return entries


def _entry(kind: EntryKind, payload: Any) -> Entry:
    return Entry(kind=kind, source=CONFIG, payload=payload)
