"""The sink: what it takes is in the log before its sender hears of it; what it does not take is nowhere."""

import asyncio
import gzip
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import pytest

from sonde.access import Access
from sonde.clock import DAY, SECOND, Micros
from sonde.control.memory import MemoryControl
from sonde.entry import Body, Entry, EntryKind, Lane
from sonde.errors import (
    Conflict,
    Damaged,
    Forbidden,
    Invalid,
    Reject,
    Retry,
    SondeError,
    Throttled,
    TooLarge,
    Unauthenticated,
)
from sonde.frame import Codec, Frame, Opener, Sealer, tag
from sonde.keyring import KeyRing
from sonde.log.memory import MemoryLog
from sonde.metrics import Metrics
from sonde.ports import Credential, Log, Outgoing, Record, StreamId, Telemetry
from sonde.reading import Batch, Quality, Reading, encode
from sonde.sink.admission import TokenBucket
from sonde.sink.limits import Limits
from sonde.sink.sink import Sink
from sonde.token import Token

RING = KeyRing.generate()
WHO = Credential("id", "tester", frozenset({"ingest"}))
NODE = Credential("node-id", "token-of-attic", frozenset({"ingest"}), node="attic")
LIVE = StreamId("epoch-1", Lane.LIVE)


class HandClock:
    """Time that passes when told to; waiting threads wait for their signal."""

    def __init__(self) -> None:
        self.micros: Micros = 1_767_225_600 * SECOND
        self.seconds = 1_000.0

    def now(self) -> Micros:
        return self.micros

    def monotonic(self) -> float:
        return self.seconds

    def wait(self, signal: threading.Event, seconds: float) -> bool:
        return signal.wait(min(seconds, 0.02))


class TroubledLog:
    """A memory log that fails or waits when told to."""

    def __init__(self, partitions: int = 1) -> None:
        self.inner = MemoryLog(partitions)
        self.id = self.inner.id
        self.failures: list[Exception] = []
        self.appends: list[Sequence[bytes]] = []
        self.go = threading.Event()
        self.go.set()
        self.busy = threading.Event()

    def append(self, partition: int, frames: Sequence[bytes]) -> int:
        self.busy.set()
        self.go.wait(10)
        self.appends.append(frames)
        if self.failures:
            raise self.failures.pop(0)
        return self.inner.append(partition, frames)

    def read(self, partition: int, offset: int, limit_bytes: int, wait: float = 0.0) -> Sequence[Record]:
        return self.inner.read(partition, offset, limit_bytes, wait)

    def ends(self) -> Mapping[int, tuple[int, int]]:
        return self.inner.ends()

    def cut(self, partition: int, below: int) -> None:
        self.inner.cut(partition, below)

    def close(self) -> None:
        self.inner.close()


class Desk:
    """A sink and all that is around it."""

    def __init__(
        self,
        log: Log | None = None,
        limits: Limits | None = None,
        ticks: Callable[[int], bool] = lambda partition: False,
    ) -> None:
        self.clock = HandClock()
        self.log = log or TroubledLog()
        self.metrics = Metrics()
        self.control = MemoryControl(self.clock)
        access = Access(self.control, self.clock, metrics=self.metrics)
        self.sink = Sink(
            *(self.log, RING, Codec.AES_GCM, access),
            clock=self.clock,
            metrics=self.metrics,
            limits=limits or Limits(),
            ticks=ticks,
        )

    @property
    def trouble(self) -> TroubledLog:
        assert isinstance(self.log, TroubledLog)
        return self.log

    def frames(self, partition: int = 0) -> list[Frame]:
        opener = Opener(RING)
        first, end = self.log.ends()[partition]
        return [opener.open(self.log.read(partition, i, 1)[0].frame) for i in range(first, end)]

    def entries(self, kind: EntryKind = EntryKind.READINGS) -> list[Entry]:
        return [e for f in self.frames() for e in f.body.entries if e.kind == kind]

    def readings(self) -> list[Reading]:
        return [r for f in self.frames() if f.body.batch is not None for r in f.body.batch.readings()]

    def token(self, *scopes: str) -> str:
        token = Token.make()
        self.control.create_token(Credential(token.id, token.id, frozenset(scopes)), token.digest)
        return token.text

    def sample(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"sonde_{name}", labels) or 0.0


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.sink.close()


def body(*values: Any, **more: Any) -> bytes:
    time = {"time": "2026-01-01T00:00:00Z"}
    return json.dumps([{"device": "d", "metric": "m", "value": v, **time, **more} for v in values]).encode()


def telemetry(desk: Desk, data: bytes, who: Credential = WHO, **more: str) -> int:
    return asyncio.run(desk.sink.telemetry(who, Telemetry(data, **more)))


def outgoing(seq: int, values: Sequence[float] = (1.0,), *, count: int | None = None, **more: Any) -> Outgoing:
    content = encode(Batch.of(Reading(device="d", metric="m", time=1_767_225_600 * SECOND, value=v) for v in values))
    return message(
        EntryKind.READINGS, seq, content, len(values), count if count is not None else seq * len(values), **more
    )


def message(kind: int, seq: int, content: bytes, readings: int = 0, count: int = 0, until: int = 0) -> Outgoing:
    return Outgoing(kind, seq, until or seq, readings, count, hashlib.sha256(content).digest()[:16], content)


def uplink(desk: Desk, *entries: Outgoing, who: Credential = NODE, confirmed: int = 0, stream: StreamId = LIVE) -> int:
    return asyncio.run(desk.sink.uplink(who, stream, confirmed, entries))


def until(true: Callable[[], bool]) -> None:
    waiting = threading.Event()
    for _ in range(1_000):
        if true():
            return
        waiting.wait(0.01)
    raise AssertionError("it never came true")


# -- readings


def test_what_is_taken_is_in_the_log(desk: Desk) -> None:
    assert telemetry(desk, body(1.5, 2)) == 2
    assert [r.value for r in desk.readings()] == [1.5, 2]
    [entry] = desk.entries()
    assert (entry.source, entry.rows, entry.lane, len(entry.digest)) == ("tester", 2, Lane.DIRECT, 16)
    assert desk.sample("sink_durable_readings_total") == 2
    assert desk.sample("sink_received_readings_total", form="own") == 2
    assert desk.sink.last_durable == desk.clock.now()


def test_what_is_wrong_is_nowhere(desk: Desk) -> None:
    with pytest.raises(Invalid):
        telemetry(desk, body(1, 2**70))
    assert desk.frames() == []
    assert desk.sample("sink_refused_total", reason="invalid") == 1


def test_requests_that_wait_for_the_disk_share_a_frame(desk: Desk) -> None:
    async def many() -> list[int]:
        desk.trouble.go.clear()
        first = asyncio.create_task(desk.sink.telemetry(WHO, Telemetry(body(0))))
        await asyncio.to_thread(desk.trouble.busy.wait, 10)
        rest = [asyncio.create_task(desk.sink.telemetry(WHO, Telemetry(body(i)))) for i in range(1, 50)]
        large = asyncio.create_task(desk.sink.telemetry(WHO, Telemetry(body(*range(1_000, 1_400)))))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        desk.trouble.go.set()
        return await asyncio.gather(first, *rest, large)

    assert asyncio.run(many()) == [1] * 50 + [400]
    frames = desk.frames()
    assert [len(f.body.entries) for f in frames] == [1, 50]
    assert [r.value for r in desk.readings()] == [*range(50), *range(1_000, 1_400)]
    assert len({e.key for e in desk.entries()}) == 51


def test_a_frame_holds_only_so_much() -> None:
    desk = Desk(limits=Limits(group_readings=10))

    async def many() -> None:
        desk.trouble.go.clear()
        first = asyncio.create_task(desk.sink.telemetry(WHO, Telemetry(body(0))))
        await asyncio.to_thread(desk.trouble.busy.wait, 10)
        rest = [asyncio.create_task(desk.sink.telemetry(WHO, Telemetry(body(i, i, i, i)))) for i in range(1, 6)]
        await asyncio.sleep(0)
        desk.trouble.go.set()
        await asyncio.gather(first, *rest)

    asyncio.run(many())
    desk.sink.close()
    assert [f.body.readings for f in desk.frames()] == [1, 8, 8, 4]


def test_what_is_taken_fits_the_frames_of_the_log() -> None:
    limits = Limits()
    assert limits.within(96 << 20) == limits
    small = limits.within(1_000_000)
    assert small.body_bytes == small.decompressed_bytes == small.group_bytes == 700_000
    body = Body([Entry(1, payload=os.urandom(small.group_bytes))])
    assert len(Sealer(KeyRing.generate(), Codec.FERNET).seal(body, 0)) < 1_000_000


def test_mistake_09_accepted_before_it_is_durable(desk: Desk) -> None:
    async def answer_waits() -> None:
        desk.trouble.go.clear()
        task = asyncio.create_task(desk.sink.telemetry(WHO, Telemetry(body(1))))
        await asyncio.to_thread(desk.trouble.busy.wait, 10)
        assert not task.done()
        assert desk.trouble.inner.ends()[0] == (0, 0)
        desk.trouble.go.set()
        assert await task == 1

    asyncio.run(answer_waits())
    assert len(desk.readings()) == 1


@pytest.mark.parametrize(
    "failure",
    [
        Retry("the disk is full", after=7.0),
        Damaged("torn", file="x", offset=1),
        OSError(28, "No space left on device"),
        RuntimeError("a bug"),
    ],
    ids=repr,
)
def test_mistake_10_a_write_error_and_accepted_all_the_same(desk: Desk, failure: Exception) -> None:
    desk.trouble.failures.append(failure)
    with pytest.raises(Retry, match="the log takes nothing"):
        telemetry(desk, body(1))
    assert desk.readings() == []
    assert telemetry(desk, body(2)) == 1
    assert [r.value for r in desk.readings()] == [2]
    assert desk.frames()[0].header.number == 0  # a failed append ends the session


def test_a_failed_append_fails_everyone_in_its_group(desk: Desk) -> None:
    async def many() -> list[Any]:
        desk.trouble.go.clear()
        desk.trouble.failures += [Retry("full"), Retry("full")]
        first = asyncio.create_task(desk.sink.telemetry(WHO, Telemetry(body(0))))
        await asyncio.to_thread(desk.trouble.busy.wait, 10)
        rest = [asyncio.create_task(desk.sink.telemetry(WHO, Telemetry(body(i)))) for i in range(1, 10)]
        await asyncio.sleep(0)
        desk.trouble.go.set()
        return list(await asyncio.gather(first, *rest, return_exceptions=True))

    outcomes = asyncio.run(many())
    assert all(isinstance(o, Retry) for o in outcomes)
    assert len({id(o) for o in outcomes}) == 10
    assert desk.frames() == []


def test_a_session_names_the_frame_before_it(desk: Desk) -> None:
    telemetry(desk, body(1))
    desk.trouble.failures.append(Retry("full"))
    with pytest.raises(Retry):
        telemetry(desk, body(2))
    telemetry(desk, body(3))
    first = desk.log.read(0, 0, 1)[0].frame
    before, after = desk.frames()
    assert before.header.session != after.header.session
    assert after.header.previous == tag(Codec.AES_GCM, first)


def test_log_times_only_go_forward(desk: Desk) -> None:
    telemetry(desk, body(1))
    desk.clock.micros -= 3600 * SECOND
    telemetry(desk, body(2))
    again = Desk(desk.log)
    again.clock.micros -= 7200 * SECOND
    telemetry(again, body(3))
    again.sink.close()
    times = [f.header.log_time for f in desk.frames()]
    assert times == sorted(set(times))


def test_mistake_11_an_unbounded_queue_in_memory() -> None:
    desk = Desk(limits=Limits(waiting_requests=5, waiting_bytes=10_000))

    async def too_many() -> list[Any]:
        desk.trouble.go.clear()
        tasks = [asyncio.create_task(desk.sink.telemetry(WHO, Telemetry(body(i)))) for i in range(20)]
        await asyncio.to_thread(desk.trouble.busy.wait, 10)
        await asyncio.sleep(0)
        desk.trouble.go.set()
        return list(await asyncio.gather(*tasks, return_exceptions=True))

    outcomes = asyncio.run(too_many())
    taken = [o for o in outcomes if o == 1]
    assert 5 <= len(taken) <= 10
    assert all(isinstance(o, Retry) and o.after for o in outcomes if o != 1)
    assert len(desk.readings()) == len(taken)
    desk.sink.close()


def test_nobody_waits_for_ever() -> None:
    desk = Desk(limits=Limits(waiting_seconds=0.05))

    async def slow() -> None:
        desk.trouble.go.clear()
        with pytest.raises(Retry, match="too slow"):
            await desk.sink.telemetry(WHO, Telemetry(body(1)))
        desk.trouble.go.set()

    asyncio.run(slow())
    desk.sink.close()


def test_closing_finishes_what_was_taken_and_takes_no_more() -> None:
    desk = Desk()

    async def close_amid() -> list[Any]:
        desk.trouble.go.clear()
        tasks = [asyncio.create_task(desk.sink.telemetry(WHO, Telemetry(body(i)))) for i in range(5)]
        await asyncio.to_thread(desk.trouble.busy.wait, 10)
        desk.sink.stop()
        with pytest.raises(Retry, match="shutting down"):
            await desk.sink.telemetry(WHO, Telemetry(body(9)))
        desk.trouble.go.set()
        await asyncio.to_thread(desk.sink.close)
        return await asyncio.gather(*tasks)

    assert asyncio.run(close_amid()) == [1] * 5
    assert [r.value for r in desk.readings()] == [0, 1, 2, 3, 4]
    with pytest.raises(Retry):
        telemetry(desk, b"[" + b",".join([body(1)[1:-1]] * 10_000) + b"]")


def test_a_sender_that_hung_up_harms_nobody(desk: Desk) -> None:
    async def hang_up() -> int:
        desk.trouble.go.clear()
        gone = asyncio.create_task(desk.sink.telemetry(WHO, Telemetry(body(1))))
        await asyncio.to_thread(desk.trouble.busy.wait, 10)
        stays = asyncio.create_task(desk.sink.telemetry(WHO, Telemetry(body(2))))
        await asyncio.sleep(0)
        gone.cancel()
        desk.trouble.go.set()
        return await stays

    assert asyncio.run(hang_up()) == 1


def test_large_and_compressed_bodies_are_read_beside_the_loop(desk: Desk) -> None:
    data = json.dumps([{"name": "s", "value": i} for i in range(40_000)]).encode()
    assert telemetry(desk, data) == 40_000
    assert telemetry(desk, gzip.compress(data), content_encoding="gzip") == 40_000
    with pytest.raises(Invalid):
        telemetry(desk, data[:-1] + b",5]")


@pytest.mark.parametrize("rows", [1, 300])
def test_a_token_may_write_its_devices_only(desk: Desk, rows: int) -> None:
    who = Credential("id", "lab", frozenset({"ingest"}), ("lab-*",))
    assert telemetry(desk, body(*range(rows)).replace(b'"d"', b'"lab-1"'), who) == rows
    with pytest.raises(Forbidden, match="'d'"):
        telemetry(desk, body(*range(rows), 5), who)
    assert len(desk.readings()) == rows


def test_a_token_is_not_refused_for_devices_of_others(desk: Desk) -> None:
    telemetry(desk, body(*range(300)).replace(b'"d"', b'"theirs"'))
    who = Credential("id", "lab", frozenset({"ingest"}), ("lab-*",))
    assert telemetry(desk, body(*range(300)).replace(b'"d"', b'"lab-1"'), who) == 300
    with pytest.raises(Forbidden) as raised:
        telemetry(desk, body(*range(300)).replace(b'"d"', b'"mine"'), who)
    assert "theirs" not in str(raised.value)


# -- identity


def key(desk: Desk, data: bytes, who: Credential = WHO, **more: str) -> bytes:
    telemetry(desk, data, who, **more)
    return desk.entries()[-1].key


def test_mistake_06_a_retry_is_known_by_its_body(desk: Desk) -> None:
    assert key(desk, body(1)) == key(desk, body(1))
    assert key(desk, body(1)) != key(desk, body(2))
    assert len(key(desk, body(1))) == 16


def test_the_body_counts_as_it_was_before_compression(desk: Desk) -> None:
    assert key(desk, body(1)) == key(desk, gzip.compress(body(1)), content_encoding="gzip")


def test_without_times_each_request_is_new(desk: Desk) -> None:
    assert key(desk, b'[{"name":"a","value":1}]') == b""
    assert key(desk, b'[{"name":"a","value":1,"timestamp":5},{"name":"a","value":1}]') == b""


def test_an_idempotency_key_is_the_senders_own(desk: Desk) -> None:
    other = Credential("id2", "other", frozenset({"ingest"}))
    untimed = b'[{"name":"a","value":1}]'
    first = key(desk, untimed, idempotency_key="k")
    assert len(first) == 16
    assert key(desk, body(5), idempotency_key="k") == first
    assert desk.entries()[-1].digest != desk.entries()[-2].digest
    assert key(desk, untimed, idempotency_key="k2") != first
    assert key(desk, untimed, other, idempotency_key="k") != first


@pytest.mark.parametrize("bad", ["x" * 257, "a\nb", "\u202e"])
def test_a_bad_idempotency_key(desk: Desk, bad: str) -> None:
    with pytest.raises(Invalid, match="Idempotency-Key"):
        telemetry(desk, body(1), idempotency_key=bad)


def test_event_ids_stand_for_themselves(desk: Desk) -> None:
    assert key(desk, body(1, event_id="e"), idempotency_key="k") == b""
    assert desk.readings()[-1].event_id == "e"


# -- what was refused


def test_refusals_are_in_the_log_for_the_ledger(desk: Desk) -> None:
    for _ in range(3):
        with pytest.raises(Invalid):
            telemetry(desk, body(1, 2).replace(b'"time"', b'"tmie"'))
    with pytest.raises(Forbidden):
        telemetry(desk, body(1, 2, 3), Credential("i", "lab", frozenset({"ingest"}), ("x",)))
    assert desk.entries(EntryKind.COUNTERS) == []
    desk.clock.seconds += 11
    until(lambda: len(desk.entries(EntryKind.COUNTERS)) == 2)
    found = {e.source: (e.payload, len(e.key)) for e in desk.entries(EntryKind.COUNTERS)}
    assert found == {
        "tester": ({"refused": {"invalid": 3}}, 16),
        "lab": ({"refused": {"forbidden": 3}}, 16),
    }


def test_refusals_are_written_at_the_end_and_once() -> None:
    desk = Desk()
    with pytest.raises(Invalid):
        telemetry(desk, b"")
    desk.trouble.failures.append(Retry("full"))
    desk.clock.seconds += 11
    until(lambda: len(desk.trouble.appends) == 1)
    desk.sink.close()
    [entry] = desk.entries(EntryKind.COUNTERS)
    assert entry.payload == {"refused": {"invalid": 1}}
    failed = Opener(RING).open(desk.trouble.appends[0][0])
    assert failed.body.entries[0].key == entry.key  # if it was written after all, it is known


def test_what_may_be_sent_again_is_not_refused_for_good() -> None:
    desk = Desk()
    desk.trouble.failures.append(Retry("full"))
    with pytest.raises(Retry):
        telemetry(desk, body(1))
    desk.sink.close()
    assert desk.entries(EntryKind.COUNTERS) == []


# -- other entries


def test_entries_are_recorded_in_every_partition() -> None:
    desk = Desk(TroubledLog(3))
    entry = Entry(EntryKind.SETTINGS, payload={"windows": [300]})
    assert desk.sink.record_now([entry]) == {0: 0, 1: 0, 2: 0}
    assert asyncio.run(desk.sink.record([entry, entry])) == {0: 1, 1: 1, 2: 1}
    assert asyncio.run(desk.sink.record([entry], partition=1)) == {1: 2}
    desk.sink.close()
    for partition in range(3):
        entries = [e for f in desk.frames(partition) for e in f.body.entries]
        assert [e.payload for e in entries] == [{"windows": [300]}] * (4 if partition == 1 else 3)


def test_recording_fails_when_the_log_does(desk: Desk) -> None:
    desk.trouble.failures += [Retry("full"), Retry("full")]
    with pytest.raises(Retry):
        desk.sink.record_now([Entry(EntryKind.SETTINGS)])
    with pytest.raises(Retry):
        asyncio.run(desk.sink.record([Entry(EntryKind.SETTINGS)]))


# -- nodes


def test_a_nodes_entries(desk: Desk) -> None:
    assert uplink(desk, outgoing(1, [1.5, 2.5]), outgoing(2, [3.5, 4.5])) == 2
    assert [r.value for r in desk.readings()] == [1.5, 2.5, 3.5, 4.5]
    first, second = desk.entries()
    assert (first.source, first.epoch, first.lane, first.seq, first.count, first.rows) == (
        "attic",
        "epoch-1",
        2,
        1,
        2,
        2,
    )
    assert (second.seq, second.count, second.key) == (2, 4, b"")
    assert first.digest == outgoing(1, [1.5, 2.5]).digest


STEP = b'{"id":"c","step":"running","device":"d","command":"heat"}'
IMPOSSIBLE = b'{"device":"d","commands":{"c":{"parameters":{"p":{"type":"int","min":5,"max":1}}}}}'


def test_other_kinds_from_a_node(desk: Desk) -> None:
    lost = msgspec.json.encode({"until": 5, "readings": 40, "reason": "dropped"})
    profile = msgspec.json.encode({"device": "d", "metrics": {"m": {"unit": "°C"}}})
    step = msgspec.json.encode({"id": "c", "step": "running", "device": "d", "command": "heat"})
    entries = [
        message(EntryKind.TOMBSTONE, 1, lost, 40, 40, until=5),
        message(EntryKind.PROFILE, 6, profile, 0, 40),
        message(EntryKind.COMMAND, 7, step, 0, 40),
    ]
    assert uplink(desk, *entries) == 7
    [entry] = desk.entries(EntryKind.TOMBSTONE)
    assert (entry.seq, entry.count, entry.payload["until"], entry.payload["readings"]) == (1, 40, 5, 40)
    assert desk.entries(EntryKind.PROFILE)[0].payload == {"device": "d", "metrics": {"m": {"unit": "°C"}}}
    assert desk.entries(EntryKind.COMMAND)[0].payload["step"] == "running"


@pytest.mark.parametrize(
    "kind",
    [
        EntryKind.RULE,
        EntryKind.PURGE,
        EntryKind.SETTINGS,
        EntryKind.ACKNOWLEDGEMENT,
        EntryKind.TICK,
        EntryKind.COUNTERS,
        99,
    ],
)
def test_a_node_cannot_give_orders(desk: Desk, kind: int) -> None:
    with pytest.raises(Reject, match="kind"):
        uplink(desk, message(kind, 1, b"{}"))
    assert desk.frames() == []


def test_a_stream_has_no_gaps(desk: Desk) -> None:
    with pytest.raises(Conflict) as refused:
        uplink(desk, outgoing(5))
    assert refused.value.known == 0
    assert uplink(desk, outgoing(5), confirmed=4) == 5
    with pytest.raises(Conflict) as refused:
        uplink(desk, outgoing(7), confirmed=4)
    assert refused.value.known == 5
    assert uplink(desk, outgoing(6)) == 6  # whatever the node believes
    assert uplink(desk, outgoing(5), outgoing(6), outgoing(7), confirmed=4) == 7  # again: its receipt was lost
    assert uplink(desk, outgoing(1), stream=StreamId("epoch-2", Lane.LIVE)) == 1
    assert uplink(desk, outgoing(1), who=Credential("x", "x", frozenset({"ingest"}), node="other")) == 1


def test_what_was_not_written_is_not_known(desk: Desk) -> None:
    desk.trouble.failures.append(Retry("full"))
    with pytest.raises(Retry):
        uplink(desk, outgoing(1))
    with pytest.raises(Conflict):
        uplink(desk, outgoing(2))


def test_good_entries_before_a_bad_one_are_taken(desk: Desk) -> None:
    bad = Outgoing(EntryKind.READINGS, 2, 2, 1, 2, b"\0" * 16, b"junk")
    assert uplink(desk, outgoing(1), bad, outgoing(3)) == 1
    with pytest.raises(Reject, match="digest"):
        uplink(desk, bad, outgoing(3), confirmed=1)


@pytest.mark.parametrize(
    ("entries", "word"),
    [
        ([], "none"),
        ([outgoing(1), outgoing(3)], "follow"),
        ([outgoing(0)], "follow"),
        ([outgoing(1), outgoing(2, count=9)], "readings"),
        ([message(EntryKind.READINGS, 1, b"junk", 1, 1)], "encoding"),
        ([message(EntryKind.READINGS, 1, outgoing(1).content, 2, 2)], "announced"),
        ([message(EntryKind.READINGS, 1, outgoing(1).content, 1, 1, until=3)], "tombstone"),
        ([message(EntryKind.TOMBSTONE, 1, b'{"until":9,"readings":0}', 0, 0, until=2)], "otherwise"),
        ([message(EntryKind.TOMBSTONE, 1, b"[]", 0, 0)], "content"),
        ([message(EntryKind.PROFILE, 1, b'{"device":""}')], "empty"),
        ([message(EntryKind.PROFILE, 1, b'{"device":5}')], "content"),
        ([message(EntryKind.PROFILE, 1, b'{"device":"d"}', 3, 3)], "only batches"),
        ([message(EntryKind.PROFILE, 1, IMPOSSIBLE)], "above max"),
        ([message(EntryKind.COMMAND, 1, b"[" * 100_000)], "content"),
        ([message(EntryKind.COMMAND, 1, STEP.replace(b"running", b"accepted"))], "accepted"),
        ([message(EntryKind.COMMAND, 1, STEP.replace(b"running", b"cancelled"))], "cancelled"),
        ([message(EntryKind.COMMAND, 1, STEP.replace(b"running", b"flying"))], "content"),
        ([outgoing(1, [float("nan")])], "finite"),
    ],
)
def test_what_a_node_should_not_send(desk: Desk, entries: list[Outgoing], word: str) -> None:
    with pytest.raises(Invalid, match=word):
        uplink(desk, *entries)
    assert desk.frames() == []


@pytest.mark.parametrize(
    "stream", [StreamId("", 2), StreamId("e\n", 2), StreamId("x" * 300, 2), StreamId("e", 0), StreamId("e", 4)]
)
def test_streams_that_cannot_be(desk: Desk, stream: StreamId) -> None:
    with pytest.raises(Invalid):
        uplink(desk, outgoing(1), stream=stream)


def test_only_nodes_have_streams(desk: Desk) -> None:
    with pytest.raises(Forbidden, match="no node"):
        uplink(desk, outgoing(1), who=WHO)


def test_a_node_may_write_its_devices_only(desk: Desk) -> None:
    who = Credential("i", "n", frozenset({"ingest"}), ("x-*",), node="attic")
    with pytest.raises(Forbidden, match="'d'"):
        uplink(desk, outgoing(1), who=who)
    with pytest.raises(Forbidden, match="'d'"):
        uplink(desk, message(EntryKind.PROFILE, 1, b'{"device":"d"}'), who=who)
    with pytest.raises(Forbidden, match="'d'"):
        uplink(desk, message(EntryKind.COMMAND, 1, STEP), who=who)


def test_one_bad_clock_does_not_hold_a_batch_back(desk: Desk) -> None:
    now = desk.clock.now()
    rows = [Reading(device="d", metric="m", time=t, value=1.0) for t in (now, now + 2 * DAY, now + DAY)]
    uplink(desk, message(EntryKind.READINGS, 1, encode(Batch.of(rows)), 3, 3))
    assert [r.quality for r in desk.readings()] == [Quality.GOOD, Quality.CLOCK, Quality.GOOD]


def test_a_batch_without_rows(desk: Desk) -> None:
    assert uplink(desk, outgoing(1, [])) == 1
    assert desk.entries()[0].rows == 0


# -- admission


def test_admission(desk: Desk) -> None:
    text = desk.token("ingest")
    assert desk.sink.admit(text, "ingest", 100, "127.0.0.1").scopes == {"ingest"}
    for token, scope, size, error in [
        (None, "ingest", 0, Unauthenticated),
        ("nonsense", "ingest", 0, Unauthenticated),
        (desk.token("read"), "ingest", 0, Forbidden),
        (text, "ingest", Limits().body_bytes + 1, TooLarge),
    ]:
        with pytest.raises(error):
            desk.sink.admit(token, scope, size, "127.0.0.1")
    assert desk.sample("sink_refused_total", reason="unauthenticated") == 2


def test_mistake_12_a_limiter_that_refuses_for_ever() -> None:
    """Over the budget, a sender is told when to come again, and then it is let in; also with more than the capacity."""
    desk = Desk(limits=Limits(bytes_per_second=1_000, burst_bytes=2_000))
    text = desk.token("ingest")

    def admit(size: int) -> float:
        try:
            desk.sink.admit(text, "ingest", size, "127.0.0.1")
        except Throttled as refused:
            return refused.after or 0.0
        return 0.0

    assert admit(1_500) == 0
    assert admit(1_000) == pytest.approx(0.5)
    desk.clock.seconds += 0.5
    assert admit(1_000) == 0
    assert admit(5_000) == pytest.approx(2.0)  # more than there ever is: when the bucket is full
    desk.clock.seconds += 2.0
    assert admit(5_000) == 0
    assert admit(1) == pytest.approx(3.001)  # the debt is paid back
    desk.clock.seconds += 3.002
    assert admit(1) == 0
    desk.sink.close()


def test_one_token_does_not_use_up_anothers_budget() -> None:
    desk = Desk(limits=Limits(token_bytes_per_second=10, token_burst_bytes=100))
    greedy, modest = desk.token("ingest"), desk.token("ingest")
    desk.sink.admit(greedy, "ingest", 100, "127.0.0.1")
    with pytest.raises(Throttled):
        desk.sink.admit(greedy, "ingest", 50, "127.0.0.1")
    desk.sink.admit(modest, "ingest", 50, "127.0.0.1")
    desk.sink.close()


def test_what_was_refused_costs_no_budget() -> None:
    clock = HandClock()
    bucket = TokenBucket(10, 100, clock.monotonic())
    for _ in range(100):
        assert bucket.wait_for(1_000, clock.monotonic()) == 0
        assert bucket.wait_for(100, clock.monotonic()) == 0
    bucket.take(100)
    for _ in range(100):
        assert bucket.wait_for(50, clock.monotonic()) == pytest.approx(5)


def test_a_clock_that_jumps_gives_no_budget_away() -> None:
    clock = HandClock()
    bucket = TokenBucket(10, 100, clock.monotonic())
    bucket.take(100)
    clock.micros += 365 * DAY
    assert bucket.wait_for(50, clock.monotonic()) == pytest.approx(5)


def test_all_errors_are_ours(desk: Desk) -> None:
    for data in (b"\x00", b"[" * 5000, b'{"device":', b"\xff" * 100):
        for media in ("application/json", "application/x-ndjson", "application/vnd.apache.arrow.stream"):
            with pytest.raises(SondeError):
                telemetry(desk, data, content_type=media)
