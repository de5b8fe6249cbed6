"""The road from the log to the store, simulated: random frames and random faults, compared with a slow computation.

Each scenario follows from its seed; a failure names it. ``PlainStore`` holds what was committed.
"""

import random
from collections import Counter
from typing import Any

import pyarrow as pa
import pytest

from sonde.changes import Changes, Mark
from sonde.clock import SECOND
from sonde.entry import Body
from sonde.errors import Retry
from sonde.frame import Codec, Opener, Sealer
from sonde.keyring import KeyRing
from sonde.log.memory import MemoryLog
from sonde.process.processor import Processor
from sonde.process.rebuild import rebuild
from sonde.reading import Batch
from sonde.testing.plain_store import PlainIdentities, PlainStore
from tests.scenario import WIDTHS, Scenario
from tests.slow_road import Slowly


class Road:
    """A log, a store and a processor that fails in every way it can."""

    def __init__(self, seed: int) -> None:
        self.scenario, self.slowly = Scenario(seed), Slowly()
        self.random = random.Random(seed + 1)
        self.log, self.ring = MemoryLog(), KeyRing.generate()
        self.sealer = Sealer(self.ring, self.random.choice([Codec.AES_GCM, Codec.PLAIN]))
        self.identities = PlainIdentities()
        self.faults: Counter[str] = Counter()
        self.poison = 0
        self.use(PlainStore())

    def use(self, store: PlainStore) -> None:
        """Bring the log into ``store``, whose commits fail now and then."""
        self.store = store
        store.before = store.after = self._fault
        self.processor = self._processor()

    def _fault(self, _: Changes) -> None:
        match self.random.randint(0, 30):
            case 0:
                self.faults["retry"] += 1
                raise Retry("the disk is full")
            case 1:
                self.faults["crash"] += 1
                raise RuntimeError("pulled the plug")

    def _processor(self) -> Processor:
        most = self.random.choice([1, 7, 40, 10_000])
        return Processor(self.log, self.store, self.identities, Opener(self.ring), linger=0.0, max_readings=most)

    def write(self) -> None:
        log_time, messages = self.scenario.frame()
        if messages:
            rows = [r for m in messages for r in m.readings]
            body = Body([m.entry for m in messages], Batch.of(rows) if rows else None)
            self.log.append(0, [self.sealer.seal(body, log_time)])
        else:
            self.poison += 1
            self.log.append(0, [self.sealer.seal_encoded(b"no body", 1, 5, log_time)])
        self.slowly.frame(log_time, messages, self.scenario.senders)

    def step(self) -> bool:
        """One step that may fail; now and then another processor takes over."""
        zombie = self.processor
        try:
            if self.random.random() < 0.1:
                self.processor = self._processor()
                moved = self.processor.step(0.0)
                self.faults["overtaken"] += moved and not zombie.step(0.0)
                return True
            return self.processor.step(0.0)
        except (Retry, RuntimeError):
            if self.random.random() < 0.5:
                self.processor = self._processor()
            return True

    def go(self, frames: int) -> None:
        for _ in range(frames):
            self.write()
            if self.random.random() < 0.6:
                self.step()
        end = self.log.ends()[0][1]
        while self.step() or self.processor.position < end:
            assert self.processor.position <= end


def rows_of(store: PlainStore) -> list[tuple[Any, ...]]:
    table = store.table()
    names = [store.series[s][1:3] for s in table["series"].to_pylist()]
    times = table["time"].cast(pa.int64()).to_pylist()
    rest = zip(times, table["value"].to_pylist(), table["quality"].to_pylist(), strict=True)
    return sorted(((*name, *more) for name, more in zip(names, rest, strict=True)), key=repr)


def windows_of(readings: list[tuple[Any, ...]]) -> dict[Any, list[float]]:
    windows: dict[Any, list[float]] = {}
    for device, metric, time, value, _ in readings:
        for width in WIDTHS:
            seen = windows.setdefault((device, metric, width, time // (width * SECOND)), [])
            if value is not None:
                seen.append(value)
    return {key: [len(v), sum(v), min(v), max(v)] for key, v in windows.items() if v}


def check_readings_and_windows(store: PlainStore, slowly: Slowly) -> None:
    assert rows_of(store) == sorted(slowly.readings, key=repr)  # I1, I2
    found = {}
    for row in store.windows.set_column(2, "start", store.windows["start"].cast(pa.int64())).to_pylist():
        device, metric = store.series[row["series"]][1:3]
        key = (device, metric, row["width"], row["start"] // (row["width"] * SECOND))
        found[key] = [row["count"], pytest.approx(row["sum"]), row["min"], row["max"]]
    assert found == windows_of(slowly.readings)  # I3


def check_alerts(store: PlainStore, slowly: Slowly) -> None:
    found = {
        a.id: (a.state, a.since, a.value, a.peak, a.fired_at, a.resolved_at, a.retroactive)
        for a in store.alerts.values()
        if not a.id.startswith("late-")
    }
    columns = ("state", "since", "value", "peak", "fired", "resolved", "old")
    assert found == {a["id"]: tuple(a[c] for c in columns) for a in slowly.alerts.alerts.values()}  # I3
    assert [(e.offset, e.time, e.alert, e.event) for e in store.events] == slowly.alerts.in_order()


def check_ledger(store: PlainStore, slowly: Slowly, poison: int) -> None:
    missing = slowly.missing()
    for key, line in store.ledger.items():
        if key == ("", 0):
            assert line.set_aside == line.conflicting == 5 * poison
            continue
        expected = {c: n for c, n in slowly.ledger[key].items() if n}
        assert {c: getattr(line, c) for c in expected} == expected, key
        sent = line.declared + line.duplicate + line.conflicting
        accounted = line.stored + line.duplicate + line.refused + line.set_aside + line.lost
        assert sent == accounted + missing[key], key  # I5
    for (source, lane), readings in missing.items():
        streams = [s for s in store.streams.values() if (s.source, s.lane) == (source, lane)]
        assert sum(hole[2] for s in streams for hole in s.holes) == readings


def marks_of(store: PlainStore) -> list[Mark]:
    return sorted(store.marks, key=lambda m: (m.offset, m.entry, m.first_seq, m.detail))


def check_rebuilt(road: Road) -> None:
    """A rebuild, in steps of another size, gives the same."""
    again = PlainStore()
    offset = rebuild(road.log, again, road.identities, Opener(road.ring), lambda at, end: None)
    assert offset == road.log.ends()[0][1]
    assert rows_of(again) == rows_of(road.store)
    assert again.series == road.store.series
    assert again.latest == road.store.latest
    assert again.alerts == road.store.alerts
    assert again.events == road.store.events
    assert again.streams == road.store.streams
    assert again.ledger == road.store.ledger
    assert again.definitions == road.store.definitions
    assert marks_of(again) == marks_of(road.store)


def simulate(seed: int, frames: int) -> Road:
    road = Road(seed)
    try:
        road.go(frames)
        check_readings_and_windows(road.store, road.slowly)
        check_alerts(road.store, road.slowly)
        check_ledger(road.store, road.slowly, road.poison)
        check_rebuilt(road)
    except BaseException:
        print(f"the scenario that failed has seed {seed}")
        raise
    return road


def struck(roads: list[Road]) -> Counter[str]:
    """What happened in all scenarios together: a run in which nothing did proves nothing."""
    total: Counter[str] = Counter()
    for road in roads:
        total += road.faults
        for line in road.slowly.ledger.values():
            total += line
        total += Counter(event.event for event in road.store.events)
        total += Counter(alert.type for alert in road.store.alerts.values())
        total["retroactive"] += sum(a.retroactive for a in road.store.alerts.values())
        total["alerts"] += len(road.store.alerts)
        total["acknowledged"] += sum(a.state in {"acknowledged", "shelved"} for a in road.store.alerts.values())
        total["holes"] += sum(len(s.holes) for s in road.store.streams.values())
    return total


def test_readings_windows_alerts_and_ledger_are_those_of_a_slow_computation() -> None:
    total = struck([simulate(seed, 40) for seed in range(30)])
    for what in ("retry", "crash", "overtaken", "duplicate", "conflicting", "lost", "refused", "late"):
        assert total[what], what
    for what in ("fired", "unshelved", "resolved", "above", "outside", "rate", "equals", "no_data"):
        assert total[what], what
    for what in ("alerts", "retroactive", "acknowledged", "holes"):
        assert total[what], what


@pytest.mark.all
def test_many_more_scenarios_with_a_fresh_seed() -> None:
    first = random.SystemRandom().randrange(1 << 40)
    for seed in range(first, first + 300):
        simulate(seed, 60)
