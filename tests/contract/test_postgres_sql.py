"""What a user's SQL may do in PostgreSQL: one SELECT over the views, within limits, and nothing else."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import msgspec
import psycopg
import pytest

from sonde.errors import Hold, Invalid, Retry
from sonde.question import Answer, Sql, Totals
from sonde.store.postgres import migrate
from sonde.store.postgres.answers import Answers
from sonde.store.postgres.connections import Connections
from sonde.store.postgres.guard import ROLE
from sonde.store.postgres.store import PostgresStore
from sonde.store.views import READINGS_COLUMNS, WINDOWS_COLUMNS
from sonde.testing.answers import VIEWS
from sonde.testing.asking import rows_of
from sonde.testing.store_feed import LOG, Feed, building, random_rows
from tests.servers.postgres import PostgresServer

pytestmark = pytest.mark.all
ENDLESS = "select count(*) from generate_series(1, 1000000000000) a where a % 7 = 3"

OUTSIDE = (
    "select pg_read_file('/etc/passwd')",
    "select pg_read_binary_file('/etc/passwd')",
    "select * from pg_ls_dir('/')",
    "select * from pg_stat_file('/etc/passwd')",
    "select lo_import('/etc/passwd')",
    "select lo_get(1)",
    "select * from dblink('host=127.0.0.1', 'select 1') as t(a int)",
    "select pg_sleep(1)",
    "select pg_catalog.pg_sleep(1)",
    'select "pg_sleep"(1)',
    "select pg_sleep /* a */ (1)",
    "select set_config('role', 'sonde', true)",
    "select set_config('statement_timeout', '0', true), count(*) from readings",
    "select query_to_xml('select * from store.series', true, false, '')",
    "select set_config('role', 'none', true), query_to_xml('select 1', true, false, '')",
    "select * from ts_stat('select * from store.series')",
    "select pg_terminate_backend(pg_backend_pid())",
    "select pg_cancel_backend(1)",
    "select pg_advisory_lock(1)",
    "select pg_notify('steps', 'x')",
    "select nextval('store.series_id_seq')",
    "select setseed(0.5)",
    'select U&"pg\\005Fsleep"(1)',
    "select E'a'\n'\\'' || pg_sleep(1) || ''",
    "select * from store.series",
    "select * from store.progress",
    "select * from control.tokens",
    "select * from pg_authid",
    "select * from pg_shadow",
    "select table_to_xml('store.series', true, false, '')",
    "table store.series",
    "select * from readings for update",
    "select * into t from readings",
    "select * from readings limit 1) q; drop view sonde.readings; --",
    "select 1) q(c0), (select 2",
    "do $$ begin perform 1; end $$",
    "copy (select 1) to program 'true'",
    "prepare x as select 1",
    "execute x",
    "listen steps",
    "set role sonde",
    "reset role",
    "show data_directory",
    "lock table store.series",
    "declare c cursor for select 1",
    "refresh materialized view x",
    "call x()",
    "vacuum",
    "select 1 \\gexec",
    "select",
    "select from readings",
    "select 1 /* ; */ ; /* */ drop view sonde.readings",
    "with x as (update store.series set device = 'x' returning 1) select * from x",
    "select 1/0",
)


@pytest.fixture
def store(database: str) -> Iterator[PostgresStore]:
    store = PostgresStore(database, LOG)
    feed, series = Feed(), building(2)
    store.commit(feed.step(random_rows(1, series, 200), series))
    yield store
    store.close()


def test_no_sql_leads_out_of_the_views(store: PostgresStore) -> None:
    for text in OUTSIDE:
        with pytest.raises(Invalid):
            pytest.fail(f"{text} was answered: {store.ask(Sql(text)).rows}")
    assert rows_of(store, Totals())[0]["readings"] == 200


def test_what_one_select_can_say_is_answered(store: PostgresStore) -> None:
    for text in (
        "select 1;",
        "(select 1) union (select 2);",
        "values (1), (2)",
        "table readings",
        "with a as (select device, value from readings) select device, avg(value) from a group by 1 order by 1",
        "with recursive n as (select 1 as i union all select i + 1 from n where i < 5) select sum(i) from n",
        "select date_bin('1 hour', time, 'epoch') as hour, device, max(value) from readings group by 1, 2",
        "select labels::json ->> 'room' from readings",
        "select percentile_cont(0.9) within group (order by value) from readings",
        "select '; drop table store.series'",
        "select $$;$$ -- ;",
        "select a, a from (select 1 as a) t",
        "select random() < 2, now() < clock_timestamp(), gen_random_uuid()",
        "select 1 in (1), exists (select 1), coalesce(null, 1), cast('1' as int)",
        "select 'pg_sleep(1)', \"count\" from windows",
        "select * from information_schema.columns where table_schema = 'sonde'",
    ):
        assert store.ask(Sql(text)).rows.num_columns, text


def test_columns_have_the_types_that_arrow_has_and_others_are_text(store: PostgresStore) -> None:
    rows = store.ask(
        Sql(
            """select 1::smallint as small, 2::bigint as big, 1.5::real as real, 2.25::numeric as exact, 7::numeric as whole,
            'NaN'::numeric as nan, true as yes, date '2026-01-01' as day, timestamptz '2026-01-01 12:00+02' as moment,
            timestamp '2026-01-01 12:00' as local, 'infinity'::timestamptz as never, interval '1 day' as span,
            array[1,2] as list, '{"a": 1}'::jsonb as json, '\\x00ff'::bytea as bytes, point(1, 2) as point, null as nothing"""
        )
    ).rows
    plain = {name: str(rows[name][0].as_py()) for name in rows.column_names}
    assert plain == {
        "small": "1",
        "big": "2",
        "real": "1.5",
        "exact": "2.25",
        "whole": "7",
        "nan": "nan",
        "yes": "True",
        "day": "2026-01-01",
        "moment": "2026-01-01 10:00:00+00:00",
        "local": "2026-01-01 12:00:00",
        "never": "None",
        "span": "1 day",
        "list": "{1,2}",
        "json": '{"a": 1}',
        "bytes": "\\x00ff",
        "point": "(1,2)",
        "nothing": "None",
    }


def test_a_query_that_runs_too_long_is_stopped(store: PostgresStore) -> None:
    with pytest.raises(Retry, match="too long"):
        store.ask(Sql(ENDLESS, seconds=0.3))
    assert rows_of(store, Sql("select 1 as one")) == [{"one": 1}]


def test_two_queries_of_users_at_once_and_others_wait_for_their_time(store: PostgresStore) -> None:
    with ThreadPoolExecutor(2) as pool:
        long = [pool.submit(store.ask, Sql(ENDLESS, seconds=3.0)) for _ in range(2)]
        while not all(one.done() for one in long):
            try:
                store.ask(Sql("select 1", seconds=0.01))
            except Retry as busy:
                if "2 queries" in str(busy):
                    break
        else:
            pytest.fail("a third query was never refused")
        for one in long:
            with pytest.raises(Retry, match="too long"):
                one.result()


def test_an_answer_has_a_size_that_it_may_not_exceed(store: PostgresStore) -> None:
    with pytest.raises(Invalid, match="64 MB; add LIMIT"):
        store.ask(Sql("select repeat('x', 1000000) from generate_series(1, 80)"))
    with pytest.raises(Invalid, match="64 MB in one value"):
        store.ask(Sql("select 1, repeat('x', 80000000 + a) from generate_series(1, 2) a"))
    with pytest.raises(Invalid, match="64 MB in one value"):
        store.ask(Sql("select string_agg(repeat('x', 1000000), ',') from generate_series(1, 80)"))


def test_without_the_role_it_says_what_to_ask_for_and_mends_itself_once_it_is_there(postgres: PostgresServer) -> None:
    postgres.execute("create role plain login")
    try:
        with postgres.database() as name:
            postgres.execute(f"alter database {name} owner to plain")
            url = postgres.url(name, "plain")
            migrate.prepare(url)
            connections = Connections(url)
            answers = Answers(connections, LOG)
            assert answers.ask(Totals()).rows["readings"].to_pylist() == [0]
            with pytest.raises(Hold, match=f'GRANT {ROLE} TO "plain"'):
                answers.ask(Sql("select * from readings"))
            postgres.execute(f"grant {ROLE} to plain")
            assert answers.ask(Sql("select * from readings")).rows.num_rows == 0
            postgres.execute(f"revoke usage on schema sonde from {ROLE}", database=name)
            postgres.execute(f"revoke select on all tables in schema sonde from {ROLE}", database=name)
            assert answers.ask(Sql("select * from windows")).rows.num_rows == 0, "it grants what is missing"
            connections.close()
    finally:
        postgres.execute("drop role plain")


def test_who_may_only_read_the_views_asks_them_and_nothing_else(
    postgres: PostgresServer, store: PostgresStore, database: str
) -> None:
    postgres.execute(f"create role reader login in role {ROLE}")
    try:
        url = database.replace("//sonde@", "//reader@")
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "sonde",
                "sql",
                "--url",
                url,
                "select count(*) as n from readings",
                "--format",
                "json",
            ],
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode, msgspec.json.decode(done.stdout or b"0")) == (0, [{"n": 200}]), done.stderr
        with psycopg.connect(url, autocommit=True) as connection:
            for view in VIEWS:
                connection.execute(f"select * from {view}".encode())  # as people do in psql: it is on the path
            for table in ("store.series", "store.readings", "store.readings_by_day", "control.tokens"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(f"select * from {table}".encode())
    finally:
        postgres.execute("drop role reader")


def test_the_views_are_commented_and_what_they_hold_is_found_in_psql(store: PostgresStore, database: str) -> None:
    with psycopg.connect(database) as connection:
        found = connection.execute(
            """select c.relname, a.attname, col_description(c.oid, a.attnum), obj_description(c.oid)
            from pg_class c join pg_attribute a on a.attrelid = c.oid
            where c.relnamespace = 'sonde'::regnamespace and c.relname = any(%s) order by c.relname, a.attnum""",
            (list(VIEWS),),
        ).fetchall()
        comments = {(view, column): text for view, column, text, _ in found}
        assert {view: " ".join(c for v, c, *_ in found if v == view) for view in VIEWS} == VIEWS
        assert all(text and about for _, _, text, about in found)
        assert {c: comments["readings", c] for c in READINGS_COLUMNS} == dict(READINGS_COLUMNS)
        assert {c: comments["windows", c] for c in WINDOWS_COLUMNS} == dict(WINDOWS_COLUMNS)
        assert connection.execute("select count(*) from readings").fetchall() == [(200,)]


def test_an_answer_of_a_user_stands_for_a_place_in_the_log(store: PostgresStore) -> None:
    answer: Answer = store.ask(Sql("select count(*) from readings"))
    assert (answer.cursor.log, dict(answer.cursor.offsets)) == (LOG, {0: 1})
