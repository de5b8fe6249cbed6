"""What a user's SQL may not do, and that no query keeps a commit waiting."""

import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pytest

from sonde.errors import Invalid, Retry
from sonde.question import Sql, Totals
from sonde.store.duckdb import DuckStore
from sonde.store.guard import PATIENCE, Watch, check_select
from sonde.testing.asking import rows_of, tidy
from sonde.testing.store_feed import LOG, Feed, building, random_rows

ENDLESS = "select count(*) from range(1000000000000) a where a.range % 7 = 3"
DEADLINE = 30.0

OUTSIDE = (
    "select * from read_text('{secret}')",
    "select * from read_blob('{secret}')",
    "select * from read_csv('{secret}')",
    "select * from read_json('{secret}')",
    "select * from read_parquet('{secret}')",
    "select * from parquet_metadata('{secret}')",
    "select * from '{secret}'",
    'select * from "{secret}"',
    "from '{secret}'",
    "select * from glob('{folder}/*')",
    "select * from sniff_csv('{secret}')",
    "select * from read_duckdb('{secret}')",
    "select * from query('select 1')",
    "select * from query_table('readings')",
    "select * from json_execute_serialized_sql(json_serialize_sql('select 1'))",
    "select * from (select * from (from read_text('{secret}')))",
    "select (select content from read_text('{secret}'))",
    "with a as (from read_text('{secret}')) from a",
    "select 1 where exists (from read_text('{secret}'))",
    "select * from readings join lateral (select * from read_text('{secret}')) on true",
    "select 1 union all select content from read_text('{secret}')",
    "select * from read_text('http://127.0.0.1:9/x')",
    "select * from read_parquet('s3://bucket/x')",
    "select getenv('HOME')",
    "select * from duckdb_secrets()",
    "select * from duckdb_settings()",
    "select * from which_secret('s3://a', 's3')",
    "select * from checkpoint()",
    "select * from force_checkpoint()",
    "select * from truncate_duckdb_logs()",
    "select * from enable_logging()",
    "select write_log('x')",
    "select * from pragma_database_size()",
    "select * from arrow_scan(1, 2, 3)",
    "select * from pandas_scan(1)",
    "select * from python_map_function(1)",
    "install httpfs",
    "load httpfs",
    "set enable_external_access = true",
    "set lock_configuration = false",
    "reset all",
    "copy (select 1) to '{secret}'",
    "export database '{folder}/x'",
    "create secret s (type s3)",
    "with x as (insert into store.meta values (1, '') returning 1) select * from x",
    "with x as (update store.meta set version = 9 returning 1) select * from x",
    "with x as (select 1), y as (delete from store.series returning 1) select * from x",
    "select 1 /* ; */ ; /* */ drop table store.series",
    "describe readings",
    "show tables",
    "summarize readings",
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DuckStore]:
    store = DuckStore(tmp_path / "store", LOG, memory_limit="64MB")
    feed, series = Feed(), building(2)
    store.commit(feed.step(random_rows(1, series, 200), series))
    store.roll()
    tidy(store)
    yield store
    store.close()


@pytest.mark.parametrize("text", OUTSIDE)
def test_no_sql_leads_out_of_the_store(store: DuckStore, tmp_path: Path, text: str) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("hush")
    with pytest.raises(Invalid) as refused:
        store.ask(Sql(text.format(secret=secret, folder=tmp_path)))
    assert "hush" not in str(refused.value)
    assert secret.read_text() == "hush"
    assert rows_of(store, Totals())[0]["readings"] == 200


@pytest.mark.parametrize(
    "text",
    [
        "select 1",
        "select 1;",
        "values (1), (2)",
        "from readings limit 1",
        "with a as (select device, value from readings) select device, avg(value) from a group by all order by all",
        "with recursive n as (select 1 as i union all select i + 1 from n where i < 5) select sum(i) from n",
        "select * from range(3) union select * from generate_series(2)",
        "select unnest([1, 2]) intersect select 2",
        "select device, time_bucket(interval '1 hour', time) as hour, max(value) from readings group by all",
        "select * from readings asof join (select time, value from readings where metric = 'co2') c using (time)",
        "select labels->>'room' from readings",
        "select quantile_cont(value, 0.9) over (partition by device) from readings",
        "select version from store.meta",
        "select '; drop table store.series'",
        "select $$;$$ -- ;",
    ],
)
def test_what_one_select_can_say_is_answered(store: DuckStore, text: str) -> None:
    store.ask(Sql(text))


def test_errors_name_no_directory(store: DuckStore, tmp_path: Path) -> None:
    with pytest.raises(Invalid) as refused:
        store.ask(Sql(f"select * from '{tmp_path}/a/b.parquet'"))
    assert str(tmp_path) not in str(refused.value)


def test_a_query_that_runs_too_long_is_stopped(store: DuckStore) -> None:
    begun = time.monotonic()
    with pytest.raises(Retry, match="too long"):
        store.ask(Sql(ENDLESS, seconds=0.3))
    assert time.monotonic() - begun < DEADLINE
    assert rows_of(store, Sql("select 1 as one")) == [{"one": 1}]


def test_a_query_that_needs_too_much_memory_ends_and_commits_go_on(store: DuckStore) -> None:
    greedy = "select string_agg(repeat('x', 1000), '') from range(1000000)"
    with pytest.raises((Retry, Invalid)):
        store.ask(Sql(greedy))
    feed = Feed(offset=1, known={one.id for one in building(2)})
    store.commit(feed.step(random_rows(2, building(2), 100)))


def test_an_answer_has_a_size_that_it_may_not_exceed(store: DuckStore) -> None:
    with pytest.raises(Invalid, match="MB"):
        store.ask(Sql("select repeat('x', 1000000) from range(80)"))


def test_two_queries_of_users_at_once_and_others_wait_for_their_time(store: DuckStore) -> None:
    with ThreadPoolExecutor(2) as pool:
        long = [pool.submit(store.ask, Sql(ENDLESS, seconds=1.5)) for _ in range(2)]
        begun = time.monotonic()
        while time.monotonic() < begun + DEADLINE:
            try:
                store.ask(Sql("select 1", seconds=0.01))
            except Retry as busy:
                assert "2 queries" in str(busy)  # noqa: PT017  # it may take a moment until both have begun
                break
        else:
            pytest.fail("a third query was never refused")
        for one in long:
            with pytest.raises(Retry, match="too long"):
                one.result()


def test_a_commit_that_waits_stops_the_query_of_a_user_and_no_other() -> None:
    database = duckdb.connect(":memory:")
    watch = Watch(time.monotonic)
    stopped: list[str] = []
    try:
        cursor = database.cursor()
        begun = time.monotonic()
        with watch.limit(cursor, DEADLINE, yields=True) as running, watch.committing():
            with pytest.raises(duckdb.InterruptException):
                cursor.execute(ENDLESS)
            stopped.append(running.stopped)
        assert PATIENCE <= time.monotonic() - begun < DEADLINE
        with watch.limit(database.cursor(), DEADLINE, yields=False) as other, watch.committing():
            threading.Event().wait(2 * PATIENCE)
            assert other.stopped == ""
    finally:
        watch.close()
        database.close()
    assert stopped == ["a commit waited behind it"]


def test_commits_go_on_beside_a_runaway_query(store: DuckStore) -> None:
    feed, series = Feed(offset=1, known={one.id for one in building(2)}), building(2)
    with ThreadPoolExecutor(1) as pool:
        runaway = pool.submit(store.ask, Sql(ENDLESS, seconds=2.0))
        seconds = []
        while not runaway.done():
            step = feed.step(random_rows(feed.offset, series, 100))
            begun = time.monotonic()
            store.commit(step)
            seconds.append(time.monotonic() - begun)
        with pytest.raises(Retry):
            runaway.result()
    assert len(seconds) > 3
    assert statistics.median(seconds) < 1.0


def test_a_query_that_is_stopped_before_it_runs_was_not_wrong() -> None:
    class Stopped:
        """A cursor that a commit interrupts while the text is looked at."""

        def extract_statements(self, text: str) -> None:
            raise duckdb.InterruptException("INTERRUPT Error: Interrupted!")

    with pytest.raises(duckdb.InterruptException):
        check_select(Stopped(), "select 1")  # type: ignore[arg-type]
