"""The schema of the database: made by whoever comes first, refused when it is another's, with words that say what to do."""

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from sonde.errors import Hold, NewerFormat, Retry
from sonde.store.postgres import migrate
from sonde.store.postgres.store import PostgresStore
from sonde.store.postgres.trouble import meaning
from sonde.testing.store_feed import LOG, START, Feed, Row, building
from tests.servers.postgres import PostgresServer

pytestmark = pytest.mark.all


def name_of(address: str) -> str:
    return address.rpartition("/")[2]


def test_many_processes_that_start_at_once_make_the_tables_once(database: str) -> None:
    assert migrate.current(database) is None
    with ThreadPoolExecutor(6) as pool:
        stores = list(pool.map(lambda _: PostgresStore(database, LOG), range(6)))
    try:
        for number, store in enumerate(stores):
            store.commit(Feed(partition=number).step([Row(0, START, 1.0)], building(1)))
    finally:
        for store in stores:
            store.close()
    assert migrate.current(database) == migrate.head()
    assert migrate.upgrade(database) == migrate.head(), "and there is nothing more to do"


def test_an_older_schema_is_refused_until_it_is_upgraded(postgres: PostgresServer, database: str) -> None:
    migrate.upgrade(database, "0001")
    with pytest.raises(Hold, match=r"version 0001, and this Sonde needs .* sonde migrate"):
        PostgresStore(database, LOG)
    assert migrate.upgrade(database) == "0001"
    PostgresStore(database, LOG).close()
    assert postgres.execute("select count(*) from sonde.readings", database=name_of(database)) == [(0,)]


def test_a_newer_schema_is_refused_and_left_alone(postgres: PostgresServer, tables: str) -> None:
    postgres.execute("update store.schema_version set version_num = '9999'", database=name_of(tables))
    with pytest.raises(NewerFormat, match=r"version 9999.*upgrade this one too"):
        PostgresStore(tables, LOG)
    with pytest.raises(NewerFormat):
        migrate.upgrade(tables)


def test_a_user_without_rights_is_told_what_to_ask_for(postgres: PostgresServer, database: str) -> None:
    name = name_of(database)
    postgres.execute(f"alter database {name} owner to postgres")
    with pytest.raises(Hold, match=f'GRANT CREATE ON DATABASE "{name}" TO "sonde"'):
        PostgresStore(database, LOG)
    postgres.execute(f"grant create on database {name} to sonde")
    PostgresStore(database, LOG).close()


def test_tables_in_use_are_not_waited_for_without_end(
    postgres: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "_PATIENCE", "1s")
    with psycopg.connect(database) as other:
        other.execute("select pg_advisory_xact_lock(%s)", (migrate._LOCK,))
        with pytest.raises(Hold, match=r"in use.*Stop the processors"):
            PostgresStore(database, LOG)
    PostgresStore(database, LOG).close()


@pytest.mark.parametrize(
    ("wrong", "meant", "words"),
    [
        ("postgresql://sonde@127.0.0.1:{port}/nowhere", Hold, "does not exist"),
        ("postgresql://nobody@127.0.0.1:{port}/{name}", Hold, "does not exist"),
        ("postgresql://sonde@127.0.0.1:1/{name}", Retry, "away"),
        ("postgresql://sonde@127.0.0.1:{port}/{name}?nonsense=1", Hold, "url"),
        ("postgresql://sonde@127.0.0.1:{port}/{name}?sslmode=require", Hold, "SSL"),
    ],
)
def test_an_address_that_does_not_work_says_why(
    postgres: PostgresServer, database: str, wrong: str, meant: type[Exception], words: str
) -> None:
    with pytest.raises(meant, match=words):
        PostgresStore(wrong.format(port=postgres.port, name=name_of(database)), LOG)


@pytest.mark.parametrize(
    ("sql", "meant", "words"),
    [
        ("select pg_terminate_backend(pg_backend_pid())", Retry, "away"),
        ("set statement_timeout = 1; select pg_sleep(10)", Retry, "took too long"),
        ("do $$ begin raise sqlstate '40001'; end $$", Retry, "busy"),
        ("do $$ begin raise sqlstate '40P01'; end $$", Retry, "busy"),
        ("do $$ begin raise sqlstate '53100' using message = 'no space left on device'; end $$", Retry, "disk is full"),
        ("do $$ begin raise sqlstate '53200'; end $$", Retry, "locks"),
        ("begin read only; create table public.t (a int)", Retry, "standby"),
        ("select * from pg_authid", Hold, "refuses this user"),
        ("select * from store.nowhere", Hold, "sonde migrate"),
        ("select 1 / 0", Hold, "refused what it should have done"),
        ("do $$ begin raise sqlstate 'XX001'; end $$", Hold, "damaged"),
    ],
)
def test_what_the_server_says_has_a_meaning(database: str, sql: str, meant: type[Exception], words: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection, pytest.raises(psycopg.Error) as caught:
        connection.execute(sql.encode())
    error = meaning(caught.value)
    assert isinstance(error, meant)
    assert words in str(error)
