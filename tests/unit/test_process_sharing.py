"""Processors of several partitions on a few threads: as partitions come and go, and whatever else happens."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sonde.changes import Changes
from sonde.entry import Body, Entry, EntryKind
from sonde.errors import Hold, Retry
from sonde.frame import Opener, Sealer
from sonde.keyring import KeyRing
from sonde.log.membership import MemoryGroup, MemoryMembership
from sonde.log.memory import MemoryLog
from sonde.metrics import Metrics
from sonde.process.processor import Processor
from sonde.process.sharing import Sharing
from sonde.reading import Batch, Reading
from sonde.routing import partition_of
from sonde.rule import Rule
from sonde.testing.plain_store import PlainIdentities, PlainStore
from tests.processor_world import T0, QuickClock, until

PARTITIONS = 4
SETTINGS = Entry(EntryKind.SETTINGS, "config", payload={"windows": [60], "partitions": PARTITIONS})
QUIET = Rule(id="quiet", metric="m", type="no_data", duration=5.0)


class Town:
    """A log of several partitions, a store, and those who process."""

    def __init__(self, partitions: int = PARTITIONS) -> None:
        self.log = MemoryLog(partitions)
        self.ring = KeyRing.generate("key-1")
        self.sealers = [Sealer(self.ring) for _ in range(partitions)]
        self.store, self.identities = PlainStore(), PlainIdentities()
        self.group = MemoryGroup(range(partitions))
        self.metrics = Metrics()
        for partition in range(partitions):
            self.write(partition, SETTINGS)

    def sharing(self, membership: MemoryMembership | None = None, threads: int = 2) -> Sharing:
        return Sharing(
            membership or self.group.join(),
            self.processor,
            clock=QuickClock(),
            metrics=self.metrics,
            threads=threads,
            linger=0.0,
        )

    def processor(self, partition: int) -> Processor:
        opener = Opener(self.ring)
        return Processor(
            *(self.log, self.store, self.identities, opener), partition=partition, clock=QuickClock(), linger=0.0
        )

    def write(self, partition: int, *entries: Entry, readings: list[Reading] | None = None) -> None:
        body = Body(entries, Batch.of(readings) if readings else None)
        self.log.append(partition, [self.sealers[partition].seal(body, T0)])

    def send(self, device: str, *values: float, key: bytes = b"") -> None:
        readings = [Reading(device=device, metric="m", time=T0, value=v) for v in values]
        entry = Entry(EntryKind.READINGS, "web", len(values), key=key)
        self.write(partition_of(device, PARTITIONS), entry, readings=readings)

    def values(self) -> list[float]:
        return sorted(self.store.table()["value"].to_pylist())

    @contextmanager
    def running(self, *sharings: Sharing) -> Iterator[None]:
        stop = threading.Event()
        threads = [threading.Thread(target=sharing.run, args=(stop,)) for sharing in sharings]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join(30)
                assert not thread.is_alive()


def drain(sharing: Sharing) -> None:
    sharing.look()
    until(lambda: not sharing.turn() and sharing.lag().frames == 0)


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_all_partitions_are_stored(threads: int) -> None:
    town = Town()
    with town.running(town.sharing(threads=threads)):
        for i in range(50):
            town.send(f"device-{i}", float(i))
        until(lambda: town.values() == [float(i) for i in range(50)])
    assert {p.partition for p in town.store.progress.values()} == set(range(PARTITIONS))


def test_two_share_and_one_takes_over_when_the_other_leaves() -> None:
    town = Town()
    one, other = town.group.join(), town.group.join()
    first, second = town.sharing(one), town.sharing(other)
    for i in range(20):
        town.send(f"device-{i}", float(i))
    drain(first)
    drain(second)
    assert first.partitions | second.partitions == set(range(PARTITIONS))
    assert not first.partitions & second.partitions
    assert town.values() == [float(i) for i in range(20)]
    other.close()
    town.send("device-1", 100.0)
    drain(second)
    drain(first)
    assert second.partitions == frozenset()
    assert first.partitions == set(range(PARTITIONS))
    assert town.values() == [*(float(i) for i in range(20)), 100.0]


def test_one_that_lost_its_partition_writes_nothing_and_finds_its_way_back() -> None:
    town = Town()
    zombie, heir = (town.sharing(MemoryGroup(range(PARTITIONS)).join()) for _ in range(2))
    for sharing in (zombie, heir):
        drain(sharing)
    town.send("device-1", 1.0)
    drain(heir)
    commits = town.store.commits
    drain(zombie)  # it thinks that it is its own still
    assert (town.values(), town.store.commits) == ([1.0], commits)
    town.send("device-1", 2.0)
    drain(zombie)  # now it is
    drain(heir)
    assert town.values() == [1.0, 2.0]
    assert zombie.problems() == heir.problems() == []


def test_a_partition_that_cannot_go_on_keeps_no_other_from_it() -> None:
    town = Town()
    sick = partition_of("device-1", PARTITIONS)

    def before(changes: Changes) -> None:
        if changes.progress.partition == sick:
            raise Retry("the table is locked", after=0.001)

    town.store.before = before
    sharing = town.sharing()
    town.send("device-1", 1.0)
    well = next(f"device-{i}" for i in range(9) if partition_of(f"device-{i}", PARTITIONS) != sick)
    town.send(well, 2.0)
    with town.running(sharing):
        until(lambda: town.values() == [2.0])
        until(lambda: sharing.problems() == [f"partition {sick}: the table is locked"])
        until(lambda: sharing.lag().frames == 2)
        town.store.before = lambda _: None
        until(lambda: town.values() == [1.0, 2.0] and not sharing.problems())


def test_who_cannot_ask_what_is_his_keeps_what_he_had() -> None:
    town = Town()

    class Lost(MemoryMembership):
        lost = False

        def partitions(self) -> frozenset[int]:
            if self.lost:
                raise Retry("no broker answers")
            return frozenset(range(PARTITIONS))

    membership = Lost(town.group)
    sharing = town.sharing(membership)
    drain(sharing)
    membership.lost = True
    town.send("device-1", 1.0)
    drain(sharing)
    assert town.values() == [1.0]
    assert sharing.problems() == ["no broker answers"]
    membership.lost = False
    sharing.look()
    assert sharing.problems() == []


def test_another_number_of_partitions_is_refused_with_the_way_out() -> None:
    town = Town()
    drain(town.sharing(MemoryGroup(range(PARTITIONS)).join()))
    town.log = wider = MemoryLog(PARTITIONS + 4)
    wider.id = next(log for log, _ in town.store.progress)
    stored = dict(town.store.progress)
    for partition in (0, PARTITIONS + 1):
        with pytest.raises(Hold, match=r"8 partitions now; it had 4.*a database of its own"):
            town.processor(partition).step(0.0)
    sharing = town.sharing(MemoryGroup(range(PARTITIONS + 4)).join())
    sharing.look()
    while sharing.turn():
        continue
    [problem] = sharing.problems()
    assert problem.startswith("partition 0–7: the log has 8 partitions now")
    assert town.store.progress == stored


def test_a_partition_that_the_group_knows_before_the_log_does_waits_for_it() -> None:
    """Else it would be processed, by a number that is not true any more."""
    town = Town()
    drain(town.sharing(MemoryGroup(range(PARTITIONS)).join()))
    with pytest.raises(Retry, match=f"partition {PARTITIONS} yet"):
        town.processor(PARTITIONS).step(0.0)


def test_what_is_measured_is_of_all_partitions() -> None:
    town = Town()
    sharing = town.sharing()
    for i in range(8):
        town.send(f"device-{i}", float(i))
    for partition in range(PARTITIONS):
        town.write(partition, Entry(EntryKind.RULE, payload={"id": "quiet", "rule": QUIET.body()}))
    sharing.look()
    assert not sharing.waits
    drain(sharing)
    assert (sharing.waits, sharing.judges) == (True, False)
    value = town.metrics.registry.get_sample_value
    assert value("sonde_store_series") == 8
    assert value("sonde_processor_lag_frames") == 0
    assert [sharing.position(p) for p in range(PARTITIONS)] == [end for _, end in town.log.ends().values()]


class HandClock(QuickClock):
    """Time passes when it is told to."""

    seconds = 1_000.0

    def monotonic(self) -> float:
        return self.seconds


def test_partitions_wait_for_as_long_as_steps_take_unless_they_are_behind() -> None:
    town, clock = Town(1), HandClock()

    def processor(partition: int) -> Processor:
        return Processor(
            *(town.log, town.store, town.identities, Opener(town.ring)), clock=clock, linger=0.0, max_readings=2
        )

    def before(_: Changes) -> None:
        clock.seconds += 2.0

    sharing = Sharing(town.group.join(), processor, clock=clock, threads=1, linger=0.25)
    town.store.before = before
    sharing.look()
    assert sharing.turn()
    town.write(0, Entry(EntryKind.READINGS, "web", 1), readings=[Reading(device="d", metric="m", time=T0, value=1.0)])
    clock.seconds += 0.5
    assert not sharing.turn(), "steps take 0.2 seconds of late, and three times as long is free"
    clock.seconds += 0.2
    assert sharing.turn()
    for i in range(7):
        reading = Reading(device="d", metric="m", time=T0 + i, value=2.0)
        town.write(0, Entry(EntryKind.READINGS, "web", 1), readings=[reading])
    clock.seconds += 2.1
    assert [sharing.turn() for _ in range(2)] == [True, False], "nobody knew of the rest"
    clock.seconds += 2.1
    assert [sharing.turn() for _ in range(4)] == [True, True, True, False], "what was known is stored without a pause"
    assert town.values() == [1.0, *[2.0] * 7]


def test_a_mistake_of_ours_ends_no_thread() -> None:
    town = Town()
    broken = threading.Event()

    def before(changes: Changes) -> None:
        if not broken.is_set():
            broken.set()
            raise ZeroDivisionError

    town.store.before = before
    with town.running(town.sharing(threads=1)):
        town.send("device-1", 1.0)
        until(lambda: town.values() == [1.0])
