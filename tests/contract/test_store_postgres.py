"""The store in PostgreSQL keeps the contracts: of all stores, and of floors and purges, housekeeping done or not."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from sonde.ports import Store
from sonde.store.postgres.store import PostgresStore
from sonde.testing.partitions_contract import PartitionsAskedContract
from sonde.testing.removal_contract import RemovalContract
from sonde.testing.store_contract import StoreContract
from sonde.testing.store_feed import LOG
from tests.servers.postgres import PostgresServer

pytestmark = pytest.mark.all


class TestStore(StoreContract):
    @pytest.fixture
    def store(self, tables: str) -> Iterator[Store]:
        store = PostgresStore(tables, LOG)
        yield store
        store.close()


class TestPartitions(PartitionsAskedContract):
    @pytest.fixture
    def store(self, tables: str) -> Iterator[Store]:
        store = PostgresStore(tables, LOG)
        yield store
        store.close()


class TestRemoval(RemovalContract):
    @pytest.fixture
    def make(self, postgres: PostgresServer) -> Iterator[Callable[[], Store]]:
        with ExitStack() as stack:

            def make() -> PostgresStore:
                store = PostgresStore(postgres.url(stack.enter_context(postgres.database())), LOG)
                stack.callback(store.close)
                return store

            yield make
