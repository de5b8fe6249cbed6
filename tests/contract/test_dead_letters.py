"""Dead letters keep the contract: in memory."""

from collections.abc import Iterator

import pytest

from sonde.errors import Retry
from sonde.log.dead_letters import MemoryDeadLetters
from sonde.log.memory import MemoryLog
from sonde.testing.dead_letters_contract import Beside, DeadLettersContract, letter


class TestMemoryDeadLetters(DeadLettersContract):
    @pytest.fixture
    def beside(self) -> Iterator[Beside]:
        log = MemoryLog(2)

        def records(partition: int) -> list[tuple[int, bytes]]:
            end = log.ends()[partition][1]
            return [(r.offset, r.frame) for r in log.read(partition, 0, 1 << 20)] if end else []

        yield Beside(MemoryDeadLetters(log.write), records)
        log.close()

    def test_they_are_bounded_and_say_so(self) -> None:
        letters = MemoryDeadLetters(MemoryLog().write, limit_bytes=100)
        letters.put(letter(0, 1, bytes(60)))
        with pytest.raises(Retry, match="no room"):
            letters.put(letter(0, 2, bytes(60)))
        letters.take_back(letter(0, 1, bytes(60)))
        letters.put(letter(0, 2, bytes(60)))
