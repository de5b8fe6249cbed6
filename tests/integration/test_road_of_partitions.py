"""The road over several partitions, simulated: random frames, sinks that fail half-way, processors that are killed and lose
their partitions, compared with a slow computation for each partition.

Each scenario follows from its seed; a failure names it.
"""

import random
from collections import Counter
from typing import Any

import pyarrow as pa
import pytest

from sonde.clock import SECOND
from sonde.frame import Opener
from sonde.process.rebuild import rebuild
from sonde.testing.plain_store import PlainIdentities, PlainStore
from tests.integration.test_road_in_memory import rows_of, windows_of
from tests.town import PARTITIONS, Town


def check_readings_and_windows(town: Town) -> None:
    readings = sorted((r for slowly in town.slowly for r in slowly.readings), key=repr)
    assert rows_of(town.store) == readings  # I1, I2
    found = {}
    windows = town.store.windows
    for row in windows.set_column(2, "start", windows["start"].cast(pa.int64())).to_pylist():
        device, metric = town.store.series[row["series"]][1:3]
        key = (device, metric, row["width"], row["start"] // (row["width"] * SECOND))
        assert key not in found, "a series has one number"
        found[key] = [row["count"], pytest.approx(row["sum"]), row["min"], row["max"]]
    assert found == windows_of(readings)  # I3


def check_alerts(town: Town) -> None:
    found = {
        a.id: (a.state, a.since, a.value, a.peak, a.fired_at, a.resolved_at, a.retroactive)
        for a in town.store.alerts.values()
        if not a.id.startswith("late-")
    }
    columns = ("state", "since", "value", "peak", "fired", "resolved", "old")
    wanted = [a for slowly in town.slowly for a in slowly.alerts.alerts.values()]
    assert found == {a["id"]: tuple(a[c] for c in columns) for a in wanted}  # I3
    for number, slowly in enumerate(town.slowly):
        events = [(e.offset, e.time, e.alert, e.event) for e in town.store.events if e.partition == number]
        assert events == slowly.alerts.in_order()


def check_ledger(town: Town) -> None:
    missing: Counter[tuple[str, int]] = Counter()
    expected: dict[tuple[str, int], Counter[str]] = {}
    for slowly in town.slowly:
        missing += slowly.missing()
        for key, counts in slowly.ledger.items():
            expected.setdefault(key, Counter()).update(counts)
    for key, line in town.store.ledger.items():
        if key == ("", 0):
            assert line.set_aside == line.conflicting == 5 * town.poison
            continue
        wanted = {c: n for c, n in expected[key].items() if n}
        assert {c: getattr(line, c) for c in wanted} == wanted, key
        sent = line.declared + line.duplicate + line.conflicting
        accounted = line.stored + line.duplicate + line.refused + line.set_aside + line.lost
        assert sent == accounted + missing[key], key  # I5


def seen(store: PlainStore) -> dict[str, Any]:
    """What a store holds, whatever numbers it gave and in whatever order partitions came."""
    name = {-1: ("", ""), **{id_: series[1:3] for id_, series in store.series.items()}}
    return {
        "rows": rows_of(store),
        "latest": {name[id_]: newest.time for id_, newest in store.latest.items()},
        "alerts": {a.id: (name[a.series], a.state, a.since, a.peak) for a in store.alerts.values()},
        "events": sorted(store.events, key=repr),
        "streams": store.streams,
        "ledger": store.ledger,
        "marks": sorted(store.marks, key=repr),
        "progress": {p.partition: (p.offset, p.log_time) for p in store.progress.values()},
    }


def check_rebuilt(town: Town) -> None:
    """A rebuild of one partition after the other gives the same."""
    again, order = PlainStore(), list(range(PARTITIONS))
    town.random.shuffle(order)
    identities = PlainIdentities()
    for partition in order:
        rebuild(town.log, again, identities, Opener(town.ring), lambda at, end: None, partition=partition)
    assert seen(again) == seen(town.store)


def simulate(seed: int, frames: int) -> Town:
    apart = seed % 4 > 0
    town = Town(seed, apart=apart)
    try:
        town.go(frames)
        check_readings_and_windows(town)
        check_ledger(town)
        if apart:
            check_alerts(town)
            check_rebuilt(town)
    except BaseException:
        print(f"the scenario that failed has seed {seed}")
        raise
    return town


def struck(towns: list[Town]) -> Counter[str]:
    """What happened in all scenarios together: a run in which nothing did proves nothing."""
    total: Counter[str] = Counter()
    for town in towns:
        total += town.faults
        for slowly in town.slowly:
            for line in slowly.ledger.values():
                total += line
        total += Counter(event.event for event in town.store.events)
    return total


def test_what_is_stored_of_all_partitions_is_that_of_a_slow_computation() -> None:
    total = struck([simulate(seed, 30) for seed in range(12)])
    for what in ("retry", "killed", "silent", "two at once", "half-way", "idle"):
        assert total[what], what
    for what in ("duplicate", "conflicting", "lost", "refused", "late", "fired", "resolved"):
        assert total[what], what


@pytest.mark.all
def test_many_more_towns_with_a_fresh_seed() -> None:
    first = random.SystemRandom().randrange(1 << 40)
    for seed in range(first, first + 250):
        simulate(seed, 30)
