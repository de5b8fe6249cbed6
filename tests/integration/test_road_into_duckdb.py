"""The same road, into the embedded store: whatever a plain store holds after random frames and faults, DuckDB holds too."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sonde.changes import Changes, State
from sonde.frame import Opener
from sonde.process.rebuild import rebuild
from sonde.question import Alerts, Gaps, Ledger, Sql
from sonde.store.duckdb import DuckStore
from sonde.testing.plain_store import PlainStore
from tests.integration.test_road_in_memory import Road, check_alerts, check_ledger, check_readings_and_windows, rows_of


class Mirrored(PlainStore):
    """Every commit into a plain store and an embedded one; what is known, the embedded one says, but for what the streams
    have before their holes, which it does not keep."""

    def __init__(self, duck: DuckStore) -> None:
        super().__init__()
        self.duck = duck

    def load(self, partition: int = 0) -> State:
        return replace(self.duck.load(), streams=list(self.streams.values()))

    def commit(self, changes: Changes) -> None:
        self.before(changes)
        self.duck.commit(changes)
        before, after = self.before, self.after
        self.before = self.after = lambda _: None
        try:
            super().commit(changes)
        finally:
            self.before, self.after = before, after
        self.after(changes)


def asked(duck: DuckStore, columns: str, view: str) -> list[tuple[Any, ...]]:
    rows = duck.ask(Sql(f"select {columns} from {view}")).rows
    return sorted(zip(*(column.to_pylist() for column in rows.columns), strict=True), key=repr)


def check_duck(duck: DuckStore, plain: PlainStore) -> None:
    assert asked(duck, "device, metric, epoch_us(time), value, quality", "readings") == rows_of(plain)
    windows = asked(duck, "count, min, max, last", "windows")
    columns = (plain.windows[c].to_pylist() for c in ("count", "min", "max", "last"))
    assert windows == sorted(zip(*columns, strict=True), key=repr)
    state = duck.load()
    assert dict(state.newest) == plain.latest
    assert {s.id: s for s in state.series} == plain.series
    assert {a.id: a for a in state.alerts} == {a.id: a for a in plain.load().alerts}
    assert [s.holes for s in state.streams] == [plain.streams[s.source, s.epoch, s.lane].holes for s in state.streams]
    assert {(d.kind, d.name): d for d in state.definitions} == plain.definitions
    shown = duck.ask(Alerts(limit=10_000)).rows["alert_id"].to_pylist()
    assert sorted(shown) == sorted(a.id for a in plain.alerts.values() if a.state != "pending")
    for line in duck.ask(Ledger()).rows.to_pylist():
        parts = ("stored", "duplicate", "refused", "set_aside", "lost", "missing")
        assert line["sent"] == sum(line[part] for part in parts)
    reasons = duck.ask(Gaps(limit=10_000)).rows["reason"].to_pylist()
    assert len([r for r in reasons if r != "missing"]) == len(plain.marks)


@pytest.mark.parametrize("seed", range(4))
def test_the_embedded_store_holds_what_a_plain_one_holds_and_a_rebuild_equals_it(seed: int, tmp_path: Path) -> None:
    road = Road(seed)
    duck = DuckStore(tmp_path / "store", road.log.id)
    again = DuckStore(tmp_path / "again", road.log.id)
    try:
        road.use(Mirrored(duck))
        road.go(30)
        check_readings_and_windows(road.store, road.slowly)
        check_alerts(road.store, road.slowly)
        check_ledger(road.store, road.slowly, road.poison)
        check_duck(duck, road.store)
        rebuild(road.log, again, road.identities, Opener(road.ring), lambda at, end: None)
        assert duck.equals(again) == []
    finally:
        duck.close()
        again.close()
