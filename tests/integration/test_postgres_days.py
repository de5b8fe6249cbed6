"""Tables of days are made ahead and for old days, and dropped, while everyone else goes on; what is purged goes in bites."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count, pairwise
from typing import Final

import numpy as np
import pytest

from sonde.assemble.shared.floors import Floors
from sonde.changes import Purge
from sonde.clock import DAY, SECOND, Micros, SystemClock
from sonde.control.audit import MemoryAuditTrail
from sonde.entry import Entry
from sonde.metrics import Metrics
from sonde.process.definitions import Definitions
from sonde.question import History, Sql, Totals
from sonde.retention import Policy
from sonde.store.postgres import days, housekeeping
from sonde.store.postgres.connections import Connection, Connections
from sonde.store.postgres.days import DayTables, Span
from sonde.store.postgres.store import PostgresStore
from sonde.testing.asking import rows_of, tidy
from sonde.testing.removal_contract import floor
from sonde.testing.store_feed import LOG, Feed, Row, building
from tests.servers.postgres import PostgresServer

pytestmark = pytest.mark.all
SERIES: Final = building(1)
TODAY: Final = SystemClock().now() // DAY
PATIENCE: Final = 60.0


class NoonClock(SystemClock):
    """It is noon, however long a test takes."""

    def now(self) -> Micros:
        return TODAY * DAY + DAY // 2


Make = Callable[[], PostgresStore]


@pytest.fixture
def make(tables: str) -> Iterator[Make]:
    """Makes stores over one database."""
    with ExitStack() as stack:

        def make() -> PostgresStore:
            store = PostgresStore(tables, LOG, clock=NoonClock())
            stack.callback(store.close)
            return store

        yield make


def rows(first: int, number: int, each: int = 3) -> list[Row]:
    """Some readings on each of some days, counted back from today."""
    return [Row(0, (TODAY - first + d) * DAY + n * SECOND, float(d)) for d in range(number) for n in range(each)]


def names(store: PostgresStore) -> list[str]:
    return [span.name for span in store._tables.look().spans]


def test_a_backfill_of_many_days_keeps_no_other_partition_waiting(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a table is being made, its transaction open with all its locks, another partition commits and a question is
    answered: else this would never end."""
    store, other, past, live = make(), make(), Feed(), Feed(partition=1)
    store.commit(past.step(rows(0, 1), SERIES))
    other.commit(live.step(rows(0, 1), SERIES))
    create, made = days._create, count(1)

    def create_and_look_on(connection: Connection, span: Span) -> None:
        create(connection, span)
        if next(made) % 13 == 0:
            other.commit(live.step(rows(0, 1)))
            assert rows_of(other, Totals())[0]["readings"] == 3 + len(live.readings)

    monkeypatch.setattr(days, "_create", create_and_look_on)
    store.commit(past.step(rows(400, 400)))
    assert len(names(store)) == 401
    assert live.offset == 1 + 400 // 13
    assert rows_of(store, Totals())[0]["readings"] == len(past.readings) + len(live.readings)


def test_a_table_is_dropped_behind_a_question_that_takes_long(make: Make, postgres: PostgresServer) -> None:
    """It waits for those who may still look at it, and nobody waits for it: neither writers, nor questions, nor whoever
    makes tables."""
    store, other, feed, live = make(), make(), Feed(), Feed(partition=1)
    store.commit(feed.step(rows(9, 5), SERIES))
    store.commit(feed.step(definitions=[floor("readings", (TODAY - 8) * DAY)]))
    with ThreadPoolExecutor(1) as pool:
        with other._askers.snapshot(PATIENCE) as connection:
            assert connection.execute("select count(*) from store.readings").fetchall() == [(12,)]
            dropping = pool.submit(store._tables.drop_below, (TODAY - 8) * DAY)
            waiting = (
                "select count(*) from pg_stat_activity where wait_event = 'virtualxid' and query like 'alter table%'"
            )
            until = time.monotonic() + PATIENCE
            while postgres.execute(waiting) != [(1,)]:
                assert time.monotonic() < until
            other.commit(live.step([*rows(8, 1), *rows(-3, 3)], SERIES))
            assert rows_of(other, Totals())[0]["readings"] == 12 + 3 + 9
            assert not dropping.done()
        assert dropping.result(PATIENCE) == (Span.of_day(TODAY - 9), 3)
    assert names(store)[0] == Span.of_day(TODAY - 8).name
    assert names(store)[-1] == Span.of_day(TODAY + 5).name


def test_tables_are_made_ahead_and_once(make: Make) -> None:
    stores = [make() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert any(pool.map(lambda store: store.maintain(), stores))
    assert names(stores[0]) == [Span.of_day(TODAY + d).name for d in range(3)]
    assert not any(store.maintain() for store in stores)
    feeds = [Feed(partition=number) for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda pair: pair[0].commit(pair[1].step(rows(30, 30), SERIES)), zip(stores, feeds, strict=True)))
    assert len(names(stores[0])) == 33
    assert rows_of(stores[0], Totals())[0]["readings"] == 4 * 90


def test_days_far_from_today_share_the_table_of_their_month_or_year(make: Make) -> None:
    """So clocks that are wrong make no more tables than a database can bear."""
    store, feed = make(), Feed()
    times = [0, 40 * DAY, 41 * DAY, (TODAY + 4000) * DAY, (TODAY + 4000) * DAY + SECOND, (TODAY - 900) * DAY]
    store.commit(feed.step([Row(0, time, 1.0) for time in times], SERIES))
    assert len(names(store)) == 3
    assert names(store)[0] == "readings_1970"
    assert [span.end - span.first <= 31 for span in store._tables.look().spans] == [False, True, False]
    assert sorted(row["time"] for row in rows_of(store, History())) == sorted(times)


def test_every_day_has_one_table_whatever_is_there(connections: Connections) -> None:
    known = DayTables(connections, NoonClock())
    for some in ((TODAY - 760, TODAY - 745), (TODAY - 800, TODAY - 740), (TODAY - 3700, TODAY - 3600)):
        known.cover(np.arange(*some))
    spans = known.look().spans
    assert all(one.end <= other.first for one, other in pairwise(spans))
    assert not len(known.look().missing(np.arange(TODAY - 800, TODAY - 740)))
    assert all(Span.of(span.name) == span for span in spans)


def test_what_a_floor_hides_is_dropped_day_by_day_and_windows_stay(make: Make) -> None:
    store, other, feed, live = make(), make(), Feed(), Feed(partition=1)
    store.commit(feed.step(rows(20, 20), SERIES))
    other.commit(live.step(rows(0, 1), SERIES))
    at = (TODAY - 5) * DAY + 2 * SECOND
    store.commit(feed.step(definitions=[floor("readings", at)]))
    windows = rows_of(store, Sql("select sum(count) as n from windows where width = '5m'"))
    assert store.held().floors == {"readings": at}
    assert not store.held().settled
    tidied = threading.Event()

    def tidy_both() -> None:
        with ThreadPoolExecutor(2) as both:
            list(both.map(tidy, (store, other)))
        tidied.set()

    with ThreadPoolExecutor(1) as pool:
        tidying = pool.submit(tidy_both)
        while not tidied.is_set():
            other.commit(live.step(rows(0, 1)))
        tidying.result(PATIENCE)
    tidy(store)
    assert names(store)[0] == Span.of_day(TODAY - 5).name
    assert store.held().settled
    assert rows_of(store, Totals())[0]["readings"] == 1 + 4 * 3 + len(live.readings)
    counted = rows_of(store, Sql("select sum(count) as n from windows where width = '5m'"))
    assert counted[0]["n"] == windows[0]["n"] + len(live.readings) - 3
    store.commit(feed.step([*rows(20, 2), *rows(0, 1)]))
    assert names(store)[0] == Span.of_day(TODAY - 5).name, "for what is hidden no table is made"


def test_readings_that_take_too_much_go_by_whole_days_until_they_fit(make: Make) -> None:
    store, feed, learnt, asked = make(), Feed(), Definitions(), []
    store.commit(feed.step(rows(4, 5, each=400), SERIES))

    def record(entries: Sequence[Entry]) -> None:
        asked.append(entries)
        changed = [definition for entry in entries for definition in learnt.apply(entry, TODAY * DAY)]
        store.commit(feed.step(definitions=changed))

    def look(most: int) -> None:
        policy = Policy(readings_bytes=most)
        audit, clock = MemoryAuditTrail(), NoonClock()
        floors = Floors(policy, lambda: store, lambda: TODAY * DAY, record, audit, clock, Metrics())
        floors.look()
        floors.look()
        tidy(store)

    held = store.held()
    assert len(held.pieces) == 4
    assert held.growing > 0, "what is of today counts, though it cannot go"
    total = sum(piece.bytes for piece in held.pieces) + held.growing
    look(total)
    assert not asked
    look(total - 1)
    assert len(asked) == 1, "it is asked for once"
    assert names(store)[0] == Span.of_day(TODAY - 3).name
    assert sum(piece.bytes for piece in store.held().pieces) + store.held().growing < total
    look(1024)
    assert names(store)[0] == Span.of_day(TODAY).name
    assert rows_of(store, Totals())[0]["readings"] == 400
    assert store.held().settled


def test_a_table_whose_dropping_was_broken_off_goes(make: Make, postgres: PostgresServer, tables: str) -> None:
    store, feed = make(), Feed()
    store.commit(feed.step(rows(9, 5), SERIES))
    store.commit(feed.step(definitions=[floor("readings", TODAY * DAY)]))
    detach = f"alter table store.readings_by_day detach partition store.{names(store)[1]}"
    postgres.execute(detach, database=tables.rpartition("/")[2])
    tidy(store)
    found = "select count(*) from pg_class where relnamespace = 'store'::regnamespace and relname ~ '^readings_2'"
    spans = store._tables.look().spans
    assert min(span.first for span in spans) >= TODAY
    assert postgres.execute(f"{found} and relkind = 'r'", database=tables.rpartition("/")[2]) == [(len(spans),)]


def test_a_purge_of_much_is_quick_to_say_and_goes_in_bites(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows are still there when it has been committed, but nobody sees them; and rows that came later stay."""
    monkeypatch.setattr(housekeeping, "_BITE", 50)
    store, other, feed, live = make(), make(), Feed(), Feed(partition=1)
    many = [Row(n % 4, (TODAY - d) * DAY + n * SECOND, 1.0) for d in range(5) for n in range(100)]
    store.commit(feed.step(many, SERIES))
    other.commit(live.step(many, SERIES))
    store.commit(feed.step([Row(0, TODAY * DAY, 7.0)], purges=[Purge((0, 1), TODAY * DAY)]))
    store.commit(feed.step([Row(1, TODAY * DAY - 1, 8.0)]))
    gone = sum(row.series in (0, 1) and row.time < TODAY * DAY for row in many)

    def rest() -> int:
        return int(rows_of(store, Totals())[0]["readings"])

    def lying() -> int:
        with store._askers.snapshot(PATIENCE) as connection:
            return int(connection.execute("select count(*) from store.readings_by_day").fetchall()[0][0])

    left = [lying()]
    assert left == [2 * len(many) + 2]
    assert rest() == 2 * len(many) + 2 - gone
    while store.maintain():
        assert rest() == 2 * len(many) + 2 - gone + live.offset - 1
        other.commit(live.step([Row(0, TODAY * DAY, 9.0)]))
        left.append(lying() - (live.offset - 1))
    assert store.held().settled
    assert left[-1] == 2 * len(many) + 2 - gone
    assert max(-np.diff(left)) <= 50
    assert rows_of(store, Sql("select sum(count) as n from windows where width = '5m'"))[0]["n"] == rest()
    with store._askers.snapshot(PATIENCE) as connection:
        counts = connection.execute("select sum(rows) from store.counts").fetchall()
    assert counts == [(rest(),)], "and the counts are right"


def test_a_purge_when_eras_have_run_out_deletes_at_once(make: Make, postgres: PostgresServer, tables: str) -> None:
    store, feed = make(), Feed()
    store.commit(feed.step(rows(3, 3), SERIES))
    postgres.execute("insert into store.eras values (0, 65535)", database=tables.rpartition("/")[2])
    store.commit(feed.step([Row(0, TODAY * DAY, 7.0)], purges=[Purge((0,))]))
    store.commit(feed.step([Row(0, TODAY * DAY, 8.0)]))
    assert sorted(row["value"] for row in rows_of(store, History())) == [7.0, 8.0]
    assert store.held().settled
