"""Floors and purges in the log: what the processor makes of them, however frames are gathered, and in a rebuild."""

from typing import Any

import msgspec
import pytest

from sonde.changes import Mark, Purge
from sonde.clock import DAY, SECOND
from sonde.entry import Entry, EntryKind
from sonde.errors import Invalid
from sonde.frame import Opener
from sonde.process.rebuild import rebuild
from sonde.removal import Floor, PurgeOrder, floors_of, whole_windows
from sonde.testing.plain_store import PlainStore
from tests.processor_world import HOT, T0, World, reading


def purge(world: World, **order: Any) -> None:
    world.write(PurgeOrder(**order).entry("api"))


def marks(world: World) -> list[tuple[str, int]]:
    return [(mark.reason, mark.readings) for mark in world.store.marks]


def story(world: World) -> None:
    """Readings, alerts, late stretches, purges in between."""
    world.write(Entry(EntryKind.SETTINGS, "config", payload={"windows": [5, 10]}))
    world.rule(HOT)
    world.send(reading(35.0, device="a"), reading(20.0, device="b"))
    world.send(reading(36.0, 10, device="a"), reading(34.0, 5, device="b"))
    purge(world, device="a", who="admin", readings=2)
    world.send(reading(37.0, 3, device="a"), reading(21.0, 30, device="b"))
    world.send(reading(33.0, 1, device="b"), reading(33.0, 40, device="c"))
    purge(world, before=T0 + 29 * SECOND)  # of whole windows: 20 seconds
    world.send(reading(22.0, 2, device="b"), reading(38.0, 50, device="a"))
    purge(world, metric="temp*", device="c", note="a test")
    world.send(reading(39.0, 60, device="c"))


def contents(store: PlainStore) -> Any:
    windows = store.windows.sort_by([(n, "ascending") for n in ("width", "series", "start")])
    readings = store.table().sort_by([(n, "ascending") for n in ("series", "time", "value")])
    return windows, readings, store.alerts, store.latest, store.ledger, store.marks


@pytest.mark.parametrize("step", ["all at once", "frame by frame"])
def test_a_purge_takes_what_came_before_it_however_frames_are_gathered(step: str) -> None:
    world, other = World(), World()
    story(world)
    if step == "all at once":
        world.catch_up()
    else:
        world.processor = world.another(max_readings=1)
        world.catch_up()
    story(other)
    for _ in range(other.log.ends()[0][1]):
        other.processor = other.another(max_readings=1)  # from what the store says each time
        other.processor.step(0.0)
    assert contents(world.store) == contents(other.store)
    assert world.values()
    assert sorted(world.values()) == [21.0, 22.0, 38.0, 39.0]
    assert marks(world) == [("purged", 2), ("purged", 0), ("purged", 0)]
    assert "device a, by admin" in world.store.marks[0].detail
    assert world.store.marks[2].detail.endswith("device c, metric temp*, by nobody who said so: a test")


def test_a_rebuild_honours_purges_and_floors() -> None:
    world = World()
    story(world)
    world.write(Floor("readings", T0 + DAY).entry("retention"))
    world.catch_up()
    again = PlainStore()
    rebuild(world.log, again, world.identities, Opener(world.ring), lambda at, end: None)
    assert contents(again) == contents(world.store)
    assert floors_of(again.definitions.values()) == {"readings": T0 + DAY}


def test_what_was_purged_and_comes_again_with_its_identity_is_a_duplicate() -> None:
    """A repetition is one, also of what has gone: nothing comes back by a retry."""
    world = World()
    world.send(reading(1.0), key=b"k" * 16)
    purge(world, device="d")
    world.send(reading(1.0), key=b"k" * 16)
    world.send(reading(2.0), key=b"m" * 16)
    world.catch_up()
    assert world.values() == [2.0]
    (line,) = [line for line in world.store.ledger.values() if line.source == "web"]
    assert (line.declared, line.stored, line.duplicate) == (2, 2, 1)


def test_lateness_starts_anew_after_a_purge() -> None:
    world = World()
    world.send(reading(1.0, 100))
    purge(world, device="d")
    world.send(reading(2.0, 50))
    world.catch_up()
    assert sum(line.late for line in world.store.ledger.values()) == 0
    assert [newest.time for newest in world.store.latest.values()] == [T0 + 50 * SECOND]


def test_a_floor_only_rises() -> None:
    world = World()
    for before in (5, 3, 5, 9, 1):
        world.write(Floor("windows", before * DAY, width=300).entry("retention"))
    world.catch_up()
    assert floors_of(world.store.definitions.values()) == {"windows 300": 9 * DAY}
    assert world.store.marks == []


def test_a_loss_for_want_of_room_is_told_for_good() -> None:
    world = World()
    world.write(Floor("readings", T0, why="disk", readings=123).entry("retention"))
    world.write(Floor("readings", T0, why="disk", readings=123).entry("retention"))
    world.catch_up()
    (mark,) = world.store.marks
    assert isinstance(mark, Mark)
    assert (mark.reason, mark.readings) == ("expired", 123)
    assert "the disk was nearly full" in mark.detail


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (EntryKind.PURGE, {}),
        (EntryKind.PURGE, None),
        (EntryKind.PURGE, {"device": ""}),
        (EntryKind.PURGE, {"device": 7}),
        (EntryKind.PURGE, {"before": -1}),
        (EntryKind.PURGE, {"device": "a", "sites": "b"}),
        (EntryKind.PURGE, {"device": "a" * 501}),
        (EntryKind.EXPIRY, {"what": "ledger", "before": 1}),
        (EntryKind.EXPIRY, {"what": "readings", "before": 10**18}),
        (EntryKind.EXPIRY, {"what": "windows", "before": 1}),
        (EntryKind.EXPIRY, {"what": "readings", "before": 1, "width": 300}),
        (EntryKind.EXPIRY, []),
    ],
)
def test_an_order_that_makes_no_sense_is_set_aside_and_takes_nothing(kind: EntryKind, payload: Any) -> None:
    world = World()
    world.send(reading(1.0))
    world.write(Entry(kind, "api", payload=payload))
    world.catch_up()
    assert world.values() == [1.0]
    assert marks(world) == [("set_aside", 0)]


def test_a_purge_never_cuts_through_a_window() -> None:
    at = T0 + 17 * 60 * SECOND + 3
    assert whole_windows(at, [300, 900]) == T0 + 15 * 60 * SECOND
    assert whole_windows(at, [300]) == T0 + 15 * 60 * SECOND
    assert whole_windows(at, [60]) == T0 + 17 * 60 * SECOND
    assert whole_windows(at, []) == at - 3
    assert whole_windows(at, [7 * 3600, 86_400]) == T0


def test_the_forms_survive_the_log() -> None:
    order = PurgeOrder("a*", None, T0, "admin", "why", 7)
    assert PurgeOrder.parse(msgspec.msgpack.decode(msgspec.msgpack.encode(order.entry("x").payload))) == order
    floor = Floor("windows", T0, 300, "size")
    assert Floor.parse(msgspec.msgpack.decode(msgspec.msgpack.encode(floor.entry("x").payload))) == floor
    with pytest.raises(Invalid):
        PurgeOrder.parse({"note": "everything"})
    assert PurgeOrder(device="a").matching([]) == ()
    assert PurgeOrder(before=1).matching([]) is None
    assert Purge((1,)) == Purge((1,), None)
