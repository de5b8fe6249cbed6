"""Identities keep the contract: in memory, and in a file with small runs, so that every call meets several."""

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sonde.errors import Damaged
from sonde.ports import Claim, Identities
from sonde.store.identities import MemoryIdentities, SqliteIdentities
from sonde.testing.identities_contract import IdentitiesContract, claims


class TestMemoryIdentities(IdentitiesContract):
    @pytest.fixture
    def identities(self) -> Iterator[Identities]:
        identities = MemoryIdentities()
        yield identities
        identities.close()


class TestSqliteIdentities(IdentitiesContract):
    @pytest.fixture
    def identities(self, tmp_path: Path) -> Iterator[Identities]:
        identities = SqliteIdentities(tmp_path / "identities.db", run=64)
        yield identities
        identities.close()

    def test_they_are_there_after_the_file_was_opened_again(self, tmp_path: Path) -> None:
        for offset in range(20):
            identities = SqliteIdentities(tmp_path / "i.db", run=256)
            identities.first(0, claims(offset, range(offset * 50, offset * 50 + 100)), offset)
            identities.close()
        identities = SqliteIdentities(tmp_path / "i.db", run=256)
        found = [claim.offset for claim in identities.first(0, claims(99, range(1050)), 99)]
        assert found == [max(0, number // 50 - 1) for number in range(1050)]
        identities.forget(10, 10_000)
        identities.close()
        identities = SqliteIdentities(tmp_path / "i.db", run=256)
        assert list(identities.first(0, claims(100, range(10)), 100)) == claims(100, range(10))
        identities.close()

    @pytest.mark.parametrize("rounds", [3, pytest.param(20, marks=pytest.mark.all)])
    def test_a_kill_forgets_nothing_that_was_returned(self, tmp_path: Path, rounds: int) -> None:
        dice = random.Random(rounds)
        for _ in range(rounds):
            with subprocess.Popen([sys.executable, __file__, str(tmp_path / "i.db")], stdout=subprocess.PIPE) as child:
                assert child.stdout is not None
                child.stdout.readline()
                time.sleep(dice.random() / 3)  # the moment of the kill is what varies here
                child.kill()
                said = [int(line) for line in child.communicate()[0].splitlines(keepends=True) if line.endswith(b"\n")]
            identities = SqliteIdentities(tmp_path / "i.db", run=64)
            for offset in said:
                frame = claims(offset, range(offset * 30, offset * 30 + 30))
                later = [Claim(c.key, c.offset + 10**6, c.position) for c in frame]
                assert [(c.offset, c.position) for c in identities.first(0, later, 1)] == [
                    (c.offset, c.position) for c in frame
                ]
            identities.close()

    @pytest.mark.parametrize("where", [0, 100, 5000])
    def test_a_file_that_is_damaged_is_set_aside_once(self, tmp_path: Path, where: int) -> None:
        path = tmp_path / "i.db"
        identities = SqliteIdentities(path, run=64)
        for offset in range(10):
            identities.first(0, claims(offset, range(offset * 100, offset * 100 + 100)), offset)
        identities.close()
        data = bytearray(path.read_bytes())
        data[where : where + 4000] = b"\xa5" * 4000
        path.write_bytes(data)
        with pytest.raises(Damaged) as damaged:
            SqliteIdentities(path, run=64).first(0, claims(99, range(1000)), 99)
        assert Path(damaged.value.file).exists()
        assert not path.exists()
        fresh = SqliteIdentities(path, run=64)
        assert list(fresh.first(0, claims(5, range(100)), 5)) == claims(5, range(100))
        fresh.close()


def victim(path: Path) -> None:
    """Claim and say so, until killed."""
    identities = SqliteIdentities(path, run=64)
    offset = 0
    while True:
        identities.first(0, claims(offset, range(offset * 30, offset * 30 + 30)), offset)
        print(offset, flush=True)
        offset += 1


if __name__ == "__main__":
    victim(Path(sys.argv[1]))
