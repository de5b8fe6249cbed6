"""The embedded store keeps the contract of floors and purges: in a file where all is sealed at once, and in memory."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sonde.ports import Store
from sonde.store.duckdb import DuckStore
from sonde.store.memory import MemoryStore
from sonde.testing.removal_contract import RemovalContract
from sonde.testing.store_feed import LOG


class TestInAFile(RemovalContract):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Iterator[Callable[[], Store]]:
        made: list[DuckStore] = []

        def make() -> DuckStore:
            path = tmp_path / str(len(made))
            made.append(DuckStore(path, LOG, hot_rows=100, window_rows=50, checkpoint_seconds=0.0))
            return made[-1]

        yield make
        for store in made:
            store.verify_parts()
            store.close()


class TestInMemory(RemovalContract):
    @pytest.fixture
    def make(self) -> Iterator[Callable[[], Store]]:
        made: list[DuckStore] = []

        def make() -> DuckStore:
            made.append(MemoryStore(LOG))
            return made[-1]

        yield make
        for store in made:
            store.close()
