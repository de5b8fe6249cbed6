"""Each step is in the database once, whatever happens to connections, servers and rivals."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from random import Random
from typing import Final

import pytest

from sonde.changes import Changes, Definition, LedgerLine, Series, Stream
from sonde.clock import DAY
from sonde.errors import Conflict, Hold, Retry
from sonde.question import Ledger, Sql, Totals
from sonde.store.postgres.store import PostgresStore
from sonde.testing.asking import rows_of
from sonde.testing.store_feed import LOG, START, Feed, building, random_rows
from tests.servers.cut import Cut, cut
from tests.servers.postgres import PostgresServer, postgres_server

pytestmark = pytest.mark.all
SERIES: Final = building(3)
PER_STEP: Final = 40
PATIENCE: Final = 60.0

Make = Callable[[], PostgresStore]


@pytest.fixture
def make(tables: str) -> Iterator[Make]:
    """Makes stores over one database."""
    with ExitStack() as stack:

        def make() -> PostgresStore:
            store = PostgresStore(tables, LOG)
            stack.callback(store.close)
            return store

        yield make


def step(feed: Feed, series: Sequence[Series] = SERIES) -> Changes:
    """A step with something of every kind that adds up: what is stored twice, or half, shows."""
    number = feed.partition * 1000 + feed.offset
    rows = random_rows(number, series, PER_STEP, since=START + feed.offset * DAY)
    return feed.step(
        rows,
        series,
        ledger=[LedgerLine("node", 2, declared=PER_STEP, stored=PER_STEP)],
        streams=[Stream(f"node-{feed.partition}", "epoch", 2, feed.offset + 1, PER_STEP * (feed.offset + 1))],
        definitions=[Definition("profile", f"device-{feed.partition}", {"step": feed.offset}, START + feed.offset)],
    )


def check(store: PostgresStore, *feeds: Feed) -> None:
    """Everything is there once."""
    count = sum(len(feed.readings) for feed in feeds)
    assert rows_of(store, Totals())[0]["readings"] == count
    assert rows_of(store, Sql("select sum(count) as n from windows where width = '5m'"))[0]["n"] == count
    (line,) = rows_of(store, Ledger())
    assert line["stored"] == line["sent"] == count
    for feed in feeds:
        state = store.load(feed.partition)
        mine = [p for p in state.progress if p.partition == feed.partition]
        assert [p.offset for p in mine] == [feed.offset]
        assert [stream.seq for stream in state.streams] == [feed.offset]
        assert [definition.body for definition in state.definitions] == [{"step": feed.offset - 1}]


def test_of_two_stores_that_write_one_step_one_is_told_of_a_conflict(make: Make) -> None:
    stores = [make(), make()]
    feed = Feed()
    for _ in range(6):
        changes = step(feed)
        at_once = threading.Barrier(2)

        def commit(store: PostgresStore, changes: Changes = changes, at_once: threading.Barrier = at_once) -> str:
            at_once.wait(PATIENCE)
            try:
                store.commit(changes)
            except Conflict as error:
                return f"conflict at {error.known}"
            return "committed"

        with ThreadPoolExecutor(2) as pool:
            assert sorted(pool.map(commit, stores)) == ["committed", f"conflict at {feed.offset}"]
    check(stores[0], feed)


def test_a_processor_that_slept_and_lost_its_partition_writes_nothing_and_can_go_on(make: Make) -> None:
    zombie, heir, feed = make(), make(), Feed()
    zombie.commit(step(feed))
    zombies = Feed(offset=1, known=set(feed.known))
    heir.load(0)
    more = [one._replace(id=one.id + len(SERIES), device=f"new-{one.device}") for one in SERIES]
    heir.commit(step(feed, more))
    with pytest.raises(Conflict):
        zombie.commit(step(zombies))
    assert [one.id for one in zombie.load(0).series] == list(range(2 * len(SERIES)))
    zombie.commit(step(feed, more))
    check(heir, feed)
    devices = rows_of(heir, Sql("select count(distinct device) as n from readings"))[0]["n"]
    assert devices == 6, "rows of the heir's new series are under their own names"


def test_partitions_commit_beside_each_other_and_share_series(make: Make) -> None:
    """In each the same series have other numbers, and are met in another order."""
    stores, partitions = [make(), make()], 8
    feeds = [Feed(partition=number) for number in range(partitions)]

    def run(feed: Feed) -> None:
        mine = SERIES[feed.partition :] + SERIES[: feed.partition]
        numbered = [one._replace(id=number) for number, one in enumerate(mine)]
        for known in range(2, len(SERIES), 2):
            stores[feed.partition % 2].commit(step(feed, numbered[:known]))

    with ThreadPoolExecutor(partitions) as pool:
        list(pool.map(run, feeds))
    check(stores[0], *feeds)
    assert rows_of(stores[0], Totals())[0]["series"] == len(SERIES), "each is one, whoever met it"
    for feed in feeds:
        names = {one.id: one for one in stores[1].load(feed.partition).series}
        mine = SERIES[feed.partition :] + SERIES[: feed.partition]
        assert all(names[number][1:] == mine[number][1:] for number in names)
    counted = rows_of(stores[0], Sql("select device, metric, count(*) as n from readings group by 1, 2"))
    wanted: dict[tuple[str, str], int] = {}
    for feed in feeds:
        mine = SERIES[feed.partition :] + SERIES[: feed.partition]
        for number in feed.readings["series"].to_pylist():
            key = mine[number].device, mine[number].metric
            wanted[key] = wanted.get(key, 0) + 1
    assert {(row["device"], row["metric"]): row["n"] for row in counted} == wanted


def until_stored(store: PostgresStore, changes: Changes, hurt: Callable[[], None] = lambda: None) -> int:
    """Commit as a processor does: again after each :class:`Retry`, done when another was here with the same. How often it
    was refused."""
    known: int | None = None
    for refused in range(1000):
        try:
            store.commit(changes)
        except Retry:
            hurt()
        except Conflict as error:
            known = error.known
            break
        else:
            return refused
    assert known == changes.progress.offset, "only a commit whose answer was lost can have been here"
    return refused


def test_connections_cut_in_the_middle_of_commits_lose_and_double_nothing(
    make: Make, postgres: PostgresServer, tables: str
) -> None:
    """Between two cuts something is stored, however slow the machine is."""
    store, feeds, stop = make(), [Feed(partition=number) for number in range(3)], threading.Event()
    stored, random = threading.Semaphore(0), Random(7)
    cuts: list[int] = []
    refused: list[int] = []

    def cut_often() -> None:
        while not stop.wait(random.uniform(0, 0.02)):
            if stored.acquire(timeout=0.1):
                cuts.append(postgres.terminate_backends(tables.rpartition("/")[2]))

    def run(feed: Feed) -> None:
        while sum(refused) < 10 and feed.offset < 60:
            refused.append(until_stored(store, step(feed)))
            stored.release()

    with ThreadPoolExecutor(4) as pool:
        cutter = pool.submit(cut_often)
        try:
            list(pool.map(run, feeds))
        finally:
            stop.set()
            cutter.result(PATIENCE)
    assert sum(cuts) > 0
    check(store, *feeds)


@contextmanager
def through(to: Cut, database: str) -> Iterator[PostgresStore]:
    store = PostgresStore(f"postgresql://sonde@127.0.0.1:{to.port}/{database}?sslmode=disable&gssencmode=disable", LOG)
    try:
        yield store
    finally:
        store.close()


@pytest.mark.parametrize(("way", "refusals"), [("lose its answer", 0), ("lose it", 1)])
def test_a_commit_whose_connection_breaks_is_looked_up(
    postgres: PostgresServer, tables: str, way: str, refusals: int
) -> None:
    """When the answer was lost the store finds that it is there; when the order was lost, that it is not."""
    with cut(postgres.port) as proxy, through(proxy, tables.rpartition("/")[2]) as store:
        feed = Feed()
        store.commit(step(feed))
        for round_ in range(5):
            changes = step(feed)
            proxy.way = way
            assert until_stored(store, changes) == refusals
            assert proxy.cuts == round_ + 1
        check(store, feed)


def test_a_server_that_restarts_or_dies_is_waited_for() -> None:
    with postgres_server() as server, server.database() as name:
        store, feed = PostgresStore(server.url(name), LOG), Feed()
        try:
            for down in (server.restart, server.kill, server.stop):
                store.commit(step(feed))
                down()
                starts = iter([server.start])

                def start_once(starts: Iterator[Callable[[], None]] = starts) -> None:
                    for start in starts:
                        start()

                if down == server.restart:
                    until_stored(store, step(feed))
                else:
                    with pytest.raises(Retry, match="away"):
                        store.load()
                    assert until_stored(store, step(feed), start_once) == 1
            check(store, feed)
        finally:
            store.close()


def test_a_step_that_fails_half_way_leaves_nothing(make: Make, postgres: PostgresServer, tables: str) -> None:
    store, feed = make(), Feed()
    store.commit(step(feed))
    database = tables.rpartition("/")[2]
    postgres.execute("alter table store.streams_by_partition add constraint small check (seq < 2)", database=database)
    changes = step(feed)
    with pytest.raises(Hold, match="refused what it should have done"):
        store.commit(changes)
    postgres.execute("alter table store.streams_by_partition drop constraint small", database=database)
    store.commit(changes)
    check(store, feed)


def test_a_process_that_sleeps_in_a_transaction_does_not_keep_its_partition(
    make: Make, postgres: PostgresServer, tables: str
) -> None:
    """As a processor that was stopped in the middle of its commit: the database ends it."""
    store, feed = make(), Feed()
    store.commit(step(feed))
    with store._writers.raw_connection() as sleeper:
        sleeper.execute("begin")
        sleeper.execute("set local idle_in_transaction_session_timeout = '1s'")
        sleeper.execute("update store.progress set next_offset = next_offset + 1")
        until_stored(store, step(feed))
    check(store, feed)
