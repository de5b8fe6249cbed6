"""Every adapter of port ``Log``."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sonde.errors import Retry
from sonde.log.memory import MemoryLog
from sonde.log.segments import SegmentLog
from sonde.testing.log_contract import LogContract, MakeLog, frames


class TestMemory(LogContract):
    @pytest.fixture
    def make(self) -> MakeLog:
        return MemoryLog

    def test_it_is_bounded(self) -> None:
        some = frames(4)
        log = MemoryLog(limit_bytes=sum(map(len, some)))
        log.append(0, some)
        with pytest.raises(Retry):
            log.append(0, frames(1))
        log.cut(0, 1)
        assert log.append(0, frames(1)) == 4


class TestSegments(LogContract):
    segment_bytes = 1 << 28

    @pytest.fixture
    def make(self, tmp_path: Path) -> Iterator[MakeLog]:
        made: list[SegmentLog] = []

        def make(partitions: int) -> SegmentLog:
            path = tmp_path / str(len(made))
            made.append(SegmentLog(path, partitions=partitions, segment_bytes=self.segment_bytes))
            return made[-1]

        yield make
        for log in made:
            log.close()


class TestSmallSegments(TestSegments):
    """A few frames a segment: every read and cut crosses files."""

    segment_bytes = 1500
