"""The live feed over a log of several partitions, on a real socket: each client gets every one of them once, in order."""

from collections.abc import Iterator

import msgspec
import pytest

from sonde.cursor import Cursor
from sonde.entry import Entry, EntryKind, Lane
from sonde.profile import Metric, Profile
from sonde.routing import partition_of
from tests.live_world import LiveWorld, one

PARTITIONS = 4
DEVICES = [f"device-{i}" for i in range(10)]


@pytest.fixture
def world() -> Iterator[LiveWorld]:
    with LiveWorld(PARTITIONS) as made:
        yield made


def send(world: LiveWorld, values: range) -> list[tuple[str, int]]:
    sent = [(DEVICES[value % len(DEVICES)], value) for value in values]
    for device, value in sent:
        world.send(one(value, device))
    return sent


def by_home(readings: list[tuple[str, int]]) -> list[list[tuple[str, int]]]:
    return [[r for r in readings if partition_of(r[0], PARTITIONS) == home] for home in range(PARTITIONS)]


def test_all_partitions_are_live(world: LiveWorld) -> None:
    with world.v1() as client:
        assert len(Cursor.parse(client.subscribe()["cursor"]).offsets) == PARTITIONS
        sent = send(world, range(200))
        got = [(r["device"], r["value"]) for r in client.readings(len(sent))]
        assert by_home(got) == by_home(sent), "in order, partition by partition"
        assert client.no_more()


def test_a_client_resumes_in_every_partition_from_where_it_was(world: LiveWorld) -> None:
    with world.v1() as client:
        client.subscribe()
        first = send(world, range(37))
        got = [(r["device"], r["value"]) for r in client.readings(len(first))]
        cursor = client.cursor
    missed = send(world, range(37, 90))
    with world.v1() as client:
        client.subscribe(cursor=cursor)
        more = send(world, range(90, 120))
        got += [(r["device"], r["value"]) for r in client.readings(len(missed) + len(more))]
    assert by_home(got) == by_home(first + missed + more)


def test_from_a_moment_on(world: LiveWorld) -> None:
    send(world, range(40))
    with world.v1() as client:
        client.subscribe(since="2026-01-01T00:00:00Z")
        assert sorted(client.values(40)) == list(range(40))


def test_a_filter_holds_in_every_partition(world: LiveWorld) -> None:
    chosen = DEVICES[3]
    with world.v1() as client:
        client.subscribe(device=chosen)
        sent = send(world, range(100))
        wanted = [value for device, value in sent if device == chosen]
        assert client.values(len(wanted)) == wanted


def test_a_series_of_two_partitions_is_one(world: LiveWorld) -> None:
    entry = Entry(EntryKind.READINGS, "node", 1, lane=Lane.DIRECT)
    with world.v1() as client:
        client.subscribe()
        for partition in range(PARTITIONS):
            world.write(entry, readings=[one(partition, "wanderer")], partition=partition)
        assert sorted(client.values(PARTITIONS)) == list(range(PARTITIONS))
        assert len(world.following._roll.series) == 1


def test_what_profiles_declare_holds_where_it_was_said(world: LiveWorld) -> None:
    home = partition_of("d", PARTITIONS)
    profile = Profile("d", metrics={"m": Metric(data_type="number", max=10.0)})
    payload = msgspec.to_builtins(profile)
    with world.v1() as client:
        client.subscribe()
        world.write(Entry(EntryKind.PROFILE, "node", payload=payload), partition=home)
        world.send(one(11.0))
        world.write(Entry(EntryKind.READINGS, "other", 1), readings=[one(11.0)], partition=(home + 1) % PARTITIONS)
        assert sorted(r.get("quality", 0) for r in client.readings(2)) == [0, 2]
