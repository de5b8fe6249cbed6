"""Rules that wait for data: what counts is when frames came, and the log alone decides."""

from typing import Any

import pytest

from sonde.clock import DAY, SECOND
from sonde.entry import Entry, EntryKind, Lane
from sonde.process.processor import Processor
from sonde.rule import Rule
from tests.processor_world import HOT, T0, World, reading

QUIET = Rule(id="quiet", metric="temperature", type="no_data", duration=5.0)


class Listening(World):
    """Frames come when a test says so, in seconds."""

    def at(self, seconds: float, *entries: Entry, **more: Any) -> None:
        self.now = T0 + round((seconds - 1) * SECOND)  # what is written comes a second later
        self.write(*entries, **more)

    def tick(self, *seconds: float) -> None:
        for one in seconds:
            self.at(one, Entry(EntryKind.TICK))

    def data(self, seconds: float, *, time: float | None = None, lane: int = Lane.DIRECT) -> None:
        some = reading(1.0, seconds if time is None else time)
        self.at(seconds, Entry(EntryKind.READINGS, "web", 1, b"", b"", lane), readings=[some])

    def told(self) -> list[tuple[Any, ...]]:
        self.catch_up()
        return sorted(
            (a.state, *map(_seconds, (a.since, a.fired_at, a.resolved_at))) for a in self.store.alerts.values()
        )


def _seconds(time: int | None) -> float | None:
    return None if time is None else (time - T0) / SECOND


@pytest.fixture(params=["all at once", "frame by frame"])
def world(request: pytest.FixtureRequest) -> Listening:
    world = Listening()
    if request.param == "frame by frame":
        tick, data = world.tick, world.data

        def ticking(*seconds: float) -> None:
            for one in seconds:
                tick(one)
                world.catch_up()
                world.processor = world.another()  # and begins anew each time

        def sending(*args: Any, **more: Any) -> None:
            data(*args, **more)
            world.catch_up()
            world.processor = world.another()

        world.tick, world.data = ticking, sending  # type: ignore[method-assign]
    return world


def test_nothing_for_long_enough_fires_and_data_resolve(world: Listening) -> None:
    world.rule(QUIET)
    world.data(2)
    world.tick(3, 4, 5, 6)
    assert world.told() == []
    world.tick(7.5)
    assert world.told() == [("firing", 2.0, 7.0, None)]
    world.data(9)
    assert world.told() == [("resolved", 2.0, 7.0, 9.0)]
    assert [event.event for event in world.store.events] == ["fired", "resolved"]


def test_data_that_come_in_time_fire_nothing(world: Listening) -> None:
    world.rule(QUIET)
    for seconds in range(2, 30, 4):
        world.data(seconds)
    assert world.told() == []


def test_a_silence_that_is_over_when_it_is_seen_was_one_all_the_same(world: Listening) -> None:
    world.rule(QUIET)
    world.data(2)
    world.data(8)
    assert world.told() == [("resolved", 2.0, 7.0, 8.0)]


def test_what_is_late_or_from_a_wrong_clock_is_no_data(world: Listening) -> None:
    world.rule(QUIET)
    world.data(2)
    world.data(4, time=1)
    world.data(5, time=5 * DAY / SECOND)
    world.tick(7)
    assert world.told() == [("firing", 2.0, 7.0, None)]


def test_a_pause_means_that_nobody_listened(world: Listening) -> None:
    world.rule(QUIET)
    world.data(2)
    world.tick(100, 104)
    assert world.told() == []
    world.tick(105)
    assert world.told() == [("firing", 100.0, 105.0, None)]


def test_what_was_silent_before_a_pause_stays_so(world: Listening) -> None:
    world.rule(QUIET)
    world.data(2)
    world.tick(6, 7)
    world.tick(300)
    assert world.told() == [("firing", 2.0, 7.0, None)]
    world.data(301)
    assert world.told() == [("resolved", 2.0, 7.0, 301.0)]


def test_a_rule_counts_from_when_it_was_set_and_knows_what_came_before(world: Listening) -> None:
    world.data(2)
    world.tick(5)
    world.at(8, Entry(EntryKind.RULE, "api", payload={"id": "quiet", "rule": QUIET.body()}))
    world.tick(12)
    assert world.told() == []
    world.tick(13)
    assert world.told() == [("firing", 8.0, 13.0, None)]


def test_a_series_that_never_spoke_is_not_silent(world: Listening) -> None:
    world.rule(QUIET)
    world.tick(5, 10, 15)
    world.data(16)
    assert world.told() == []


def test_a_rule_that_is_removed_resolves(world: Listening) -> None:
    world.rule(QUIET)
    world.data(2)
    world.tick(8)
    world.at(9, Entry(EntryKind.RULE, "api", payload={"id": "quiet", "rule": None}))
    assert world.told() == [("resolved", 2.0, 7.0, 9.0)]


def test_time_matters_only_while_something_waits() -> None:
    world = Listening()

    def waits(processor: Processor) -> bool:
        world.catch_up()
        return processor.waits

    world.rule(HOT)
    assert not waits(world.processor)
    world.rule(QUIET)
    assert waits(world.processor)
    world.write(Entry(EntryKind.RULE, "api", payload={"id": "quiet", "rule": None}))
    assert not waits(world.processor)
    world.send(reading(35.0))
    world.catch_up()
    (alert,) = world.store.alerts.values()
    until = world.now + 60 * SECOND
    shelve = {"alert": alert.id, "action": "shelve", "until": until}
    world.write(Entry(EntryKind.ACKNOWLEDGEMENT, "api", payload=shelve))
    assert waits(world.processor)
    world.now = until
    world.write(Entry(EntryKind.TICK))
    assert not waits(world.processor)
    assert world.store.alerts[alert.id].state == "firing"
