"""What is let go of leaves the disk, and nothing that a checkpoint or a question needs goes too early."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sonde.changes import Definition, Purge
from sonde.clock import DAY
from sonde.question import Totals
from sonde.store.duckdb import DuckStore
from sonde.store.memory import MemoryStore
from sonde.testing.asking import rows_of, tidy
from sonde.testing.removal_contract import SERIES, floor, step_rows
from sonde.testing.store_feed import LOG, START, Feed


def filled(path: Path, days: int = 3) -> tuple[DuckStore, Feed]:
    store, feed = DuckStore(path, LOG, hot_rows=100, window_rows=50, checkpoint_seconds=0.0), Feed()
    for number in range(days):
        store.commit(feed.step(step_rows(number), SERIES))
        tidy(store)
    return store, feed


def files(path: Path, content: str = "readings") -> list[Path]:
    return sorted((path / "parts").glob(f"{content}-*.parquet"))


def test_files_below_the_floor_go_and_older_checkpoints_that_name_them(tmp_path: Path) -> None:
    store, feed = filled(tmp_path)
    before = set(files(tmp_path))
    at = START + 2 * DAY
    store.commit(feed.step(definitions=[floor("readings", at)]))
    assert not store.held().settled
    tidy(store)
    assert store.held().settled
    left = files(tmp_path)
    assert set(left) < before
    assert all(max(pq.read_table(file)["time"].to_pylist()).timestamp() * 1e6 >= at for file in left)
    assert [p.content for p in store.held().pieces].count("readings") == len(left)
    store.verify_parts()
    store.close()
    (tmp_path / "sonde.duckdb").unlink()
    again = DuckStore.restore(tmp_path, LOG)
    assert again.held().floors == {"readings": at}
    assert rows_of(again, Totals())[0]["readings"] == sum(
        t >= at for t in feed.readings["time"].cast("int64").to_pylist()
    )
    again.close()


def test_parts_of_windows_lose_the_width_that_is_below_its_floor(tmp_path: Path) -> None:
    store, feed = filled(tmp_path)
    store.commit(feed.step(definitions=[floor("windows 300", START + 9 * DAY)]))
    tidy(store)
    widths = {width for file in files(tmp_path, "windows") for width in pq.read_table(file)["width"].to_pylist()}
    assert widths == {900}
    store.commit(feed.step(definitions=[floor("windows 900", START + 9 * DAY)]))
    tidy(store)
    assert files(tmp_path, "windows") == []
    store.close()


def test_what_was_purged_is_in_no_file(tmp_path: Path) -> None:
    store, feed = filled(tmp_path)
    store.commit(feed.step(purges=[Purge((0, 1, 2, 3))]))
    tidy(store)
    assert store.held().settled
    parts = [pq.read_table(file) for content in ("readings", "windows") for file in files(tmp_path, content)]
    assert parts
    assert not any({0, 1, 2, 3} & set(table["series"].to_pylist()) for table in parts)
    store.close()


def test_what_is_hidden_stays_hidden_after_a_start(tmp_path: Path) -> None:
    store, feed = filled(tmp_path)
    seen = len(feed.readings)
    purge = Purge(None, START + DAY)
    definitions: list[Definition] = [floor("readings", START + 2 * DAY)]
    store.commit(feed.step(purges=[purge], definitions=definitions))
    shown = rows_of(store, Totals())[0]["readings"]
    assert shown < seen
    store.close()
    again = DuckStore(tmp_path, LOG, hot_rows=100, window_rows=50, checkpoint_seconds=0.0)
    for _ in range(2):
        assert rows_of(again, Totals())[0]["readings"] == shown
        tidy(again)
    again.close()


@pytest.mark.parametrize("seal", [True, False])
def test_a_checkpoint_and_the_log_after_it_hide_the_same(tmp_path: Path, seal: bool) -> None:
    """A restore from before a floor and a purge, with the steps after it once more, gives what was there."""
    store, feed = filled(tmp_path)
    steps = [
        feed.step(step_rows(7), purges=[Purge((0, 1), START + 2 * DAY)]),
        feed.step(step_rows(8), definitions=[floor("readings", START + DAY), floor("windows 300", START + 2 * DAY)]),
        feed.step(purges=[Purge((5,))]),
    ]
    for step in steps:
        store.commit(step)
    expected = MemoryStore(LOG)
    plain = Feed()
    for number in range(3):
        expected.commit(plain.step(step_rows(number), SERIES))
    for step in steps:
        expected.commit(step)
    assert store.equals(expected) == []
    if seal:
        tidy(store)
        assert store.equals(expected) == []
    store.close()
    again = DuckStore.restore(tmp_path, LOG)
    offset = next((p.offset for p in again.load().progress), 0)
    assert offset >= 3
    for step in steps[offset - 3 :]:
        again.commit(step)
    assert again.equals(expected) == []
    again.close()
    expected.close()
