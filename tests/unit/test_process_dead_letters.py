"""What cannot be read is put away before it is passed over, and comes back to its place."""

import hashlib
import json
from typing import Any

import pytest

from sonde.clock import SECOND
from sonde.entry import Entry, EntryKind, Lane
from sonde.errors import Invalid, Problem, Retry
from sonde.frame import Frame, Opener
from sonde.log.dead_letters import MemoryDeadLetters
from sonde.ports import DeadLetter
from sonde.process.following import Following
from sonde.sink.events import SOURCE, read_events, refuse_events
from tests.processor_world import T0, World, reading


class Mistaken(Opener):
    """An opener with a mistake that somebody mends: it cannot read frames of so many readings."""

    mistake: int | None = 7

    def open(self, data: bytes | memoryview, *, file: str = "frame", offset: int = 0) -> Frame:
        frame = super().open(data, file=file, offset=offset)
        if frame.body.readings == self.mistake:
            raise Invalid(Problem(None, "body", "a mistake of this version"))
        return frame


class Lettered(World):
    """A world whose processor keeps dead letters, and takes events of other programs."""

    def __init__(self, events: Any = read_events) -> None:
        super().__init__()
        self.letters = MemoryDeadLetters(self.log.write)
        self.opener = Mistaken(self.ring)
        self.events = events
        self.restart()

    def restart(self) -> None:
        self.processor = self.another(events=self.events, dead_letters=self.letters)
        self.processor._opener = self.opener

    def event(self, **fields: Any) -> None:
        self.raw(json.dumps({"device_id": "d", "sensor_type": "temperature", **fields}).encode())

    def raw(self, record: bytes) -> None:
        self.now += SECOND
        self.log.write(0, record, self.now)

    def batch(self, seq: int, rows: int, count: int) -> None:
        """An entry of a node's stream."""
        digest = hashlib.sha256(b"%d" % seq).digest()[:16]
        entry = Entry(EntryKind.READINGS, "node", rows, digest, b"", Lane.LIVE, "epoch", seq, count)
        self.write(entry, readings=[reading(float(100 * seq + i), seq + i / 10) for i in range(rows)])


def test_a_poison_frame_is_put_away_and_the_partition_goes_on() -> None:
    world = Lettered()
    world.batch(1, 2, 2)
    world.batch(2, 7, 9)
    world.batch(3, 1, 10)
    world.catch_up()
    assert sorted(world.values()) == [100.0, 101.0, 300.0]
    [letter] = world.letters.letters(10)
    assert (letter.name, letter.reason) == ("0:1", "poison")
    assert "a mistake of this version" in letter.why
    assert world.measured("processor_dead_letters_total", reason="poison") == 1
    assert [mark.reason for mark in world.store.marks] == ["set_aside"]


def test_a_retried_batch_fills_its_hole_and_is_not_taken_for_a_duplicate() -> None:
    world = Lettered()
    for seq, rows, count in ((1, 2, 2), (2, 7, 9), (3, 1, 10)):
        world.batch(seq, rows, count)
    world.catch_up()
    stream = world.store.streams["node", "epoch", Lane.LIVE]
    assert stream.holes == ((2, 2, 7, T0 + 3 * SECOND),)
    world.opener.mistake = None
    [letter] = world.letters.letters(10)
    world.letters.take_back(letter)
    world.catch_up()
    assert len(world.values()) == 10
    assert world.store.streams["node", "epoch", Lane.LIVE].holes == ()
    line = world.store.ledger["node", Lane.LIVE]
    assert (line.declared, line.stored, line.duplicate) == (10, 10, 0)
    assert list(world.letters.letters(10)) == []


def test_taken_back_twice_it_is_stored_once() -> None:
    world = Lettered()
    world.batch(1, 7, 7)
    world.event(value=1.0, event_id="a", ts_event=1767225600)
    world.catch_up()
    world.opener.mistake = None
    [letter] = world.letters.letters(10)
    world.letters.take_back(letter)
    world.letters.take_back(letter)
    world.catch_up()
    assert len(world.values()) == 8
    assert world.store.ledger["node", Lane.LIVE].duplicate == 7


def test_a_letter_is_kept_before_the_processor_passes_over() -> None:
    """Mistake: an unexpected record is skipped because the place to put it was away."""
    world = Lettered()
    world.raw(b"no event")
    away = True
    put = world.letters.put

    def sometimes(letter: DeadLetter) -> None:
        if away:
            raise Retry("the broker is away")
        put(letter)

    world.letters.put = sometimes  # type: ignore[method-assign]
    with pytest.raises(Retry):
        world.processor.step(0.0)
    assert world.store.commits == 0
    away = False
    world.catch_up()
    assert [letter.name for letter in world.letters.letters(10)] == ["0:0"]
    assert world.processor.position == 1


def test_a_crash_between_letter_and_commit_makes_no_second_letter() -> None:
    world = Lettered()
    world.raw(b"no event")

    def crash(_: Any) -> None:
        world.store.before = lambda _: None
        raise Retry("gone")

    world.store.before = crash
    with pytest.raises(Retry):
        world.processor.step(0.0)
    world.restart()
    world.catch_up()
    assert len(world.letters.letters(10)) == 1
    assert len(world.store.marks) == 1


def test_events_stand_beside_frames_and_are_stored_once() -> None:
    world = Lettered()
    world.event(value=1.5, event_id="a", ts_event="2026-01-01T00:00:05Z")
    world.send(reading(2.5, 6))
    world.event(value=1.5, event_id="a", ts_event="2026-01-01T00:00:05Z")
    world.event(value=9.9, event_id="a", ts_event="2026-01-01T00:00:05Z")
    world.event(value=3.5, ts_event="2026-01-01T00:00:07Z")
    world.event(value=3.5, ts_event="2026-01-01T00:00:07Z")
    world.event(value=4.5)
    world.event(value=4.5)
    world.catch_up()
    assert sorted(world.values()) == [1.5, 2.5, 3.5, 4.5, 4.5]
    line = world.store.ledger[SOURCE, Lane.DIRECT]
    assert (line.stored, line.duplicate, line.set_aside) == (4, 2, 1)
    assert list(world.letters.letters(10)) == []


def test_an_event_far_ahead_is_stored_and_marked() -> None:
    world = Lettered()
    world.event(value=1.5, event_id="a", ts_event="2099-01-01T00:00:00Z")
    world.catch_up()
    [quality] = {q for table in world.store.readings for q in table["quality"].to_pylist()}
    assert quality == 4


def test_an_event_came_no_earlier_than_what_stands_before_it() -> None:
    world = Lettered()
    world.send(reading(2.5, 6))
    came = world.now
    for time in (0, 5 * SECOND):  # of a log that says nothing, and of a producer whose clock stands at 1970
        world.log.write(
            0, b'{"device_id": "d", "sensor_type": "t", "value": 1, "ts_event": "2026-01-01T00:00:05Z"}', time
        )
    world.catch_up()
    assert {q for table in world.store.readings for q in table["quality"].to_pylist()} == {0}
    assert world.store.load().progress[0].log_time == came


def test_of_an_event_of_which_nobody_knows_when_it_came_no_clock_is_marked() -> None:
    world = Lettered()
    world.log.write(0, b'{"device_id": "d", "sensor_type": "t", "value": 1, "ts_event": "2026-01-01T00:00:05Z"}')
    world.catch_up()
    assert {q for table in world.store.readings for q in table["quality"].to_pylist()} == {0}


def test_what_is_no_event_goes_to_the_letters_as_it_was() -> None:
    world = Lettered()
    world.raw(b"")
    world.raw(b'{"device_id": "d"')
    world.event(value=1.0, unit="ppm")
    world.event(value=2.0)
    world.catch_up()
    letters = world.letters.letters(10)
    assert [letter.frame[:17] for letter in letters[:2]] == [b"", b'{"device_id": "d"']
    assert "unit" in letters[2].why
    assert world.values() == [2.0]


def test_refused_events_are_read_when_they_are_allowed_and_taken_back() -> None:
    world = Lettered(refuse_events)
    world.event(value=1.5, event_id="a", ts_event="2026-01-01T00:00:05Z")
    world.catch_up()
    [letter] = world.letters.letters(10)
    assert "plain_events = yes" in letter.why
    world.events = read_events
    world.restart()
    world.letters.take_back(letter)
    world.catch_up()
    assert world.values() == [1.5]


def test_the_live_feed_shows_events_too() -> None:
    world = Lettered()
    world.event(value=1.5, event_id="a")
    world.send(reading(2.5))
    world.event(value=3.5, event_id="b")
    world.catch_up()
    following = Following(world.log, world.store.load, world.identities, world.opener, stored=dict, events=read_events)
    fresh = following.read(0, 0, 1 << 20)
    values = [v for one in fresh if one.batch is not None for v in one.batch.columns["value"].to_pylist()]
    assert values == [1.5, 2.5, 3.5]
    assert following.at(0, T0 + 3 * SECOND) == 2
