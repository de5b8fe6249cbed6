"""What every adapter of port ``Log`` must do. Subclass it, and give ``make`` as a fixture."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from sonde.entry import Body, Entry, EntryKind
from sonde.errors import Invalid, NotFound, Retry
from sonde.frame import Codec, Sealer
from sonde.keyring import KeyRing
from sonde.ports import Log, Record

MakeLog = Callable[[int], Log]
"""Makes an empty log with so many partitions."""

ROOMY = 1 << 26
DEADLINE = 30.0


def frames(count: int, *, size: int = 10, sealer: Sealer | None = None) -> list[bytes]:
    """So many whole frames, each different, with about ``size`` bytes of content."""
    sealer = sealer or Sealer(KeyRing.generate(), Codec.PLAIN)
    entry = Entry(EntryKind.COUNTERS, payload="." * size)
    return [sealer.seal(Body([entry]), i) for i in range(count)]


def everything(log: Log, partition: int = 0, offset: int = 0, *, limit: int = ROOMY) -> list[Record]:
    """All that is durable from ``offset`` on, read in steps of ``limit`` bytes."""
    found: list[Record] = []
    while step := log.read(partition, offset, limit):
        found += step
        offset = step[-1].offset + 1
    return found


def check_offsets(records: Sequence[Record], first: int = 0) -> None:
    """They start at ``first`` and none is left out."""
    assert [r.offset for r in records] == list(range(first, first + len(records)))


class LogContract:
    """Tests of one adapter."""

    @pytest.fixture
    def make(self) -> MakeLog:
        raise NotImplementedError

    @pytest.fixture
    def log(self, make: MakeLog) -> Iterator[Log]:
        log = make(1)
        yield log
        log.close()

    def test_an_empty_log_begins_and_ends_at_zero(self, log: Log) -> None:
        assert log.ends() == {0: (0, 0)}
        assert list(log.read(0, 0, ROOMY)) == []

    def test_its_id_can_stand_in_a_cursor_and_is_its_own(self, make: MakeLog) -> None:
        one, other = make(1), make(1)
        assert one.id.isalnum()
        assert one.id.isascii()
        assert one.id != other.id
        one.close()
        other.close()

    def test_what_is_appended_is_read_in_order_and_unchanged(self, log: Log) -> None:
        written = frames(20)
        assert log.append(0, written[:1]) == 0
        assert log.append(0, written[1:7]) == 1
        assert log.append(0, written[7:]) == 7
        assert log.ends() == {0: (0, 20)}
        found = everything(log)
        check_offsets(found)
        assert [r.frame for r in found] == written

    def test_appending_nothing_changes_nothing(self, log: Log) -> None:
        log.append(0, frames(3))
        assert log.append(0, []) == 3
        assert log.ends() == {0: (0, 3)}

    def test_reading_starts_anywhere(self, log: Log) -> None:
        written = frames(9)
        log.append(0, written[:4])
        log.append(0, written[4:])
        for offset in range(9):
            assert [r.frame for r in everything(log, offset=offset)] == written[offset:]

    def test_a_read_is_bounded_but_gives_at_least_one(self, log: Log) -> None:
        written = frames(30, size=1000)
        log.append(0, written)
        limit = 3 * len(written[0]) + 200
        step = log.read(0, 0, limit)
        assert 1 <= len(step) <= 3
        assert len(log.read(0, 0, 1)) == 1
        assert [r.frame for r in everything(log, limit=limit)] == written
        assert [r.frame for r in everything(log, limit=1)] == written

    def test_large_frames_and_many_at_once(self, log: Log) -> None:
        sealer = Sealer(KeyRing.generate(), Codec.FERNET)
        written = [sealer.seal(Body([Entry(1, payload=bytes([i]) * 9_000_000)]), i) for i in range(3)]
        written += frames(3000)
        assert log.append(0, written) == 0
        assert [r.frame for r in everything(log)] == written

    def test_partitions_count_for_themselves(self, make: MakeLog) -> None:
        log = make(3)
        written = frames(6)
        assert log.append(2, written[:2]) == 0
        assert log.append(0, written[2:3]) == 0
        assert log.append(2, written[3:]) == 2
        assert log.ends() == {0: (0, 1), 1: (0, 0), 2: (0, 5)}
        assert [r.frame for r in everything(log, 2)] == written[:2] + written[3:]
        assert [r.frame for r in everything(log, 0)] == written[2:3]
        with pytest.raises(NotFound):
            log.append(3, written)
        with pytest.raises(NotFound):
            log.read(3, 0, ROOMY)
        log.close()

    def test_what_is_not_a_whole_frame_is_refused(self, log: Log) -> None:
        good = frames(2)
        for bad in (b"", b"no frame", good[0][:-1], good[0] + b"\0", good[0][:60] + b"!" + good[0][61:]):
            with pytest.raises(Invalid):
                log.append(0, [good[0], bad])
        assert log.ends() == {0: (0, 0)}
        assert log.append(0, good) == 0

    def test_a_reader_at_the_end_waits_and_is_woken(self, log: Log) -> None:
        written = frames(2)
        log.append(0, written[:1])
        assert list(log.read(0, 1, ROOMY, wait=0.01)) == []
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(log.read, 0, 1, ROOMY, DEADLINE)
            log.append(0, written[1:])
            assert [r.frame for r in waiting.result(DEADLINE)] == written[1:]

    def test_closing_wakes_who_waits(self, make: MakeLog) -> None:
        log = make(1)
        outcome: list[object] = []

        def wait() -> None:
            try:
                outcome.append(list(log.read(0, 0, ROOMY, DEADLINE)))
            except Retry:  # it was closed before the read began
                outcome.append([])

        thread = threading.Thread(target=wait)
        thread.start()
        log.close()
        thread.join(DEADLINE)
        assert outcome == [[]]

    def test_a_closed_log_takes_and_gives_nothing(self, make: MakeLog) -> None:
        log = make(1)
        log.append(0, frames(1))
        log.close()
        log.close()
        with pytest.raises(Retry):
            log.append(0, frames(1))
        with pytest.raises(Retry):
            log.read(0, 0, ROOMY)

    def test_cutting_takes_nothing_that_is_needed(self, log: Log) -> None:
        written = frames(10)
        log.append(0, written)
        log.cut(0, 6)
        first, end = log.ends()[0]
        assert first <= 6
        assert end == 10
        assert [r.frame for r in everything(log, offset=first)] == written[first:]
        log.cut(0, 0)
        assert log.ends()[0] == (first, end)
        log.cut(0, 100)
        assert log.ends()[0][1] == 10
        assert log.append(0, frames(1)) == 10

    def test_below_the_first_offset_nothing_is_found(self, log: Log) -> None:
        log.append(0, frames(4))
        log.cut(0, 4)
        first = log.ends()[0][0]
        with pytest.raises(NotFound):
            log.read(0, first - 1, ROOMY)

    def test_many_writers_and_readers(self, log: Log) -> None:
        groups = [[frames(1 + i % 3, size=500) for i in range(20)] for _ in range(4)]
        total = sum(len(f) for group in groups for f in group)
        placed: dict[int, bytes] = {}

        def write(group: list[list[bytes]]) -> None:
            for some in group:
                first = log.append(0, some)
                placed.update({first + i: frame for i, frame in enumerate(some)})

        def read() -> list[Record]:
            found: list[Record] = []
            while len(found) < total:
                step = log.read(0, len(found), 2000, DEADLINE)
                assert step, "nothing came in time"
                found += step
            return found

        with ThreadPoolExecutor(7) as pool:
            readers = [pool.submit(read) for _ in range(3)]
            writers = [pool.submit(write, group) for group in groups]
            for writer in writers:
                writer.result(DEADLINE)
            seen = [reader.result(DEADLINE) for reader in readers]
        for found in seen:
            check_offsets(found)
            assert {r.offset: r.frame for r in found} == placed
        for group in groups:  # one writer's appends stay in its order
            order = [next(o for o, f in placed.items() if f == some[0]) for some in group]
            assert all(a < b for a, b in pairwise(order))
