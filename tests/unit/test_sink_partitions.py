"""The sink before a log of several partitions: everything goes to its home, and is confirmed when all homes have it."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde.entry import Body, Entry, EntryKind, Lane
from sonde.errors import Retry
from sonde.ports import Credential, StreamId, Telemetry
from sonde.profile import Profile
from sonde.reading import Batch, Reading
from sonde.routing import CONTROL, partition_of
from sonde.sink.columns import Columns
from sonde.sink.deposit import Deposit
from sonde.sink.limits import Limits
from sonde.sink.spread import shared_out
from tests.unit.test_sink_take import NODE, WHO, Desk, TroubledLog, message, outgoing, until, uplink

PARTITIONS = 4
DEVICES = [f"device-{i}" for i in range(12)]
CONTROL_LANE = StreamId("epoch-1", Lane.CONTROL)


class DeafLog(TroubledLog):
    """A log of which some partitions take nothing."""

    def __init__(self) -> None:
        super().__init__(PARTITIONS)
        self.deaf: set[int] = set()

    def append(self, partition: int, frames: Sequence[bytes]) -> int:
        if partition in self.deaf:
            raise Retry("no broker leads it")
        return super().append(partition, frames)


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk(DeafLog())
    yield desk
    desk.sink.close()


def body(*devices: str, timed: bool = True, **more: Any) -> bytes:
    time = {"time": "2026-01-01T00:00:00Z"} if timed else {}
    return json.dumps(
        [{"device": d, "metric": "m", "value": i, **time, **more} for i, d in enumerate(devices)]
    ).encode()


def send(desk: Desk, data: bytes, who: Credential = WHO, **more: str) -> int:
    return asyncio.run(desk.sink.telemetry(who, Telemetry(data, **more)))


def entries(desk: Desk, partition: int) -> list[Entry]:
    return [e for f in desk.frames(partition) for e in f.body.entries]


def readings(desk: Desk, partition: int) -> list[Reading]:
    batches = [f.body.batch for f in desk.frames(partition)]
    return [r for batch in batches if batch is not None for r in batch.readings()]


@pytest.mark.parametrize("times", [1, 2, 200])
def test_a_request_is_split_by_device(desk: Desk, times: int) -> None:
    assert send(desk, body(*DEVICES * times)) == len(DEVICES) * times
    for partition in range(PARTITIONS):
        found = readings(desk, partition)
        mine = [i for i, d in enumerate(DEVICES * times) if partition_of(d, PARTITIONS) == partition]
        assert [r.value for r in found] == mine, "in the order in which they came"
        [entry] = entries(desk, partition)
        assert (entry.source, entry.rows) == ("tester", len(mine))
    assert desk.sample("sink_durable_readings_total") == len(DEVICES) * times


def test_the_parts_of_a_request_have_its_identity(desk: Desk) -> None:
    for _ in range(2):
        send(desk, body(*DEVICES))
    send(desk, body(*DEVICES, timed=False), idempotency_key="k")
    seen = [entries(desk, partition) for partition in range(PARTITIONS)]
    assert len({(e.key, e.digest) for found in seen for e in found[:2]}) == 1
    assert len({(e.key, e.digest) for found in seen for e in found[2:]}) == 1
    assert all(e.key for found in seen for e in found)


def test_one_device_is_one_partition(desk: Desk) -> None:
    send(desk, body("device-5", "device-5"))
    home = partition_of("device-5", PARTITIONS)
    assert [len(readings(desk, p)) for p in range(PARTITIONS)] == [2 * (p == home) for p in range(PARTITIONS)]


def test_all_of_a_request_is_durable_before_it_is_confirmed(desk: Desk) -> None:
    log = desk.log
    assert isinstance(log, DeafLog)
    log.deaf = {partition_of(DEVICES[0], PARTITIONS)}
    with pytest.raises(Retry, match="no broker leads it"):
        send(desk, body(*DEVICES))
    log.deaf = set()
    assert send(desk, body(*DEVICES)) == len(DEVICES)
    keys = {e.key for p in range(PARTITIONS) for e in entries(desk, p)}
    assert len(keys) == 1, "what came through the first time is recognised"


REQUESTS = st.lists(st.lists(st.sampled_from(DEVICES), min_size=1, max_size=30), min_size=1, max_size=6)


@given(requests=REQUESTS, as_batches=st.booleans(), partitions=st.sampled_from([2, 3, 4, 64]))
def test_requests_that_are_split_together_are_what_each_would_be_alone(
    requests: list[list[str]], as_batches: bool, partitions: int
) -> None:
    deposits: list[Deposit] = []
    wanted: dict[int, list[Any]] = {n: [] for n in range(partitions)}
    for name, devices in enumerate(requests):
        rows = [Reading(device=d, metric="m", time=i, value=float(i)) for i, d in enumerate(devices)]
        names, values = [r.device for r in rows], [r.value for r in rows]
        columns = Columns(names, ["m"] * len(rows), [r.time for r in rows], values)
        entry = Entry(EntryKind.READINGS, str(name), len(rows), key=bytes([name]))
        part = Batch.of(rows) if as_batches else columns
        deposits.append(Deposit(partial(lambda e: (e,), entry), (part,), readings=len(rows)))
        for number in range(partitions):
            mine = [r for r in rows if partition_of(r.device, partitions) == number]
            wanted[number] += [(str(name), bytes([name]), mine)] * bool(mine)
    shares, bodies = shared_out(deposits, partitions)
    for number in range(partitions):
        body = bodies.get(number, Body([]))
        found = iter(body.batch.readings() if body.batch is not None else [])
        got = [(e.source, e.key, list(islice(found, e.rows))) for e in body.entries]
        assert got == wanted[number]
        assert not list(found)
    assert [sum(share) for share in shares] == [len(devices) for devices in requests]


def test_a_request_without_readings_in_a_deaf_partition_is_confirmed(desk: Desk) -> None:
    log = desk.log
    assert isinstance(log, DeafLog)
    deaf = partition_of(DEVICES[0], PARTITIONS)
    log.deaf = {deaf}
    others = [d for d in DEVICES if partition_of(d, PARTITIONS) != deaf]

    async def both() -> list[Any]:
        desk.trouble.go.clear()
        asked = [body(*others), body(*DEVICES), body(*others[::-1])]
        first = asyncio.create_task(desk.sink.telemetry(WHO, Telemetry(body(*others, metric="first"))))
        await asyncio.to_thread(desk.trouble.busy.wait, 10)
        tasks = [asyncio.create_task(desk.sink.telemetry(WHO, Telemetry(b))) for b in asked]
        await asyncio.sleep(0)
        desk.trouble.go.set()
        return list(await asyncio.gather(first, *tasks, return_exceptions=True))

    outcomes = asyncio.run(both())
    assert [isinstance(o, Retry) for o in outcomes] == [False, False, True, False]
    assert desk.sample("sink_durable_readings_total") == 3 * len(others)


def test_what_cannot_be_sealed_does_not_take_others_with_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = Body.__init__

    def refusing(self: Body, entries: Sequence[Entry], batch: Batch | None = None) -> None:
        if any(e.source == "broken" for e in entries):
            raise ValueError("a mistake of ours")
        sound(self, entries, batch)

    monkeypatch.setattr(Body, "__init__", refusing)

    async def both() -> list[Any]:
        broken = replace(WHO, name="broken")
        tasks = [desk.sink.telemetry(who, Telemetry(body(*DEVICES))) for who in (WHO, broken)]
        return list(await asyncio.gather(*tasks, return_exceptions=True))

    outcomes = asyncio.run(both())
    assert [isinstance(o, Retry) for o in outcomes] == [False, True]
    monkeypatch.undo()
    assert sum(len(readings(desk, p)) for p in range(PARTITIONS)) == len(DEVICES)


def test_no_part_waits_if_not_all_may() -> None:
    desk = Desk(DeafLog(), Limits(waiting_requests=5))

    async def too_many() -> list[Any]:
        desk.trouble.go.clear()
        tasks = [asyncio.create_task(desk.sink.telemetry(WHO, Telemetry(body(*DEVICES, n=i)))) for i in range(20)]
        await asyncio.to_thread(desk.trouble.busy.wait, 10)
        await asyncio.sleep(0)
        desk.trouble.go.set()
        return list(await asyncio.gather(*tasks, return_exceptions=True))

    def body(*devices: str, n: int) -> bytes:
        return json.dumps([{"device": d, "metric": "m", "value": n} for d in devices]).encode()

    outcomes = asyncio.run(too_many())
    desk.sink.close()
    taken = [o for o in outcomes if not isinstance(o, Retry)]
    assert 0 < len(taken) < 20
    assert sum(len(readings(desk, p)) for p in range(PARTITIONS)) == len(taken) * len(DEVICES)


def test_a_node_keeps_to_its_home_and_control_to_the_first(desk: Desk) -> None:
    home = partition_of("attic", PARTITIONS)
    assert home != CONTROL
    assert uplink(desk, outgoing(1), outgoing(2)) == 2
    assert uplink(desk, outgoing(1), stream=StreamId("epoch-1", Lane.BACKLOG)) == 1
    assert [e.lane for e in entries(desk, home)] == [Lane.LIVE, Lane.LIVE, Lane.BACKLOG]
    step = msgspec.json.encode({"id": "c", "step": "running", "device": "d", "command": "reset"})
    assert uplink(desk, message(EntryKind.COMMAND, 1, step), stream=CONTROL_LANE) == 1
    assert [e.kind for e in entries(desk, CONTROL)] == [EntryKind.COMMAND]


def profile(device: str) -> bytes:
    return msgspec.json.encode(Profile(device))


def test_a_profile_is_where_readings_of_its_device_come(desk: Desk) -> None:
    for _ in range(2):  # the receipt was lost
        uplink(desk, message(EntryKind.PROFILE, 1, profile("device-5")), stream=CONTROL_LANE)
    homes = {partition_of("attic", PARTITIONS), partition_of("device-5", PARTITIONS)}
    for partition in range(1, PARTITIONS):
        found = entries(desk, partition)
        assert [e.payload["device"] for e in found] == ["device-5", "device-5"] * (partition in homes)
        assert len({e.key for e in found}) <= 1, "it is known again"
        assert all((e.source, e.epoch, e.lane) == ("attic", "", Lane.CONTROL) and e.key for e in found)
    assert [(e.epoch, e.seq) for e in entries(desk, CONTROL)] == [("epoch-1", 1)] * 2


def test_no_receipt_before_the_profile_is_everywhere(desk: Desk) -> None:
    log = desk.log
    assert isinstance(log, DeafLog)
    log.deaf = {partition_of("attic", PARTITIONS)}
    with pytest.raises(Retry):
        uplink(desk, message(EntryKind.PROFILE, 1, profile("device-5")), stream=CONTROL_LANE)
    log.deaf = set()
    assert uplink(desk, message(EntryKind.PROFILE, 1, profile("device-5")), stream=CONTROL_LANE) == 1


def test_time_goes_on_in_every_partition_and_only_one_sink_says_so() -> None:
    log = DeafLog()
    desks = [Desk(log, ticks=lambda partition: True) for _ in range(2)]
    for desk in desks:
        desk.clock.seconds += 1.5
        until(lambda: all(end > 0 for _, end in log.ends().values()))
    until(lambda: all(end == 1 for _, end in log.ends().values()))
    for desk in desks:
        desk.sink.close()
    assert [e.kind for p in range(PARTITIONS) for e in entries(desks[0], p)] == [EntryKind.TICK] * PARTITIONS
    assert NODE.node == "attic"
