"""The live feed tells what the store will have: each reading once, in the order of the log, of the same quality."""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pytest

from sonde.changes import State
from sonde.clock import SECOND
from sonde.entry import Body, Entry, EntryKind
from sonde.errors import Hold, NotFound, Retry
from sonde.frame import Opener
from sonde.fresh import Fresh
from sonde.ports import Claim
from sonde.process.ahead import Ahead
from sonde.process.following import Following
from sonde.reading import Batch, Kind, value_of
from sonde.removal import Floor, PurgeOrder
from sonde.testing.plain_store import PlainIdentities
from tests.processor_world import T0, QuickClock, TornLog, World, reading, until
from tests.scenario import Scenario

Row = tuple[Any, ...]


class Listener:
    """Gathers what a feed tells."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.told: list[Fresh] = []
        self.begun = threading.Event()

    def hear(self, fresh: Sequence[Fresh]) -> None:
        self.begun.set()
        self.told += [f for f in fresh if f.until > f.offset]

    def wait(self) -> list[Fresh]:
        """All that was told, once the end of the log was."""
        end = self.world.log.ends()[0][1]
        until(lambda: bool(self.told) and self.told[-1].until >= end)
        return self.told


def following(world: World) -> Following:
    processor = world.processor
    opener = Opener(world.ring)
    return Following(
        world.log,
        world.store.load,
        world.identities,
        opener,
        stored=lambda: {0: processor.position},
        clock=QuickClock(),
    )


@contextmanager
def listening(world: World, feed: Following | None = None) -> Iterator[Listener]:
    listener, stop = Listener(world), threading.Event()
    feed = feed or following(world)
    thread = threading.Thread(target=feed.run, args=(stop,))
    thread.start()
    feed.listen(listener.hear)
    try:
        yield listener
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


def rows(told: Sequence[Fresh]) -> Counter[Row]:
    """The readings in what was told that are shown: names, time, value, quality."""
    found: Counter[Row] = Counter()
    for fresh in told:
        if fresh.batch is not None and fresh.series is not None and fresh.quality is not None:
            found.update(
                (one.device, one.metric, one.time, repr(one.value), quality)
                for one, number, quality in zip(
                    fresh.batch.readings(), fresh.series.tolist(), fresh.quality.tolist(), strict=True
                )
                if number >= 0
            )
    return found


def stored(world: World) -> Counter[Row]:
    table = world.store.table()
    found: Counter[Row] = Counter()
    times = table["time"].cast(pa.int64()).to_pylist()
    for row, time in zip(table.drop_columns("time").to_pylist(), times, strict=True):
        series = world.store.series[row["series"]]
        value = value_of(Kind(row["kind"]), row["value"], row["text"])
        found[series.device, series.metric, time, repr(value), row["quality"]] += 1
    return found


def without_quality(rows: Counter[Row]) -> Counter[Row]:
    found: Counter[Row] = Counter()
    for row, number in rows.items():
        found[row[:4]] += number
    return found


def read_all(feed: Following, end: int) -> list[Fresh]:
    """The whole log again, in pieces."""
    told: list[Fresh] = []
    while not told or told[-1].until < end:
        told += feed.read(0, told[-1].until if told else 0, 2000)
    return told


def write(world: World, scenario: Scenario) -> None:
    log_time, messages = scenario.frame()
    readings = [one for message in messages for one in message.readings]
    body = Body([message.entry for message in messages], Batch.of(readings) if readings else None)
    poison = world.sealer.seal_encoded(b"no body", 1, 3, log_time)
    world.log.append(0, [world.sealer.seal(body, log_time) if messages else poison])


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.all) for seed in range(4, 16))])
def test_what_is_told_is_what_the_store_has(seed: int) -> None:
    """Whatever came twice, in any order, with holes, from a cloned disk; and reading it again gives the same."""
    world, scenario = World(), Scenario(seed)
    with listening(world) as listener:
        assert listener.begun.wait(20)
        for number in range(60):
            write(world, scenario)
            if number % 7 == seed % 7:
                world.processor.step(0.0)
        told = listener.wait()
    world.catch_up()
    assert [f.offset for f in told] == list(range(60))
    assert rows(told) == stored(world)
    after_a_restart = following(world)
    with listening(world, after_a_restart) as listener:
        world.send(reading(1.0))
        listener.wait()
    again = read_all(after_a_restart, 60)
    assert without_quality(rows(again[:60])) == without_quality(rows(told))
    assert [f.offset for f in again] == list(range(len(again)))


@pytest.mark.parametrize("seed", range(3))
def test_it_begins_where_the_store_stands_and_knows_what_came_before(seed: int) -> None:
    world, scenario = World(), Scenario(seed)
    for _ in range(30):
        write(world, scenario)
    world.catch_up()
    before = stored(world)
    with listening(world) as listener:
        for _ in range(30):
            write(world, scenario)
        told = listener.wait()
    world.catch_up()
    assert told[0].offset == 30
    assert rows(told) == stored(world) - before


def test_nobody_listens_and_nothing_is_done() -> None:
    world = World()
    feed, stop = following(world), threading.Event()
    world.send(reading(1.0))
    thread = threading.Thread(target=feed.run, args=(stop,))
    thread.start()
    listener = Listener(world)
    feed.listen(listener.hear)
    listener.wait()
    feed.listen(None)
    world.send(reading(2.0))
    world.catch_up()
    listener.told.clear()
    feed.listen(listener.hear)
    world.send(reading(3.0))
    listener.wait()
    stop.set()
    thread.join(20)
    assert listener.told[-1].offset == 2


class Absent:
    """The store of a world that cannot be asked now, and its identities. ``hold`` is what it says instead, if anything."""

    def __init__(self, world: World, *, away: bool = True, hold: str = "") -> None:
        self.world, self.away, self.hold, self.loads = world, away, hold, 0

    def load(self, partition: int) -> State:
        self.loads += 1
        if self.hold:
            raise Hold(self.hold)
        if self.away:
            raise Retry("the database is away")
        return self.world.store.load(partition)

    def stored(self) -> dict[int, int]:
        if self.away:
            raise Retry("the database is away")
        return {0: self.world.processor.position}

    def follow(self) -> Following:
        world = self.world
        return Following(
            world.log, self.load, world.identities, Opener(world.ring), stored=self.stored, clock=QuickClock()
        )


def test_what_the_store_must_not_be_asked_for_is_waited_for_and_said() -> None:
    world = World()
    store = Absent(world, away=False, hold="the tables are of another version")
    feed = store.follow()
    world.send(reading(1.0))
    with listening(world, feed) as listener:
        until(lambda: feed.problem == "the tables are of another version")
        store.hold = ""
        listener.wait()
        assert feed.problem is None
        assert not feed.unsure


def test_without_a_store_it_follows_from_the_end_and_knows_all_again_when_the_store_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sonde.process.following._SURE_SECONDS", 0.0)
    world = World()
    world.send(reading(1.0), key=b"before")
    store = Absent(world)
    feed = store.follow()
    with listening(world, feed) as listener:
        assert listener.begun.wait(20)
        world.send(reading(1.0), key=b"before")  # nobody can say that it came before
        world.send(reading(2.0), key=b"since")
        world.send(reading(2.0), key=b"since")
        assert [f.offset for f in listener.wait()] == [1, 2, 3]
        assert [row[3] for row in rows(listener.told).elements()] == ["1.0", "2.0"]
        assert feed.unsure
        world.catch_up()
        store.away = False
        until(lambda: not feed.unsure)
        world.send(reading(1.0), key=b"before")
        world.send(reading(3.0))
        assert [row[3] for row in rows(listener.wait()[3:]).elements()] == ["3.0"]
    world.catch_up()
    assert [row[3] for row in stored(world).elements()] == ["1.0", "2.0", "3.0"], "each is stored once all the same"


def test_a_store_far_behind_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sonde.process.following._SURE_SECONDS", 0.0)
    monkeypatch.setattr("sonde.process.follower.NEAR", 5)
    world = World()
    for value in range(10):
        world.send(reading(float(value)))
    store = Absent(world, away=False)
    feed = store.follow()
    with listening(world, feed) as listener:
        assert listener.begun.wait(20)
        world.send(reading(10.0))
        assert [f.offset for f in listener.wait()] == [10]
        loads = store.loads
        assert feed.unsure
        world.processor.step(0.0)
        world.catch_up()
        until(lambda: not feed.unsure)
        assert store.loads > loads
        world.send(reading(11.0))
        told = listener.wait()
    assert [f.offset for f in told if f.offset > 10] == [11]


def test_claims_ahead_of_a_store_are_bounded_and_the_newest_are_known() -> None:
    """However long the database is away (mistake 11: an unbounded queue in memory)."""
    ahead = Ahead(PlainIdentities(), most=1000)

    def claim(number: int, offset: int) -> Claim:
        return Claim(number.to_bytes(16), offset, 0)

    for number in range(10_000):
        for partition in range(2):
            assert ahead.first(partition, [claim(number, number)], 0) == [claim(number, number)]
    assert 500 <= len(ahead._own) + len(ahead._older) <= 1000
    assert ahead.first(1, [claim(9_800, 20_000)], 0) == [claim(9_800, 9_800)]
    assert ahead.first(1, [claim(0, 20_000)], 0) == [claim(0, 20_000)], "that is forgotten"
    assert ahead.first(0, [claim(0, 20_001)], 0) == [claim(0, 20_001)], "and each partition has its own"


def test_what_cannot_be_read_is_told_as_lost() -> None:
    world = World(TornLog())
    for value in range(6):
        world.send(reading(float(value)))
    assert isinstance(world.log, TornLog)
    world.log.lost = (2, 4)
    with listening(world) as listener:
        told = listener.wait()
    assert [(f.offset, f.until, bool(f.lost)) for f in told] == [
        (0, 1, False), (1, 2, False), (2, 4, True), (4, 5, False), (5, 6, False)
    ]  # fmt: skip
    assert following(world).read(0, 2, 1000)[0].lost


def test_what_is_purged_or_below_the_floor_is_not_told_again() -> None:
    world = World()
    for device in ("a", "b"):
        world.send(reading(1.0, device=device), reading(2.0, 100, device=device))
    world.write(PurgeOrder(device="a", before=T0 + 50 * SECOND, who="me").entry("api"))
    world.send(reading(3.0, device="a"))
    feed = following(world)
    with listening(world, feed) as listener:
        told = listener.wait()
        assert [row[3] for row in rows(told).elements()] == ["1.0", "2.0", "1.0", "2.0", "3.0"]
        again = rows(read_all(feed, 4))
    world.catch_up()
    assert sorted((row[0], row[3]) for row in again) == [("a", "2.0"), ("a", "3.0"), ("b", "1.0"), ("b", "2.0")]
    feed = following(world)
    with listening(world, feed) as listener:
        world.write(Floor("readings", T0 + 99 * SECOND).entry("process"))
        world.send(reading(4.0), reading(5.0, 100))
        told = listener.wait()
        assert [row[3] for row in rows(told).elements()] == ["5.0"]
        assert sorted((r[0], r[3]) for r in rows(read_all(feed, 6))) == [("a", "2.0"), ("b", "2.0"), ("d", "5.0")]


def test_the_first_frame_since_a_moment_is_found() -> None:
    world = World()
    for value in range(20):
        world.send(reading(float(value)))  # one a second
    feed = following(world)
    assert feed.at(0, T0) == 0
    assert feed.at(0, T0 + 7 * SECOND) == 6
    assert feed.at(0, T0 + 7 * SECOND + 1) == 7
    assert feed.at(0, T0 + 500 * SECOND) == 20
    world.log.cut(0, 10)
    assert feed.at(0, T0) == 10
    with pytest.raises(NotFound):
        feed.read(0, 3, 1000)


def test_a_frame_larger_than_asked_for_is_read_all_the_same() -> None:
    world = World()
    world.send(*(reading(float(n), n) for n in range(5000)))
    assert sum(rows(following(world).read(0, 0, 1)).values()) == 5000
    with pytest.raises(Retry):
        following(world).read(0, 1, 1)


def test_other_entries_are_told_once() -> None:
    world = World()
    entry = Entry(EntryKind.COMMAND, "api", key=b"k" * 16, payload={"id": "1"})
    with listening(world) as listener:
        world.write(entry)
        world.write(entry)
        told = listener.wait()
    assert [len(f.entries) for f in told] == [1, 0]
