"""What the processor does when it cannot go on: it waits, or sets aside and says so; it never skips."""

import struct
import time
import zlib

import pytest

from sonde.changes import Changes
from sonde.clock import SystemClock
from sonde.entry import Body, Entry, EntryKind
from sonde.errors import Damaged, Hold, KeyMissing, NewerFormat, Retry
from sonde.frame import HEADER_BYTES, Sealer
from sonde.keyring import KeyRing
from sonde.reading import Batch
from tests.processor_world import T0, TornLog, World, reading, running, until


def test_it_holds_while_a_key_is_missing_and_goes_on_when_it_is_back() -> None:
    world = World()
    world.send(reading(1.0))
    other = KeyRing.generate("key-2")
    world.sealer = Sealer(other)
    world.send(reading(2.0))
    keys = dict(world.ring.keys)
    processor = world.another(KeyRing("key-1", keys))
    with running(processor):
        until(lambda: processor.problem is not None)
        assert "key-2" in str(processor.problem)
        assert world.values() == [1.0]  # what can be read is stored
        keys.update(other.keys)
        until(lambda: len(world.values()) == 2)
        until(lambda: processor.problem is None)


def test_it_holds_rather_than_set_everything_aside_when_a_key_of_that_name_is_another() -> None:
    world = World()
    world.send(reading(1.0))
    world.send(reading(2.0))
    world.processor = world.another(KeyRing.generate("key-1"))
    with pytest.raises(Damaged, match="key-1"):
        world.processor.step(0.0)
    assert world.store.commits == 0


@pytest.mark.parametrize("tampered", [0, 1, 2])
def test_a_frame_that_was_changed_is_set_aside_and_the_rest_goes_on(tampered: int) -> None:
    world = World()
    frames = []
    for value in (1.0, 2.0, 3.0):
        body = Body([Entry(EntryKind.READINGS, "web", 1)], Batch.of([reading(value)]))
        frames.append(world.sealer.seal(body, T0))
    header, sealed = frames[tampered][:HEADER_BYTES], bytearray(frames[tampered][HEADER_BYTES:])
    sealed[5] ^= 1
    frames[tampered] = forged(header, bytes(sealed))
    world.log.append(0, frames)
    world.catch_up()
    assert sorted(world.values()) == [v for i, v in enumerate((1.0, 2.0, 3.0)) if i != tampered]
    (mark,) = world.store.marks
    assert (mark.offset, mark.reason, mark.readings) == (tampered, "set_aside", 1)
    assert world.measured("processor_set_aside_readings_total", reason="damaged") == 1


def forged(header: bytes, sealed: bytes) -> bytes:
    """A frame whose checksums are right and whose seal is not."""
    fields = header[:-8] + struct.pack("<I", zlib.crc32(sealed))
    return fields + struct.pack("<I", zlib.crc32(fields)) + sealed


def test_a_poison_frame_is_set_aside_with_what_its_header_says() -> None:
    world = World()
    world.send(reading(1.0))
    world.log.append(0, [world.sealer.seal_encoded(b"\xff" * 20, 1, 42, T0)])
    world.send(reading(2.0, 1))
    world.catch_up()
    assert world.values() == [1.0, 2.0]
    (mark,) = world.store.marks
    assert (mark.offset, mark.readings, mark.reason) == (1, 42, "set_aside")
    assert "poison" in mark.detail
    line = world.store.ledger["", 0]
    assert (line.set_aside, line.conflicting) == (42, 42)
    assert world.measured("processor_set_aside_readings_total", reason="poison") == 42


def test_damage_in_the_log_is_set_aside_with_file_and_offset() -> None:
    log = TornLog()
    world = World(log)
    for value in (1.0, 2.0, 3.0, 4.0):
        world.send(reading(value, value))
    log.lost = (1, 3)
    world.catch_up()
    assert world.values() == [1.0, 4.0]
    (mark,) = world.store.marks
    assert mark.offset == 1
    assert "00000.segment" in mark.detail
    assert world.processor.position == 4


def test_it_holds_before_an_entry_of_a_kind_that_it_does_not_know() -> None:
    world = World()
    world.send(reading(1.0))
    world.write(Entry(99, "api"))
    world.send(reading(2.0))
    with pytest.raises(NewerFormat, match="kind 99"):
        world.catch_up()
    assert world.values() == [1.0]
    assert world.processor.position == 1


def test_it_holds_when_the_log_was_cut_above_where_the_store_stands() -> None:
    world = World()
    world.send(reading(1.0))
    world.send(reading(2.0))
    world.log.cut(0, 1)
    with pytest.raises(Hold, match="checkpoint"):
        world.processor.step(0.0)


def test_a_processor_that_was_overtaken_writes_nothing_and_goes_on_from_there() -> None:
    world = World()
    world.send(reading(1.0))
    late = world.another()
    assert late.step(0.0)
    world.send(reading(2.0, 1))
    world.catch_up()
    world.send(reading(3.0, 2))
    assert not late.step(0.0)
    assert late.step(0.0)
    assert world.values() == [1.0, 2.0, 3.0]


def test_a_full_disk_is_waited_out() -> None:
    world = World()
    world.send(reading(1.0))
    full = True

    def refuse(_: Changes) -> None:
        if full:
            raise Retry("the disk is full", hint="Make room")

    world.store.before = refuse
    with running(world.processor):
        until(lambda: world.processor.problem == "the disk is full. Make room")
        full = False
        until(lambda: world.values() == [1.0])
        until(lambda: world.processor.problem is None)


def test_after_a_pause_readings_are_stored_at_once_and_under_load_gathered() -> None:
    world = World()
    world.processor = world.another(linger=0.3, clock=SystemClock())
    started = time.monotonic()
    world.send(reading(1.0))
    assert world.processor.step(5.0)
    assert time.monotonic() - started < 0.25
    world.send(reading(2.0))
    assert world.processor.step(5.0)
    assert time.monotonic() - started > 0.29
    world.send(reading(3.0))
    world.processor = world.another(max_readings=1, linger=30.0, clock=SystemClock())
    assert world.processor.step(5.0)  # enough gathered: it does not wait for more
    assert time.monotonic() - started < 5


def test_lag_is_what_the_log_holds_beyond_the_store() -> None:
    world = World()
    world.send(reading(1.0))
    world.catch_up()
    assert world.processor.lag().frames == 0
    world.send(reading(2.0))
    world.send(reading(3.0))
    assert world.processor.lag().frames == 2
    assert world.processor.lag().seconds > 0
    world.catch_up()
    assert world.measured("processor_lag_frames") == 0


def test_a_missing_key_has_its_own_error() -> None:
    world = World()
    world.send(reading(1.0))
    processor = world.another(KeyRing.generate("another"))
    with pytest.raises(KeyMissing):
        processor.step(0.0)
