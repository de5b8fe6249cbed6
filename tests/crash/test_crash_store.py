"""The embedded store killed at every marked point and at random ones: what was committed is there, once.

Run as a program this file is the victim: it commits steps that follow from their number alone, with housekeeping beside
it, and says on standard output how far it has come.
"""

import os
import random
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from sonde.changes import Alert, Changes, LedgerLine, Stream
from sonde.clock import DAY, SECOND
from sonde.errors import Damaged, Retry
from sonde.store.duckdb import DuckStore
from sonde.store.memory import MemoryStore
from sonde.testing.store_feed import LOG, START, Feed, building, random_rows

POINTS = ("rolled", "written", "registering", "sealed", "merged", "exported", "published")
SERIES = building(3)
PER_STEP = 120


def step(feed: Feed) -> Changes:
    """The next step, the same whenever it is made."""
    number = feed.offset
    return feed.step(
        random_rows(number, SERIES, PER_STEP, since=START + number * SECOND, span=2 * DAY),
        SERIES if number == 0 else (),
        ledger=[LedgerLine("node", 2, PER_STEP, PER_STEP)],
        streams=[Stream("node", "epoch", 2, number + 1, (number + 1) * PER_STEP)],
        alerts=[
            Alert(f"alert-{number}", "high", number % 12, "above", "warning", "firing", 1.0, START + number, 2.0, 2.0)
        ],
    )


def feed_at(offset: int) -> Feed:
    """A feed that has come so far; it does not remember its readings."""
    return Feed(offset=offset, known={one.id for one in SERIES} if offset else set())


def open_store(path: Path, point: str = "", nth: int = 0) -> DuckStore:
    """The store of the victim; with ``point`` it kills its process at the ``nth`` passing of it."""
    passed = 0

    def reached(name: str) -> None:
        nonlocal passed
        passed += name == point
        if name == point and passed == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    return DuckStore(path, LOG, hot_rows=3 * PER_STEP, window_rows=300, checkpoint_seconds=0.0, reached=reached)


def offset_of(store: DuckStore) -> int:
    return next((p.offset for p in store.load().progress), 0)


class Expected:
    """A store that nothing ever happened to; it goes along with one that is killed."""

    def __init__(self) -> None:
        self._store, self._feed = MemoryStore(LOG), Feed()

    def check(self, store: DuckStore, steps: int) -> None:
        """``store`` holds exactly the first ``steps`` steps."""
        while self._feed.offset < steps:
            self._store.commit(step(self._feed))
        assert self._store.equals(store) == []
        store.verify_parts()

    def close(self) -> None:
        self._store.close()


def check(store: DuckStore, steps: int) -> None:
    """``store`` holds exactly the first ``steps`` steps."""
    expected = Expected()
    try:
        expected.check(store, steps)
    finally:
        expected.close()


def victim(path: Path, steps: int, point: str, nth: int) -> None:
    """Commit up to ``steps`` steps, with housekeeping in a thread of its own."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    store = open_store(path, point, nth)
    done = threading.Event()

    def keep() -> None:
        while not done.is_set():
            store.maintain()

    keeper = threading.Thread(target=keep)
    keeper.start()
    feed = feed_at(offset_of(store))
    print(feed.offset, flush=True)
    while feed.offset < steps:
        store.commit(step(feed))
        print(feed.offset, flush=True)
    if point:
        keeper.join()  # until it gets there
    done.set()
    keeper.join()
    store.close()


def run(path: Path, steps: int, point: str = "", nth: int = 0, *, seconds: float | None = None) -> int:
    """Let the victim live, at most ``seconds`` after it began; how far it said that it came."""
    command = [sys.executable, __file__, str(path), str(steps), point, str(nth)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        output = process.stdout.readline()
        timer = threading.Timer(120.0 if seconds is None else seconds, process.kill)
        timer.start()
        output += process.communicate()[0]
        timer.cancel()
    assert process.returncode in ({-signal.SIGKILL} if point else {0, -signal.SIGKILL})
    whole = [line for line in output.splitlines(keepends=True) if line.endswith("\n")]
    return int(whole[-1]) if whole else 0


@pytest.mark.parametrize("nth", [1, pytest.param(4, marks=pytest.mark.all)])
@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_a_marked_point_loses_and_doubles_nothing(tmp_path: Path, point: str, nth: int) -> None:
    said = run(tmp_path, 10 + 10 * nth, point, nth)
    store = open_store(tmp_path)
    try:
        reached = offset_of(store)
        assert reached >= said
        check(store, reached)
        feed = feed_at(reached)
        while feed.offset < reached + 6:
            store.commit(step(feed))
            while store.maintain():
                pass
        check(store, reached + 6)
        names = {path.name for path in (tmp_path / "parts").iterdir()}
        assert names == store.named_parts()
    finally:
        store.close()


def rounds(path: Path, count: int, seed: int) -> Iterator[int]:
    """Kill ``count`` times at random moments; how far the store had come each time."""
    moments, expected = random.Random(seed), Expected()
    for _ in range(count):
        said = run(path, 10_000, seconds=moments.uniform(0.3, 2.0))
        store = open_store(path)
        try:
            reached = offset_of(store)
            assert reached >= said
            expected.check(store, reached)
        finally:
            store.close()
        yield reached
    expected.close()


@pytest.mark.parametrize("count", [3, pytest.param(25, marks=pytest.mark.all)])
def test_kills_at_random_moments_lose_and_double_nothing(tmp_path: Path, count: int) -> None:
    reached = list(rounds(tmp_path, count, seed=count))
    assert reached[-1] > 0, "the victim hardly lived: nothing was shown"


def test_a_lost_database_comes_back_from_its_checkpoint_and_the_log(tmp_path: Path) -> None:
    run(tmp_path, 40, "published", 3)
    (tmp_path / "sonde.duckdb").unlink()
    with pytest.raises(Damaged, match="missing"):
        open_store(tmp_path)
    store = DuckStore.restore(tmp_path, LOG)
    try:
        feed = feed_at(offset_of(store))
        assert feed.offset > 0, "there was no checkpoint: nothing was shown"
        check(store, feed.offset)
        while feed.offset < 45:
            store.commit(step(feed))
            store.maintain()
        check(store, 45)
    finally:
        store.close()


def test_mistake_10_a_full_disk_refuses_the_commit_and_loses_nothing(tmp_path: Path) -> None:
    """A limit on the size of files stands in for a full disk: both fail a write in the middle of a commit."""
    script = f"import tests_crash_store as t; t.fill({str(tmp_path)!r})"
    code = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('tests_crash_store', {__file__!r})\n"
        "module = importlib.util.module_from_spec(spec); sys.modules['tests_crash_store'] = module\n"
        "spec.loader.exec_module(module)\n" + script
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "refused" in done.stdout
    store = open_store(tmp_path)
    try:
        check(store, offset_of(store))
        assert offset_of(store) >= 20
    finally:
        store.close()


def fill(path: str) -> None:
    """Commit until files may not grow, see :class:`Retry`, let them grow again and go on with the same store."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    store = DuckStore(Path(path), LOG)
    feed = Feed()
    while feed.offset < 8:
        store.commit(step(feed))
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    sizes = [file.stat().st_size for file in Path(path).glob("sonde.duckdb*")]
    for room in (10_000, 0):
        resource.setrlimit(resource.RLIMIT_FSIZE, (max(sizes) + room, hard))
        refused = 0
        while refused < 3:
            changes = step(feed_at(feed.offset))
            try:
                store.commit(changes)
                feed = feed_at(feed.offset + 1)
            except Retry:
                refused += 1
        print("refused at", feed.offset)
        try:
            store.roll()
            while store.maintain():
                pass
        except Retry:
            print("housekeeping refused")
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        for _ in range(6):
            store.commit(step(feed_at(feed.offset)))
            feed = feed_at(feed.offset + 1)
            store.roll()
            while store.maintain():
                pass
    store.close()


if __name__ == "__main__":
    victim(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
