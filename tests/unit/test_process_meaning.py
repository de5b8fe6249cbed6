"""What entries mean: settings, profiles, rules, acknowledgements, tombstones, counters."""

from typing import Any

import msgspec
import pytest

from sonde.clock import DAY, SECOND
from sonde.entry import Entry, EntryKind, Lane
from sonde.reading import Quality
from sonde.rule import Rule
from tests.processor_world import HOT, T0, World, reading


def test_settings_come_from_the_log_and_hold_for_what_follows() -> None:
    world = World()
    world.send(reading(1.0))
    world.write(Entry(EntryKind.SETTINGS, "sink", payload={"windows": [60], "future_limit": 10}))
    world.send(reading(2.0, 3600))
    world.write(Entry(EntryKind.SETTINGS, "sink", payload={"windows": [-5]}))
    world.send(reading(3.0, 0))
    world.catch_up()
    assert world.store.windows["width"].to_pylist() == [60, 300, 900]
    assert world.store.table()["quality"].to_pylist() == [Quality.GOOD, Quality.CLOCK, Quality.GOOD]
    (mark,) = world.store.marks
    assert "widths" in mark.detail


def test_a_wrong_clock_neither_counts_nor_makes_others_late() -> None:
    world = World()
    world.rule(HOT)
    world.send(reading(50.0, 3 * DAY / SECOND))
    world.send(reading(1.0))
    world.catch_up()
    assert {series: newest.time for series, newest in world.store.latest.items()} == {0: T0}
    assert not world.store.alerts
    assert world.store.ledger["web", 0].late == 0
    assert world.store.windows["sum"].to_pylist() == [1.0, 1.0]


def test_profiles_mark_and_removed_rules_resolve() -> None:
    world = World()
    world.rule(HOT)
    world.write(Entry(EntryKind.PROFILE, "node", payload={"device": "d", "metrics": {"temperature": {"max": 30.0}}}))
    world.send(reading(35.0))
    world.catch_up()
    assert world.store.table()["quality"].to_pylist() == [Quality.RANGE]
    (alert,) = world.store.alerts.values()
    assert alert.state == "firing"
    assert world.measured("store_alerts_open", severity="warning", state="firing") == 1
    world.write(Entry(EntryKind.RULE, "api", payload={"id": "hot", "rule": None}))
    world.catch_up()
    (alert,) = world.store.alerts.values()
    assert (alert.state, alert.resolved_at) == ("resolved", world.now)
    assert ("rule", "hot") not in world.store.definitions


def test_an_alert_survives_a_restart_and_is_acknowledged() -> None:
    world = World()
    world.rule(replace_rule(HOT, duration=10.0))
    world.send(reading(35.0, 0))
    world.catch_up()
    world.processor = world.another()
    world.send(reading(36.0, 10))
    world.catch_up()
    (alert,) = world.store.alerts.values()
    assert (alert.state, alert.since, alert.peak) == ("firing", T0, 36.0)
    world.write(Entry(EntryKind.ACKNOWLEDGEMENT, "api", payload={"alert": alert.id, "action": "acknowledge"}))
    world.write(Entry(EntryKind.ACKNOWLEDGEMENT, "api", payload={"alert": alert.id, "action": "cleared"}))
    world.catch_up()
    assert world.store.alerts[alert.id].state == "acknowledged"
    world.processor = world.another()
    world.send(reading(20.0, 20))
    world.catch_up()
    assert world.store.alerts[alert.id].state == "resolved"


def replace_rule(rule: Rule, **more: Any) -> Rule:
    return msgspec.structs.replace(rule, **more)


def test_a_backlog_raises_one_retroactive_alert_that_is_over() -> None:
    world = World()
    world.rule(HOT)
    world.send(reading(20.0, 0))
    for minute in range(5, 60, 5):  # an outage drains behind what is live
        world.send(reading(20.0, 3600 + minute))
        world.send(reading(31.0 + minute / 10, minute * 60), source="node", lane=Lane.BACKLOG)
        world.catch_up()
        world.processor = world.another()
    shown = [a for a in world.store.alerts.values() if a.state != "pending"]
    assert [(a.state, a.retroactive, a.since, a.resolved_at, a.peak) for a in shown] == [
        ("resolved", True, T0 + 300 * SECOND, T0 + 3300 * SECOND, 36.5)
    ]


def test_identities_are_forgotten_by_the_time_of_the_log() -> None:
    world = World()
    world.processor = world.another(dedupe_days=1.0)
    world.send(reading(1.0), key=b"k" * 16)
    world.catch_up()
    world.now += 2 * DAY
    world.send(reading(2.0, 2 * 86_400))
    world.catch_up()
    world.send(reading(1.0), key=b"k" * 16)
    world.catch_up()
    assert sorted(world.values()) == [1.0, 1.0, 2.0]
    assert world.measured("processor_identities_since_seconds") == pytest.approx(world.now / SECOND - 86_400, abs=10)


def test_a_refused_tombstone_and_counters_are_in_the_ledger() -> None:
    world = World()
    node = Entry(EntryKind.READINGS, "node", 1, b"a" * 16, b"", Lane.LIVE, "e", 1, 1)
    world.write(node, readings=[reading(1.0)])
    world.write(
        replace_entry(node, kind=EntryKind.TOMBSTONE, rows=0, seq=2, count=6, payload=tomb(3, 5, "refused: 422"))
    )
    world.write(replace_entry(node, kind=EntryKind.COUNTERS, rows=0, seq=4, count=6, payload={"refused": {"late": 2}}))
    world.write(replace_entry(node, kind=EntryKind.COUNTERS, rows=0, seq=5, count=6, payload={"refused": "many"}))
    world.write(replace_entry(node, kind=EntryKind.TOMBSTONE, rows=0, seq=6, count=6, payload={"until": "x"}))
    world.write(replace_entry(node, digest=b"b" * 16, seq=2, count=2), readings=[reading(9.0)])  # after its tombstone
    world.catch_up()
    line = world.store.ledger["node", Lane.LIVE]
    assert (line.declared, line.stored, line.refused, line.set_aside, line.conflicting) == (8, 1, 7, 1, 1)
    assert line.declared + line.conflicting == line.stored + line.refused + line.set_aside
    assert {(m.reason, m.first_seq, m.last_seq, m.readings) for m in world.store.marks} == {
        ("lost", 2, 3, 5),
        ("set_aside", 5, 5, 0),
        ("set_aside", 6, 6, 0),
        ("set_aside", 2, 2, 1),
    }


def replace_entry(entry: Entry, **more: Any) -> Entry:
    return msgspec.structs.replace(entry, **more)


def tomb(until: int, readings: int, reason: str) -> dict[str, Any]:
    return {"until": until, "readings": readings, "reason": reason}
