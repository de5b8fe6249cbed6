"""Looking at any log through its port: frames, what other programs wrote, and what cannot be read."""

from contextlib import closing
from pathlib import Path

import pytest

from sonde.entry import Body, Entry, EntryKind
from sonde.errors import Damaged, Hold, NotFound
from sonde.frame import Sealer
from sonde.keyring import KeyRing
from sonde.log.check import check, frames
from sonde.log.memory import MemoryLog
from sonde.log.segments import SegmentLog
from sonde.log.walk import WalkedLog
from sonde.ports import Log, Record
from sonde.sink.events import read_events

RING = KeyRing.generate()
EVENT = b'{"device": "press", "metric": "force", "value": 3.5}'


def sealed(count: int) -> list[bytes]:
    sealer = Sealer(RING)
    return [sealer.seal(Body([Entry(EntryKind.TICK)]), number) for number in range(count)]


def filled() -> MemoryLog:
    """Two frames, an event, what is neither, and a frame that was changed."""
    log = MemoryLog(partitions=2)
    first, second, third = sealed(3)
    log.append(1, [first, second])
    log.write(1, EVENT, 7_000_000)
    log.write(1, b"neither", 8_000_000)
    log.write(1, third[:-1] + bytes([third[-1] ^ 1]))
    return log


def test_verify_names_partition_and_offset_and_counts_what_others_wrote() -> None:
    found = check(filled(), RING)
    assert (found.partitions, found.frames, found.opened, found.events) == (2, 3, 2, 2)
    assert [(file, offset) for file, offset, _ in found.damage] == [("partition 1", 4)]
    assert not found.sound


def test_events_of_others_are_shown_as_readings_and_what_means_nothing_is_told() -> None:
    unread: list[Damaged] = []
    seen = list(frames(filled(), RING, damaged=unread.append, events=read_events))
    assert [(partition, offset) for partition, offset, _ in seen] == [(1, 0), (1, 1), (1, 2)]
    assert seen[2][2].header.log_time == 7_000_000
    assert seen[2][2].body.readings == 1
    assert [(damage.file, damage.offset) for damage in unread] == [("partition 1", 3), ("partition 1", 4)]
    with pytest.raises(Damaged, match="offset 3"):
        list(frames(filled(), RING, events=read_events))


def test_progress_comes_to_the_end() -> None:
    steps: list[tuple[int, int]] = []
    check(filled(), None, lambda done, total: steps.append((done, total)))
    assert steps[-1] == (5, 5)


def all_of(log: Log, limit_bytes: int) -> list[Record]:
    found: list[Record] = []
    offset, end = log.ends()[0]
    while offset < end:
        found += log.read(0, offset, limit_bytes)
        offset = found[-1].offset + 1
    return found


@pytest.mark.parametrize("limit_bytes", [1, 1000, 1 << 20])
def test_a_log_that_is_only_looked_at_gives_what_its_owner_gives(tmp_path: Path, limit_bytes: int) -> None:
    with closing(SegmentLog(tmp_path, segment_bytes=2000)) as owner, closing(WalkedLog(tmp_path)) as looked:
        for frame in sealed(40):
            owner.append(0, [frame])
        assert looked.id == owner.id
        assert looked.ends() == owner.ends()
        assert all_of(looked, limit_bytes) == all_of(owner, limit_bytes)
        assert not looked.read(0, 40, limit_bytes)
        owner.append(0, sealed(1))
        assert [record.offset for record in looked.read(0, 40, limit_bytes)] == [40]
        owner.cut(0, 20)
        first = owner.ends()[0][0]
        assert looked.ends()[0] == (first, 41)
        with pytest.raises(NotFound):
            looked.read(0, 0, limit_bytes)
        with pytest.raises(Hold):
            looked.append(0, sealed(1))
        with pytest.raises(Hold):
            looked.cut(0, 30)
