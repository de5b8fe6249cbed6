"""The processor's loop: what it does when it cannot go on, and the mistakes that it must not make."""

import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from sonde.changes import Changes, Progress, State
from sonde.clock import DAY, SECOND, SystemClock
from sonde.entry import Body, Entry, EntryKind, Lane
from sonde.errors import Damaged, Hold, KeyMissing, NewerFormat, Retry
from sonde.frame import HEADER_BYTES, Opener, Sealer
from sonde.keyring import KeyRing
from sonde.log.memory import MemoryLog
from sonde.metrics import Metrics
from sonde.ports import Record
from sonde.process.alerting import Alerting
from sonde.process.processor import Processor
from sonde.process.rebuild import Standing, forget_identities, rebuild, standing
from sonde.reading import Batch, Quality, Reading
from sonde.rule import Rule
from sonde.testing.plain_store import PlainIdentities, PlainStore

T0 = 1_767_225_600_000_000
HOT = Rule(id="hot", metric="temperature", type="above", threshold=30.0)


class QuickClock(SystemClock):
    """Does not wait long."""

    def wait(self, signal: threading.Event, seconds: float) -> bool:
        return signal.wait(min(seconds, 0.002))


class TornLog(MemoryLog):
    """A log of which some frames cannot be read any more."""

    lost: tuple[int, int] = (0, 0)  # from, up to

    def read(self, partition: int, offset: int, limit_bytes: int, wait: float = 0.0) -> Sequence[Record]:
        first, end = self.lost
        if first <= offset < end:
            raise Damaged("a frame is torn", file="00000.segment", offset=77, next_offset=end)
        found = super().read(partition, offset, limit_bytes, wait)
        return [r for r in found if offset >= end or r.offset < first]


class World:
    """A log with its keys, a store, and a processor between them."""

    def __init__(self, log: MemoryLog | None = None) -> None:
        self.log = log or MemoryLog()
        self.ring = KeyRing.generate("key-1")
        self.sealer = Sealer(self.ring)
        self.store, self.identities = PlainStore(), PlainIdentities()
        self.metrics = Metrics()
        self.processor = self.another()
        self.now = T0

    def another(self, ring: KeyRing | None = None, **settings: Any) -> Processor:
        opener = Opener(ring or self.ring)
        settings = {"linger": 0.0, "clock": QuickClock(), "metrics": self.metrics, **settings}
        return Processor(self.log, self.store, self.identities, opener, **settings)

    def write(self, *entries: Entry, readings: Sequence[Reading] = ()) -> None:
        self.now += SECOND
        body = Body(entries, Batch.of(readings) if readings else None)
        self.log.append(0, [self.sealer.seal(body, self.now)])

    def send(self, *readings: Reading, key: bytes = b"", source: str = "web", lane: int = Lane.DIRECT) -> None:
        digest = msgspec.msgpack.encode([r.value for r in readings])[:16].ljust(16, b".")
        self.write(Entry(EntryKind.READINGS, source, len(readings), digest, key, lane), readings=readings)

    def rule(self, rule: Rule) -> None:
        self.write(Entry(EntryKind.RULE, "api", payload={"id": rule.id, "rule": rule.body()}))

    def catch_up(self) -> None:
        while self.processor.step(0.0):
            pass

    def values(self) -> list[Any]:
        return list(self.store.table()["value"].to_pylist())

    def measured(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"sonde_{name}", labels)


def reading(value: Any, seconds: float = 0, **more: Any) -> Reading:
    return Reading(
        **{"device": "d", "metric": "temperature", "time": T0 + round(seconds * SECOND), "value": value, **more}
    )


@contextmanager
def running(processor: Processor) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=processor.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.001)


def test_mistake_14_what_raises_an_alert_is_not_lost_with_the_alert(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.rule(HOT)
    world.send(reading(35.0))

    def broken(*_: Any) -> None:
        raise TypeError("unsupported operand")

    with monkeypatch.context() as patch:
        patch.setattr(Alerting, "run", broken)
        with pytest.raises(TypeError):
            world.catch_up()
        assert world.store.load().progress == []  # nothing advanced
    world.catch_up()
    assert world.values() == [35.0]
    assert [a.state for a in world.store.alerts.values()] == ["firing"]


def test_mistake_15_redelivery_does_not_count_twice() -> None:
    world = World()
    world.send(reading(1.0), reading(2.0, 1), key=b"k" * 16)

    def lost_answer(_: Changes) -> None:
        world.store.after = lambda _: None
        raise Retry("the connection broke after the commit")

    world.store.after = lost_answer
    with pytest.raises(Retry):
        world.processor.step(0.0)
    world.send(reading(1.0), reading(2.0, 1), key=b"k" * 16)  # the client saw no answer either
    world.catch_up()
    assert world.values() == [1.0, 2.0]
    (line,) = world.store.ledger.values()
    assert (line.stored, line.duplicate, line.declared) == (2, 2, 2)
    assert world.store.windows["count"].to_pylist() == [2, 2]
    assert world.measured("processor_duplicate_readings_total") == 2


def test_mistake_15_a_crash_between_identities_and_commit_loses_nothing() -> None:
    world = World()
    world.send(reading(1.0, event_id="e1"), reading(2.0, 1), key=b"k" * 16)

    def crash(_: Changes) -> None:
        raise KeyboardInterrupt

    world.store.before = crash
    with pytest.raises(KeyboardInterrupt):
        world.processor.step(0.0)
    world.store.before = lambda _: None
    world.processor = world.another()
    world.catch_up()
    assert world.values() == [1.0, 2.0]


def test_mistake_16_an_unexpected_error_skips_nothing() -> None:
    world = World()
    world.send(reading(1.0))
    world.send(reading(2.0, 1))
    failures = 3

    def fail(_: Changes) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise ZeroDivisionError("a mistake of ours")

    world.store.before = fail
    seen: list[str | None] = []
    with running(world.processor):
        until(lambda: seen.append(world.processor.problem) or len(world.values()) == 2)  # type: ignore[func-returns-value]
        until(lambda: world.processor.problem is None)
    assert any(problem and "ZeroDivisionError" in problem for problem in seen)
    assert world.values() == [1.0, 2.0]


def test_mistake_17_sites_and_zones_do_not_mix() -> None:
    world = World()
    world.send(*(reading(v, site="S", zone=z) for z, v in [("a", 1.0), ("b", 100.0), ("a", 3.0)]))
    world.catch_up()
    widths = world.store.windows.filter(pa.compute.equal(world.store.windows["width"], 300))
    sums = {
        world.store.series[s].zone: n
        for s, n in zip(*widths.select(["series", "sum"]).to_pydict().values(), strict=True)
    }
    assert sums == {"a": 4.0, "b": 100.0}


def test_mistake_22_equal_timestamps_are_both_kept() -> None:
    world = World()
    world.send(reading(1.0), reading(2.0))
    world.send(reading(3.0))
    world.catch_up()
    assert sorted(world.values()) == [1.0, 2.0, 3.0]
    assert world.store.windows["last"].to_pylist() == [3.0, 3.0]
    assert world.store.windows["count"].to_pylist() == [3, 3]


def test_mistake_23_a_window_is_there_as_it_fills_and_stays_when_its_device_goes_quiet() -> None:
    world = World()
    world.send(reading(1.0, 10))
    world.catch_up()
    assert world.store.windows["count"].to_pylist() == [1, 1]
    world.send(reading(5.0, 7200, device="other"))  # hours later only another one speaks
    world.catch_up()
    first = [r for r in world.store.windows.to_pylist() if world.store.series[r["series"]].device == "d"]
    assert [(r["width"], r["count"], r["sum"]) for r in first] == [(300, 1, 1.0), (900, 1, 1.0)]


def test_it_holds_while_a_key_is_missing_and_goes_on_when_it_is_back() -> None:
    world = World()
    world.send(reading(1.0))
    other = KeyRing.generate("key-2")
    world.sealer = Sealer(other)
    world.send(reading(2.0))
    keys = dict(world.ring.keys)
    processor = world.another(KeyRing("key-1", keys))
    with running(processor):
        until(lambda: processor.problem is not None)
        assert "key-2" in str(processor.problem)
        assert world.values() == [1.0]  # what can be read is stored
        keys.update(other.keys)
        until(lambda: len(world.values()) == 2)
        until(lambda: processor.problem is None)


def test_it_holds_rather_than_set_everything_aside_when_a_key_of_that_name_is_another() -> None:
    world = World()
    world.send(reading(1.0))
    world.send(reading(2.0))
    world.processor = world.another(KeyRing.generate("key-1"))
    with pytest.raises(Damaged, match="key-1"):
        world.processor.step(0.0)
    assert world.store.commits == 0


@pytest.mark.parametrize("tampered", [0, 1, 2])
def test_a_frame_that_was_changed_is_set_aside_and_the_rest_goes_on(tampered: int) -> None:
    world = World()
    frames = []
    for value in (1.0, 2.0, 3.0):
        body = Body([Entry(EntryKind.READINGS, "web", 1)], Batch.of([reading(value)]))
        frames.append(world.sealer.seal(body, T0))
    header, sealed = frames[tampered][:HEADER_BYTES], bytearray(frames[tampered][HEADER_BYTES:])
    sealed[5] ^= 1
    frames[tampered] = forged(header, bytes(sealed))
    world.log.append(0, frames)
    world.catch_up()
    assert sorted(world.values()) == [v for i, v in enumerate((1.0, 2.0, 3.0)) if i != tampered]
    (mark,) = world.store.marks
    assert (mark.offset, mark.reason, mark.readings) == (tampered, "set_aside", 1)
    assert world.measured("processor_set_aside_readings_total", reason="damaged") == 1


def forged(header: bytes, sealed: bytes) -> bytes:
    """A frame whose checksums are right and whose seal is not."""
    fields = header[:-8] + struct.pack("<I", zlib.crc32(sealed))
    return fields + struct.pack("<I", zlib.crc32(fields)) + sealed


def test_a_poison_frame_is_set_aside_with_what_its_header_says() -> None:
    world = World()
    world.send(reading(1.0))
    world.log.append(0, [world.sealer.seal_encoded(b"\xff" * 20, 1, 42, T0)])
    world.send(reading(2.0, 1))
    world.catch_up()
    assert world.values() == [1.0, 2.0]
    (mark,) = world.store.marks
    assert (mark.offset, mark.readings, mark.reason) == (1, 42, "set_aside")
    assert "poison" in mark.detail
    line = world.store.ledger["", 0]
    assert (line.set_aside, line.conflicting) == (42, 42)
    assert world.measured("processor_set_aside_readings_total", reason="poison") == 42


def test_damage_in_the_log_is_set_aside_with_file_and_offset() -> None:
    log = TornLog()
    world = World(log)
    for value in (1.0, 2.0, 3.0, 4.0):
        world.send(reading(value, value))
    log.lost = (1, 3)
    world.catch_up()
    assert world.values() == [1.0, 4.0]
    (mark,) = world.store.marks
    assert mark.offset == 1
    assert "00000.segment" in mark.detail
    assert world.processor.position == 4


def test_it_holds_before_an_entry_of_a_kind_that_it_does_not_know() -> None:
    world = World()
    world.send(reading(1.0))
    world.write(Entry(99, "api"))
    world.send(reading(2.0))
    with pytest.raises(NewerFormat, match="kind 99"):
        world.catch_up()
    assert world.values() == [1.0]
    assert world.processor.position == 1


def test_it_holds_when_the_log_was_cut_above_where_the_store_stands() -> None:
    world = World()
    world.send(reading(1.0))
    world.send(reading(2.0))
    world.log.cut(0, 1)
    with pytest.raises(Hold, match="checkpoint"):
        world.processor.step(0.0)


def test_a_processor_that_was_overtaken_writes_nothing_and_goes_on_from_there() -> None:
    world = World()
    world.send(reading(1.0))
    late = world.another()
    assert late.step(0.0)
    world.send(reading(2.0, 1))
    world.catch_up()
    world.send(reading(3.0, 2))
    assert not late.step(0.0)
    assert late.step(0.0)
    assert world.values() == [1.0, 2.0, 3.0]


def test_a_full_disk_is_waited_out() -> None:
    world = World()
    world.send(reading(1.0))
    full = True

    def refuse(_: Changes) -> None:
        if full:
            raise Retry("the disk is full", hint="Make room")

    world.store.before = refuse
    with running(world.processor):
        until(lambda: world.processor.problem == "the disk is full. Make room")
        full = False
        until(lambda: world.values() == [1.0])
        until(lambda: world.processor.problem is None)


def test_after_a_pause_readings_are_stored_at_once_and_under_load_gathered() -> None:
    world = World()
    world.processor = world.another(linger=0.3, clock=SystemClock())
    started = time.monotonic()
    world.send(reading(1.0))
    assert world.processor.step(5.0)
    assert time.monotonic() - started < 0.25
    world.send(reading(2.0))
    assert world.processor.step(5.0)
    assert time.monotonic() - started > 0.29
    world.send(reading(3.0))
    world.processor = world.another(max_readings=1, linger=30.0, clock=SystemClock())
    assert world.processor.step(5.0)  # enough gathered: it does not wait for more
    assert time.monotonic() - started < 5


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
    assert world.store.latest == {0: T0}
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
    assert world.measured("store_alerts_open", severity="warning") == 1
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


def test_a_rebuild_keeps_twice_what_was_stored_twice_because_it_was_forgotten() -> None:
    world = World()
    for value in (1.0, 2.0, 1.0):
        world.send(reading(value), key=b"k" * 16 if value == 1.0 else b"")
        world.now += 8 * DAY
        world.catch_up()
    again = PlainStore()
    rebuild(world.log, again, world.identities, Opener(world.ring), lambda at, end: None)
    assert again.table()["value"].to_pylist() == world.values() == [1.0, 2.0, 1.0]
    assert again.ledger == world.store.ledger


def test_lag_is_what_the_log_holds_beyond_the_store() -> None:
    world = World()
    world.send(reading(1.0))
    world.catch_up()
    assert world.processor.lag().frames == 0
    world.send(reading(2.0))
    world.send(reading(3.0))
    assert world.processor.lag().frames == 2
    assert world.processor.lag().seconds > 0
    world.catch_up()
    assert world.measured("processor_lag_frames") == 0


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


@pytest.mark.parametrize(
    ("progress", "cut", "expected"),
    [
        ([], 0, Standing.OK),
        ([("mine", 3)], 0, Standing.OK),
        ([("mine", 2)], 2, Standing.OK),
        ([("mine", 1)], 2, Standing.BEHIND),
        ([], 2, Standing.BEHIND),
        ([("mine", 4)], 0, Standing.AHEAD),
        ([("another", 1)], 0, Standing.OTHER),
        ([("another", 9), ("mine", 3)], 0, Standing.OK),
    ],
)
def test_standing_compares_a_store_with_its_log(progress: list[tuple[str, int]], cut: int, expected: Standing) -> None:
    world = World()
    world.log.id = "mine"
    for _ in range(3):
        world.send(reading(1.0))
    world.log.cut(0, cut)
    state = State([Progress(log, 0, offset) for log, offset in progress], [], {}, [], [], [])
    assert standing(state, world.log) == expected
    assert expected.sentence


def test_a_rebuild_from_an_older_copy_of_the_log_forgets_what_that_never_held() -> None:
    world = World()
    world.send(reading(1.0), key=b"a" * 16)
    world.send(reading(2.0), key=b"b" * 16)
    world.catch_up()
    older = MemoryLog()
    older.append(0, [r.frame for r in world.log.read(0, 0, 1 << 20)][:1])
    world.log, world.store = older, PlainStore()
    world.send(reading(3.0), key=b"c" * 16)
    world.send(reading(2.0), key=b"b" * 16)  # sent again: this log never had it
    forget_identities(world.identities)
    told: list[tuple[int, int]] = []
    rebuild(older, world.store, world.identities, Opener(world.ring), lambda at, end: told.append((at, end)))
    assert world.values() == [1.0, 3.0, 2.0]
    assert told[-1] == (3, 3)


def test_a_missing_key_has_its_own_error() -> None:
    world = World()
    world.send(reading(1.0))
    processor = world.another(KeyRing.generate("another"))
    with pytest.raises(KeyMissing):
        processor.step(0.0)


def test_series_of_a_checkpoint_keep_their_numbers() -> None:
    world = World()
    world.send(reading(1.0, device="a"), reading(1.0, device="b"))
    world.catch_up()
    world.processor = world.another()
    world.send(reading(1.0, device="c"), reading(1.0, device="a"))
    world.catch_up()
    assert [s.device for s in world.store.series.values()] == ["a", "b", "c"]
    assert list(world.store.series) == [0, 1, 2]
    assert replace(world.store.load().progress[0], log_time=0) == Progress(world.log.id, 0, 2)
