"""Every adapter of port ``Outbox``."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sonde.keyring import KeyRing
from sonde.node.outbox import MemoryOutbox, SqliteOutbox
from sonde.testing.outbox_contract import MakeOutbox, OutboxContract


class TestMemory(OutboxContract):
    @pytest.fixture
    def make(self) -> MakeOutbox:
        return lambda limit: MemoryOutbox(limit_bytes=limit)


class TestSqlite(OutboxContract):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Iterator[MakeOutbox]:
        made: list[SqliteOutbox] = []

        def make(limit: int) -> SqliteOutbox:
            made.append(SqliteOutbox(tmp_path / f"{len(made)}.db", KeyRing.generate(), limit_bytes=limit))
            return made[-1]

        yield make
        for outbox in made:
            outbox.close()
