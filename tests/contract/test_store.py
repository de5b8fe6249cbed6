"""The embedded store keeps the contract: in a file where housekeeping has much to do, and in memory."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sonde.ports import Store
from sonde.store.duckdb import DuckStore
from sonde.store.memory import MemoryStore
from sonde.testing.store_contract import StoreContract
from sonde.testing.store_feed import LOG


class TestInAFile(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        store = DuckStore(tmp_path, LOG, hot_rows=100, window_rows=50, checkpoint_seconds=0.0)
        yield store
        store.verify_parts()
        store.close()


class TestInMemory(StoreContract):
    @pytest.fixture
    def store(self) -> Iterator[Store]:
        store = MemoryStore(LOG)
        yield store
        store.close()
