"""The embedded store killed while floors and purges take things: what is shown is exact, nothing comes back, and nothing
that a checkpoint needs has gone.

Run as a program this file is the victim: every few steps bring a floor or a purge, which follow from their number alone.
"""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import structlog

from sonde.changes import Changes, Definition, Purge
from sonde.clock import DAY
from sonde.store.duckdb import DuckStore
from sonde.store.memory import MemoryStore
from sonde.testing.store_feed import LOG, START, Feed, building, random_rows

QUICK = ("released", "removed")
MORE = ("registering", "exported", "published", "forgotten")
SERIES = building(3)
PER_STEP = 120
LIVES = 40


def step(feed: Feed) -> Changes:
    """The next step, the same whenever it is made: time goes on by a quarter of a day each."""
    number = feed.offset
    since = START + number * DAY // 4
    more: dict[str, object] = {}
    if number % 5 == 3:
        more["purges"] = [Purge((number % 12,), since - DAY // 2), Purge(None, since - 6 * DAY)]
    if number % 7 == 5:
        floors = {"readings": since - 2 * DAY, "windows 300": since - 3 * DAY, "windows 900": since - 5 * DAY}
        more["definitions"] = [Definition("floor", name, {"before": at}, since) for name, at in floors.items()]
    rows = random_rows(number, SERIES, PER_STEP, since=since, span=DAY // 4)
    return feed.step(rows, SERIES if number == 0 else (), **more)


def feed_at(offset: int) -> Feed:
    return Feed(offset=offset, known={one.id for one in SERIES} if offset else set())


def open_store(path: Path, point: str = "", nth: int = 0) -> DuckStore:
    """With ``point`` it kills its process at the ``nth`` passing of it."""
    passed = 0

    def reached(name: str) -> None:
        nonlocal passed
        passed += name == point
        if name == point and passed == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    return DuckStore(path, LOG, hot_rows=2 * PER_STEP, window_rows=300, checkpoint_seconds=0.0, reached=reached)


def offset_of(store: DuckStore) -> int:
    return next((p.offset for p in store.load().progress), 0)


def check(store: DuckStore, steps: int) -> None:
    """``store`` shows exactly what one shows that nothing ever happened to."""
    expected, feed = MemoryStore(LOG), Feed()
    while feed.offset < steps:
        expected.commit(step(feed))
    try:
        assert expected.equals(store) == []
        store.verify_parts()
    finally:
        expected.close()


def victim(path: Path, point: str, nth: int) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    store = open_store(path, point, nth)
    done = threading.Event()

    def keep() -> None:
        while not done.is_set():
            store.maintain()

    keeper = threading.Thread(target=keep)
    keeper.start()
    feed = feed_at(offset_of(store))
    while feed.offset < LIVES:
        store.commit(step(feed))
        print(feed.offset, flush=True)
    keeper.join()  # until it gets there


@pytest.mark.parametrize("nth", [2, pytest.param(5, marks=pytest.mark.all)])
@pytest.mark.parametrize("point", [*QUICK, *(pytest.param(point, marks=pytest.mark.all) for point in MORE)])
def test_a_kill_while_things_go_shows_nothing_wrong_afterwards(tmp_path: Path, point: str, nth: int) -> None:
    command = [sys.executable, __file__, str(tmp_path), point, str(nth)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        timer = threading.Timer(120.0, process.kill)
        timer.start()
        output = process.communicate()[0]
        timer.cancel()
    assert process.returncode == -signal.SIGKILL
    said = int(([0] + [int(line) for line in output.splitlines(keepends=True) if line.endswith("\n")])[-1])
    store = open_store(tmp_path)
    try:
        reached = offset_of(store)
        assert reached >= said
        check(store, reached)
        feed = feed_at(reached)
        while feed.offset < reached + 8:
            store.commit(step(feed))
            while store.maintain():
                pass
        check(store, reached + 8)
        assert {path.name for path in (tmp_path / "parts").iterdir()} == store.named_parts()
    finally:
        store.close()
    restored_gives_the_same(tmp_path, reached + 8)


def restored_gives_the_same(path: Path, steps: int) -> None:
    """The newest checkpoint, and the steps after it once more."""
    (path / "sonde.duckdb").unlink()
    store = DuckStore.restore(path, LOG)
    try:
        feed = feed_at(offset_of(store))
        assert feed.offset > 0, "there was no checkpoint: nothing was shown"
        while feed.offset < steps:
            store.commit(step(feed))
        check(store, steps)
    finally:
        store.close()


if __name__ == "__main__":
    victim(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
