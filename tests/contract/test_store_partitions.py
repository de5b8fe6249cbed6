"""The port ``Store`` over a log of several partitions: its contract, for the store that tests compare others with."""

import pytest

from sonde.ports import Store
from sonde.testing.partitions_contract import PartitionsContract
from sonde.testing.plain_store import PlainStore


class TestPlainStore(PartitionsContract):
    @pytest.fixture
    def store(self) -> Store:
        return PlainStore()
