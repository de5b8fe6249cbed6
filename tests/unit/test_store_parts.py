"""Parts: what days share one, what is merged, what is in the file, and when files go."""

import threading
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde.clock import DAY, SECOND
from sonde.question import History, Sql, Totals, Trends
from sonde.reading import NAMES
from sonde.store.checkpoint import checkpoints
from sonde.store.duckdb import DuckStore
from sonde.store.part import Part
from sonde.store.parts import LARGEST, SPARSE, choose_merge, spans_of
from sonde.testing.asking import rows_of, tidy
from sonde.testing.store_feed import LOG, START, Feed, Row, building, random_rows

SERIES = building(4)


@given(st.lists(st.tuples(st.integers(0, 80_000), st.integers(1, 3 * SPARSE)), unique_by=lambda d: d[0]).map(sorted))
def test_days_share_a_part_only_if_they_are_sparse(days: list[tuple[int, int]]) -> None:
    spans = spans_of(days)
    assert [day for day, _ in days] == [day for day, _ in days if any(a <= day <= b for a, b in spans)]
    assert all(one[1] < other[0] for one, other in pairwise(spans))
    for first, last in spans:
        rows = sum(rows for day, rows in days if first <= day <= last)
        assert first == last or rows <= SPARSE
        assert last - first < 31 or rows <= SPARSE // 10


def part(name: int, rows: int, day: int = 0) -> Part:
    return Part(str(name), "readings", rows, rows, "", day * DAY, day * DAY + 1, 0, 1, name, name + 1)


@given(st.lists(st.tuples(st.integers(1, 2 * LARGEST), st.integers(0, 3)), max_size=200))
def test_merging_ends_and_leaves_few_parts(sizes: list[tuple[int, int]]) -> None:
    parts = [part(i, rows, day) for i, (rows, day) in enumerate(sizes)]
    total = sum(p.rows for p in parts)
    while chosen := choose_merge(parts):
        assert len(chosen) >= 4
        assert all(p.rows < LARGEST for p in chosen)
        rest = [p for p in parts if p not in chosen]
        parts = [*rest, part(len(sizes) + len(parts) * 1000, sum(p.rows for p in chosen), chosen[0].min_time // DAY)]
    assert sum(p.rows for p in parts) == total
    small = [p for p in parts if p.rows < LARGEST]
    assert len(small) <= 3 * 6 * 4  # three of a size, so many sizes, four days


def test_a_part_can_be_read_alone(tmp_path: Path) -> None:
    store, feed = DuckStore(tmp_path, LOG), Feed()
    store.commit(feed.step([*random_rows(1, SERIES, 500), Row(3, START, None, 3, "text ✓")], SERIES))
    store.roll()
    tidy(store)
    store.close()
    (file,) = (tmp_path / "parts").iterdir()
    table = pq.read_table(file)
    assert len(table) == 501
    names = {one.id: one[1:] for one in SERIES}
    for row in table.select(["series", *NAMES]).to_pylist():
        assert tuple(row[name] for name in NAMES) == names[row["series"]]
    keys = list(zip(table["series"].to_pylist(), table["time"].cast(pa.int64()).to_pylist(), strict=True))
    assert keys == sorted(keys)
    assert pq.read_metadata(file).row_group(0).column(1).encodings[-1] == "DELTA_BINARY_PACKED"


def test_a_part_a_day_and_sparse_days_together(tmp_path: Path) -> None:
    store, feed = DuckStore(tmp_path, LOG), Feed()
    store.commit(feed.step([Row(0, START + day * DAY, 1.0) for day in (0, 1, 400, 401, 4000)], SERIES))
    store.roll()
    tidy(store)
    assert rows_of(store, Totals())[0]["parts"] == 1
    assert len(rows_of(store, History(since=START + 300 * DAY, until=START + 402 * DAY))) == 2
    store.close()


def test_superseded_files_stay_while_a_question_may_read_them(tmp_path: Path) -> None:
    store, feed = DuckStore(tmp_path, LOG, hot_rows=100, checkpoint_seconds=0.0), Feed()
    house = store._housekeeping
    seen = house.superseded.begin()  # as a question does that has begun and not read anything yet
    layout = house.layout
    try:
        for step in range(30):
            store.commit(feed.step(random_rows(step, SERIES, 100), SERIES))
            tidy(store)
            if step == 3:
                house.superseded.end(seen)
                seen, layout = house.superseded.begin(), house.layout
        held = {p.name for p in layout.parts}
        there = {file.name for file in (tmp_path / "parts").iterdir()}
        assert held <= there
        assert not held & {p.name for p in house.layout.parts}, "nothing was merged: nothing was shown"
        house.superseded.end(seen)
        store.commit(feed.step(random_rows(99, SERIES, 100)))
        tidy(store)
        assert {file.name for file in (tmp_path / "parts").iterdir()} == store.named_parts()
    finally:
        store.close()


def test_generations_roll_by_size_and_by_age(tmp_path: Path) -> None:
    class Hands:
        """A clock that is set by hand."""

        seconds = 0.0

        def now(self) -> int:
            return START + int(self.seconds * SECOND)

        def monotonic(self) -> float:
            return self.seconds

        def wait(self, signal: threading.Event, seconds: float) -> bool:
            return signal.wait(seconds)

    clock = Hands()
    store, feed = DuckStore(tmp_path, LOG, hot_rows=1000, hot_seconds=3600.0, clock=clock), Feed()
    store.commit(feed.step(random_rows(1, SERIES, 900), SERIES))
    assert not store.maintain()
    store.commit(feed.step(random_rows(2, SERIES, 100)))
    tidy(store)
    assert rows_of(store, Totals())[0]["parts"] == 1
    store.commit(feed.step(random_rows(3, SERIES, 1)))
    clock.seconds = 3599.0
    assert not store.maintain()
    clock.seconds = 3600.0
    tidy(store)
    assert rows_of(store, Totals())[0]["parts"] == 2
    assert len(checkpoints(tmp_path / "checkpoints")) == 2
    store.close()


@pytest.mark.parametrize("hot_rows", [50, 100_000])
def test_windows_of_months_cost_the_same_when_they_are_sealed(tmp_path: Path, hot_rows: int) -> None:
    store, feed = DuckStore(tmp_path, LOG, hot_rows=hot_rows, window_rows=40, checkpoint_seconds=0.0), Feed()
    for month in range(6):
        store.commit(
            feed.step([Row(0, START + month * 30 * DAY + i * 60 * SECOND, float(i)) for i in range(60)], SERIES)
        )
        tidy(store)
    rows = rows_of(store, Trends("co2", START, START + 365 * DAY, 3600))
    assert [(r["count"], r["avg"]) for r in rows] == [(60, 29.5)] * 6
    assert rows_of(store, Sql("select sum(count) as n from windows where width = '15m'")) == [{"n": 360}]
    store.close()
