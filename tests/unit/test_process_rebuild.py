"""A store made again from its log, and how its standing is seen."""

from dataclasses import replace

import pytest

from sonde.changes import Progress, State
from sonde.clock import DAY
from sonde.frame import Opener
from sonde.log.memory import MemoryLog
from sonde.process.rebuild import Standing, forget_identities, rebuild, standing
from sonde.testing.plain_store import PlainStore
from tests.processor_world import World, reading


def test_a_rebuild_keeps_twice_what_was_stored_twice_because_it_was_forgotten() -> None:
    world = World()
    for value in (1.0, 2.0, 1.0):
        world.send(reading(value), key=b"k" * 16 if value == 1.0 else b"")
        world.now += 8 * DAY
        world.catch_up()
    again = PlainStore()
    rebuild(world.log, again, world.identities, Opener(world.ring), lambda at, end: None)
    assert again.table()["value"].to_pylist() == world.values() == [1.0, 2.0, 1.0]
    assert again.ledger == world.store.ledger


@pytest.mark.parametrize(
    ("progress", "cut", "expected"),
    [
        ([], 0, Standing.OK),
        ([("mine", 3)], 0, Standing.OK),
        ([("mine", 2)], 2, Standing.OK),
        ([("mine", 1)], 2, Standing.BEHIND),
        ([], 2, Standing.BEHIND),
        ([("mine", 4)], 0, Standing.AHEAD),
        ([("another", 1)], 0, Standing.OTHER),
        ([("another", 9), ("mine", 3)], 0, Standing.OK),
    ],
)
def test_standing_compares_a_store_with_its_log(progress: list[tuple[str, int]], cut: int, expected: Standing) -> None:
    world = World()
    world.log.id = "mine"
    for _ in range(3):
        world.send(reading(1.0))
    world.log.cut(0, cut)
    state = State([Progress(log, 0, offset) for log, offset in progress], [], {}, [], [], [])
    assert standing(state, world.log) == expected
    assert expected.sentence


def test_a_rebuild_from_an_older_copy_of_the_log_forgets_what_that_never_held() -> None:
    world = World()
    world.send(reading(1.0), key=b"a" * 16)
    world.send(reading(2.0), key=b"b" * 16)
    world.catch_up()
    older = MemoryLog()
    older.append(0, [r.frame for r in world.log.read(0, 0, 1 << 20)][:1])
    world.log, world.store = older, PlainStore()
    world.send(reading(3.0), key=b"c" * 16)
    world.send(reading(2.0), key=b"b" * 16)  # sent again: this log never had it
    forget_identities(world.identities)
    told: list[tuple[int, int]] = []
    rebuild(older, world.store, world.identities, Opener(world.ring), lambda at, end: told.append((at, end)))
    assert world.values() == [1.0, 3.0, 2.0]
    assert told[-1] == (3, 3)


def test_series_of_a_checkpoint_keep_their_numbers() -> None:
    world = World()
    world.send(reading(1.0, device="a"), reading(1.0, device="b"))
    world.catch_up()
    world.processor = world.another()
    world.send(reading(1.0, device="c"), reading(1.0, device="a"))
    world.catch_up()
    assert [s.device for s in world.store.series.values()] == ["a", "b", "c"]
    assert list(world.store.series) == [0, 1, 2]
    assert replace(world.store.load().progress[0], log_time=0, heard_since=0) == Progress(world.log.id, 0, 2)
