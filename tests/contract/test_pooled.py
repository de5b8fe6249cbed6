"""Behind a pooler that lends connections for a transaction, store, identities and control keep the same contracts; what cannot
work there is found out, and done otherwise; and nothing is left behind in a session that others get next."""

from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from sonde.clock import Clock
from sonde.control.postgres.audit import PostgresAuditTrail
from sonde.control.postgres.control import PostgresControl
from sonde.ports import AuditTrail, Control, Identities, Store
from sonde.question import Sql
from sonde.store.postgres import migrate
from sonde.store.postgres.answers import Answers
from sonde.store.postgres.connections import Connections, connect
from sonde.store.postgres.identities import PostgresIdentities
from sonde.store.postgres.owner import OwnerLock
from sonde.store.postgres.step_reader import StepReader
from sonde.store.postgres.steps import StepWriter
from sonde.store.postgres.store import PostgresStore
from sonde.testing.audit_contract import AuditTrailContract
from sonde.testing.commands_contract import CommandsContract
from sonde.testing.control_contract import ControlContract
from sonde.testing.identities_contract import IdentitiesContract
from sonde.testing.readings_contract import ReadingsContract
from sonde.testing.store_feed import LOG
from sonde.testing.windows_contract import WindowsContract
from tests.contract.test_postgres_steps import LOG as STEPS
from tests.contract.test_postgres_steps import Seen, step, until
from tests.servers.pooler import Pooler, pooler
from tests.servers.postgres import PostgresServer

pytestmark = pytest.mark.all


@pytest.fixture(scope="module")
def between(postgres: PostgresServer) -> Iterator[Pooler]:
    with pooler(postgres) as made:
        yield made


@pytest.fixture
def tables(tables: str, between: Pooler) -> Iterator[str]:
    """The address of a database with Sonde's tables, behind the pooler."""
    name = tables.rpartition("/")[2]
    yield between.url(name)
    assert between.left_behind(name) == set()


class TestStore(ReadingsContract, WindowsContract, CommandsContract):
    @pytest.fixture
    def store(self, tables: str) -> Iterator[Store]:
        store = PostgresStore(tables, LOG)
        yield store
        store.close()


class TestIdentities(IdentitiesContract):
    @pytest.fixture
    def identities(self, connections: Connections) -> Identities:
        return PostgresIdentities(connections)


class TestControl(ControlContract):
    @pytest.fixture
    def control(self, clock: Clock, connections: Connections) -> Iterator[Control]:
        with closing(PostgresControl(connections, clock)) as control:
            yield control


class TestAuditTrail(AuditTrailContract):
    @pytest.fixture
    def trail(self, connections: Connections) -> AuditTrail:
        return PostgresAuditTrail(connections)


def test_what_stays_in_a_session_is_found(postgres: PostgresServer, between: Pooler) -> None:
    """So that the check of the others can fail."""
    with postgres.database() as name:
        with psycopg.connect(between.url(name), autocommit=True, prepare_threshold=0) as connection:
            connection.execute("select 1")
            connection.execute("listen someone")
            connection.execute("set statement_timeout = 1234")
        left = between.left_behind(name)
    assert {"it listens to someone", "statement_timeout = 1234", "the prepared statement select 1"} <= left


def test_the_tables_are_made_through_it(postgres: PostgresServer, between: Pooler) -> None:
    with postgres.database() as name:
        assert migrate.upgrade(between.url(name)) is None
        assert migrate.current(between.url(name)) == migrate.head()
        assert between.left_behind(name) == set()


def test_steps_are_looked_for_since_nobody_can_listen(tables: str, connections: Connections) -> None:
    seen = Seen()
    with (
        closing(StepReader(connections, lambda: connect(tables), STEPS, [seen])) as reader,
        closing(StepWriter(connections)) as writer,
    ):
        reader.start()
        assert reader.wait(60)
        until(lambda: reader.listens is False)
        for offset in range(3):
            writer.committed(step(offset))
        until(lambda: len(seen.places) == 3)
    assert seen.places == [(0, 0), (0, 1), (0, 2)]


def test_an_owner_has_its_lock_until_it_goes(tables: str) -> None:
    first, second = (OwnerLock(lambda: connect(tables), "the house") for _ in range(2))
    with closing(first), closing(second):
        assert first.held()
        assert not second.held()
        first.close()
        until(second.held)


def test_users_ask_as_those_who_may_only_read(tables: str) -> None:
    with closing(Connections(tables)) as connections:
        question = Sql("select current_user, current_setting('transaction_read_only') as reads", 10.0, 10)
        assert Answers(connections, LOG).ask(question).rows.to_pylist() == [
            {"current_user": "sonde_read", "reads": "on"}
        ]
