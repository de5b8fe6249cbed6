"""The node: sensors never wait, nothing they gave is lost without a word, and those that fail are made again."""

import itertools
import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from sonde.entry import EntryKind, Lane
from sonde.errors import Retry
from sonde.keyring import KeyRing
from sonde.node.backoff import Backoff
from sonde.node.node import Node, SensorSpec
from sonde.node.outbox import MemoryOutbox, SqliteOutbox
from sonde.ports import EndOfReadings, Outbox, Outgoing, Sensor, StreamId
from sonde.profile import Metric, Profile
from sonde.reading import Quality, Reading, Value, decode
from sonde.testing.outbox_contract import everything


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never became so"
        threading.Event().wait(0.002)


class Away:
    """A wire to a sink that is not there."""

    def send(self, stream: StreamId, confirmed: int, entries: Sequence[Outgoing]) -> int:
        raise Retry("away")

    def close(self) -> None:
        pass


class Counting:
    """Gives 1, 2, 3 … at one reading a read."""

    def __init__(self, *, size: int = 1) -> None:
        self.given = 0
        self.size = size
        self.closed = False

    def read(self) -> Sequence[Reading]:
        self.given += self.size
        return [reading(self.given - i) for i in reversed(range(self.size))]

    def close(self) -> None:
        self.closed = True


class Script:
    """Does what it is told, read by read; then nothing."""

    def __init__(self, *steps: Callable[[], Sequence[Reading]]) -> None:
        self.steps = list(steps)

    def read(self) -> Sequence[Reading]:
        return self.steps.pop(0)() if self.steps else []

    def close(self) -> None:
        pass


def reading(value: Value, **changes: object) -> Reading:
    fields = {"device": "d", "metric": "m", "time": 1_700_000_000_000_000, "value": value} | changes
    return Reading(**fields)  # type: ignore[arg-type]


def stored(outbox: Outbox) -> list[Reading]:
    """All readings in the live and backlog lanes."""
    return [
        r
        for lane in (Lane.LIVE, Lane.BACKLOG)
        for entry in everything(outbox, lane)
        if entry.kind == EntryKind.READINGS
        for r in decode(entry.content).readings()
    ]


Start = Callable[..., Node]


@pytest.fixture
def outbox() -> MemoryOutbox:
    return MemoryOutbox(limit_bytes=1 << 30)


@pytest.fixture
def start(outbox: MemoryOutbox) -> Iterator[Start]:
    nodes: list[Node] = []

    def start(
        *sensors: Callable[[], Sensor], into: Outbox = outbox, interval: float = 0.001, **options: object
    ) -> Node:
        specs = [SensorSpec(f"s{i}", make, interval) for i, make in enumerate(sensors)]
        options = {"restart": lambda: Backoff(0.01, 0.05)} | options
        nodes.append(Node(into, Away(), specs, **options))  # type: ignore[arg-type]
        nodes[-1].start()
        return nodes[-1]

    yield start
    for node in nodes:
        node.stop(5.0)


def test_everything_that_was_read_is_committed_when_it_stops(start: Start, outbox: MemoryOutbox) -> None:
    sensor = Counting(size=7)
    node = start(lambda: sensor)
    until(lambda: sensor.given > 200)
    node.stop(5.0)
    assert [r.value for r in stored(outbox)] == list(range(1, sensor.given + 1))
    assert sensor.closed


class Stuck(MemoryOutbox):
    """An outbox whose disk does not answer, or answers that it is full."""

    def __init__(self) -> None:
        super().__init__(limit_bytes=1 << 30)
        self.free = threading.Event()
        self.full = False

    def put(self, lane: int, kind: int, content: bytes, readings: int) -> int:
        self.free.wait(20.0)
        if self.full:
            raise Retry("the disk is full")
        return super().put(lane, kind, content, readings)


def test_mistake_04_sampling_does_not_wait_for_sending_nor_for_the_disk(start: Start) -> None:
    outbox, sensor = Stuck(), Counting()
    node = start(lambda: sensor, into=outbox)
    until(lambda: sensor.given > 300)
    outbox.free.set()
    node.stop(5.0)
    assert [r.value for r in stored(outbox)] == list(range(1, sensor.given + 1))


def test_mistake_11_what_waits_for_the_disk_is_bounded_and_the_ledger_knows(start: Start) -> None:
    outbox, sensor = Stuck(), Counting(size=10)
    node = start(lambda: sensor, into=outbox, capacity=100)
    until(lambda: sensor.given > 500)
    outbox.free.set()
    node.stop(5.0)
    entries = everything(outbox, Lane.LIVE) + everything(outbox, Lane.BACKLOG)
    lost = sum(e.readings for e in entries if e.kind == EntryKind.TOMBSTONE)
    assert lost > 0
    assert lost + len(stored(outbox)) == sensor.given
    stones = [json.loads(e.content)["reason"] for e in entries if e.kind == EntryKind.TOMBSTONE]
    assert all(reason.startswith("dropped") for reason in stones)


def test_a_full_disk_is_said_and_ends_by_itself(start: Start) -> None:
    outbox, sensor = Stuck(), Counting()
    outbox.full = True
    outbox.free.set()
    node = start(lambda: sensor, into=outbox)
    until(lambda: "the disk is full" in node.problems())
    outbox.full = False
    until(lambda: "the disk is full" not in node.problems())
    node.stop(5.0)
    assert [r.value for r in stored(outbox)] == list(range(1, sensor.given + 1))


def test_batches_are_of_at_most_5000_readings(start: Start, outbox: MemoryOutbox) -> None:
    sensor = Counting(size=12_000)
    start(lambda: sensor, interval=100.0)
    until(lambda: len(stored(outbox)) == 12_000)
    assert [e.readings for e in everything(outbox, Lane.LIVE)] == [5000, 5000, 2000]


def fail(error: Exception) -> Callable[[], Sequence[Reading]]:
    def step() -> Sequence[Reading]:
        raise error

    return step


def test_a_sensor_that_raises_is_made_again_and_its_failure_is_data(start: Start, outbox: MemoryOutbox) -> None:
    made: list[Script] = []

    def make() -> Script:
        made.append(Script(lambda: [reading(len(made))], fail(OSError("no bus"))))
        return made[-1]

    node = start(make)
    until(lambda: len(made) >= 2)
    until(lambda: len(stored(outbox)) >= 3)
    first, second, third = stored(outbox)[:3]
    assert (first.value, first.quality) == (1, Quality.GOOD)
    assert (second.device, second.metric, second.value, second.quality) == ("d", "m", None, Quality.FAILED)
    assert third.value == 2
    node.stop(5.0)
    assert "OSError: no bus" in node.status()["s0"] or node.status()["s0"] == "running"


def test_a_sensor_that_never_gave_anything_fails_under_its_own_name(start: Start, outbox: MemoryOutbox) -> None:
    def make() -> Sensor:
        raise OSError("no device")

    start(make)
    until(lambda: len(stored(outbox)) >= 1)
    failed = stored(outbox)[0]
    assert (failed.device, failed.metric, failed.value, failed.quality) == ("s0", "status", None, Quality.FAILED)


def test_a_sensor_that_hangs_is_left_alone_and_made_again(start: Start, outbox: MemoryOutbox) -> None:
    release = threading.Event()
    made: list[Script] = []

    def hang() -> Sequence[Reading]:
        release.wait(20.0)
        return [reading("too late")]

    def make() -> Script:
        made.append(Script(lambda: [reading(len(made))], hang) if len(made) < 2 else Script(lambda: [reading("well")]))
        return made[-1]

    node = start(make, patience=0.05)
    until(lambda: "well" in [r.value for r in stored(outbox)])
    until(lambda: node.status()["s0"] == "running")
    release.set()
    node.stop(5.0)
    values = [r.value for r in stored(outbox)]
    assert "too late" not in values
    assert values.count(None) == 2


def test_hanging_calls_are_bounded(start: Start) -> None:
    release = threading.Event()
    made: list[int] = []

    def make() -> Sensor:
        made.append(1)
        release.wait(20.0)
        return Counting()

    node = start(make, patience=0.02)
    until(lambda: "hung" in node.status()["s0"], 20.0)
    assert len(made) == 4
    release.set()


@pytest.mark.parametrize(
    "nonsense",
    [
        "text",
        None,
        42,
        [None],
        [reading(math.nan)],
        [reading(math.inf)],
        [reading(2**63)],
        pytest.param([reading(object())], id="no value at all"),  # type: ignore[arg-type]
        [reading({"a": [1, math.nan]})],
        [reading("\ud800")],
        [reading("a\0b")],
        [reading(1, device="")],
        [reading(1, device="a\u202eb")],
        [reading(1, metric="x" * 257)],
        [reading(1, metric="line\nbreak")],
        [reading(1, zone="\ud83d")],
        [reading(1, labels={"a": "\x00"})],
        [reading(1, time=-1)],
        [reading(1, time=1.5)],
        [reading(1, time=2**62)],
        [reading(1, quality=9)],
    ],
    ids=repr,
)
def test_nonsense_is_not_kept_and_what_is_good_beside_it_is(
    start: Start, outbox: MemoryOutbox, nonsense: object
) -> None:
    good = [reading(1, metric="good")]
    step = good + nonsense if isinstance(nonsense, list) else nonsense
    node = start(lambda: Script(lambda: step), restart=lambda: Backoff(60.0, 60.0))  # type: ignore[arg-type, return-value]
    until(lambda: node.status()["s0"].startswith("restarting"))
    node.stop(5.0)
    values = [r.value for r in stored(outbox)]
    assert values == [1, None] if isinstance(nonsense, list) else [None]


def test_what_other_libraries_call_numbers_is_kept(start: Start, outbox: MemoryOutbox) -> None:
    class Scalar:
        def item(self) -> float:
            return 2.5

    class Level(float):
        pass

    values = [Scalar(), Level(1.5), (1, 2), {"a": Scalar()}, True, 2**63 - 1, "ü", None]
    start(lambda: Script(lambda: [reading(v) for v in values]))  # type: ignore[arg-type]
    until(lambda: len(stored(outbox)) == 8)
    assert [r.value for r in stored(outbox)] == [2.5, 1.5, [1, 2], {"a": 2.5}, True, 2**63 - 1, "ü", None]
    assert stored(outbox)[-1].quality == Quality.FAILED


def test_a_slow_sensor_misses_beats_and_does_not_pile_them_up(start: Start, outbox: MemoryOutbox) -> None:
    reads: list[float] = []

    def slow() -> Sequence[Reading]:
        reads.append(time.monotonic())
        threading.Event().wait(0.05)
        return []

    start(lambda: Script(*[slow] * 5), interval=0.02)
    until(lambda: len(reads) == 5)
    gaps = [later - earlier for earlier, later in itertools.pairwise(reads)]
    assert min(gaps) > 0.045


def test_a_beat_does_not_drift(start: Start) -> None:
    reads: list[float] = []

    def read() -> Sequence[Reading]:
        reads.append(time.monotonic())
        return []

    start(lambda: Script(*[read] * 50), interval=0.01)
    until(lambda: len(reads) == 50)
    assert reads[-1] - reads[0] == pytest.approx(0.49, abs=0.1)


def test_a_sensor_may_end(start: Start, outbox: MemoryOutbox) -> None:
    node = start(lambda: Script(lambda: [reading(1)], fail(EndOfReadings())))
    until(lambda: node.status()["s0"] == "ended")
    until(lambda: len(stored(outbox)) == 1)


class Declaring(Counting):
    """A sensor that says what its device is."""

    def __init__(self) -> None:
        super().__init__()
        self.said = [Profile("d", {"m": Metric(unit="°C")})]

    def profiles(self) -> Sequence[Profile]:
        return self.said


def test_profiles_travel_when_it_starts_and_when_they_change(start: Start, outbox: MemoryOutbox) -> None:
    sensor = Declaring()
    start(lambda: sensor)
    until(lambda: len(everything(outbox, Lane.CONTROL)) == 1)
    given = sensor.given
    until(lambda: sensor.given > given + 20)
    assert len(everything(outbox, Lane.CONTROL)) == 1
    sensor.said = [Profile("d", {"m": Metric(unit="K")})]
    until(lambda: len(everything(outbox, Lane.CONTROL)) == 2)
    entries = everything(outbox, Lane.CONTROL)
    assert {e.kind for e in entries} == {EntryKind.PROFILE}
    assert [json.loads(e.content)["metrics"]["m"]["unit"] for e in entries] == ["°C", "K"]


def test_one_bad_sensor_does_not_disturb_the_others(start: Start, outbox: MemoryOutbox) -> None:
    good = Counting()
    start(lambda: good, lambda: Script(fail(OSError("bad"))), lambda: Script(lambda: [reading(math.nan)]))
    until(lambda: good.given > 100)


def test_what_was_committed_is_sent_after_a_restart(tmp_path: Path) -> None:
    ring, sensor = KeyRing.generate(), Counting()
    outbox = SqliteOutbox(tmp_path / "o.db", ring)
    node = Node(outbox, Away(), [SensorSpec("s", lambda: sensor, 0.001)])
    node.start()
    until(lambda: sensor.given > 50)
    node.stop(5.0)
    outbox.close()
    again = SqliteOutbox(tmp_path / "o.db", ring)
    assert [r.value for r in stored(again)] == list(range(1, sensor.given + 1))
    again.close()
