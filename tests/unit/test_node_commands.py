"""What a node does with commands: each at most once, each step told, whatever a device does."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
import pytest

from sonde.clock import SystemClock
from sonde.command import Poll, Step, StepKind, Task, Tasks
from sonde.entry import Lane
from sonde.errors import Hold, Retry
from sonde.node.backoff import Backoff
from sonde.node.listener import Listener
from sonde.node.outbox import MemoryOutbox
from sonde.node.performing import Performer, Performing
from sonde.ports import Noted, Stage, Tell

Do = Callable[[Tell], Any]


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never became so"
        time.sleep(0.002)


class Device:
    """Does what a test says, and counts."""

    def __init__(self, do: Do = lambda tell: "done") -> None:
        self.do = do
        self.did: list[tuple[str, str, Mapping[str, Any]]] = []

    def perform(self, device: str, command: str, parameters: Mapping[str, Any], tell: Tell) -> Any:
        self.did.append((device, command, parameters))
        return self.do(tell)


class Full(MemoryOutbox):
    """Takes nothing as long as it is full."""

    full = False

    def advance(self, epoch: str, noted: Noted, stage: Stage, step: bytes) -> int | None:
        if self.full:
            raise Retry("the disk is full")
        return super().advance(epoch, noted, stage, step)


class World:
    def __init__(self, **devices: Device) -> None:
        self.outbox, self.devices = Full(), devices
        self.performing = self.another()

    def another(self) -> Performing:
        """The node after a restart."""
        find: Callable[[str], Performer | None] = self.devices.get
        return Performing(
            self.outbox,
            self.outbox,
            find=find,
            committed=lambda lane, seq: None,
            clock=SystemClock(),
            sensor_seconds=0.2,
        )

    def take(self, id_: str = "c1", device: str = "lamp", **more: Any) -> None:
        task = Task(
            **{"id": id_, "device": device, "command": "flash", "parameters": {"n": 1}, "expires_in": 60.0, **more}
        )
        self.performing.take(task, self.outbox.book_epoch)

    def said(self, id_: str = "c1") -> list[Step]:
        steps = [msgspec.json.decode(e.content, type=Step) for e in self.outbox.peek(Lane.CONTROL, 1 << 30)]
        return [step for step in steps if step.id == id_]

    def kinds(self, id_: str = "c1") -> list[str]:
        return [step.step for step in self.said(id_)]

    def wait_for_end(self, id_: str = "c1") -> Step:
        until(lambda: self.outbox.stage(id_) == Stage.DONE)
        return self.said(id_)[-1]


@pytest.fixture
def lamp() -> Device:
    return Device()


@pytest.fixture
def world(lamp: Device) -> Iterator[World]:
    made = World(lamp=lamp)
    yield made
    made.performing.stop(5.0)


def test_a_command_is_carried_out_and_each_step_is_told(world: World, lamp: Device) -> None:
    world.take()
    end = world.wait_for_end()
    assert world.kinds() == ["delivered", "running", "succeeded"]
    assert (end.message, end.device, end.command) == ("done", "lamp", "flash")
    assert lamp.did == [("lamp", "flash", {"n": 1})]


def test_the_same_delivery_again_and_again_runs_once(world: World, lamp: Device) -> None:
    go = threading.Event()
    lamp.do = lambda tell: go.wait(30)
    for _ in range(3):
        world.take()
    until(lambda: len(lamp.did) == 1)
    world.take()
    world.take(begun=True)
    go.set()
    world.wait_for_end()
    world.take()
    world.performing = world.another()
    world.take()
    world.take(begun=True)
    world.take(expires_in=-5.0)
    assert len(lamp.did) == 1
    assert world.kinds() == ["delivered", "running", "succeeded"]


def test_commands_of_one_device_come_one_after_another_those_of_others_beside() -> None:
    go = threading.Event()
    slow, quick = Device(lambda tell: go.wait(30)), Device()
    world = World(slow=slow, quick=quick)
    for number in range(3):
        world.take(f"s{number}", "slow", parameters={"n": number})
    world.take("q", "quick")
    world.wait_for_end("q")
    assert len(slow.did) == 1
    assert world.kinds("s1") == ["delivered"]
    go.set()
    for number in range(3):
        world.wait_for_end(f"s{number}")
    assert [p["n"] for _, _, p in slow.did] == [0, 1, 2]


def test_what_was_seen_to_run_and_is_not_known_here_is_unknown(world: World, lamp: Device) -> None:
    world.take(begun=True)
    assert world.wait_for_end().step == StepKind.UNKNOWN
    assert not lamp.did


def test_what_comes_too_late_never_runs(world: World, lamp: Device) -> None:
    world.take(expires_in=0.0)
    assert world.wait_for_end().step == StepKind.EXPIRED
    world.take()
    assert not lamp.did


def test_what_waits_behind_another_may_expire_but_what_runs_may_not(world: World, lamp: Device) -> None:
    go = threading.Event()
    lamp.do = lambda tell: go.wait(30)
    world.take("first")
    until(lambda: len(lamp.did) == 1)
    world.take("by-clock", expires_in=1e-9)
    world.take("by-server")
    world.take("by-server", expires_in=-1.0)
    assert world.wait_for_end("by-server").step == StepKind.EXPIRED
    world.take("first", expires_in=-1.0)
    go.set()
    assert world.wait_for_end("first").step == StepKind.SUCCEEDED
    assert world.wait_for_end("by-clock").step == StepKind.EXPIRED
    assert len(lamp.did) == 1


def test_what_ran_when_the_node_died_is_unknown_and_what_had_not_begun_runs(world: World, lamp: Device) -> None:
    book, epoch = world.outbox, world.outbox.book_epoch
    for id_, stages in (("ran", (Stage.DELIVERED, Stage.RUNNING)), ("waits", (Stage.DELIVERED,))):
        for stage in stages:
            book.advance(
                epoch, Noted(id_, "lamp", "flash"), stage, b'{"id":"","step":"running","device":"","command":""}'
            )
    world.performing = world.another()
    world.performing.recover()
    assert world.said("ran")[-1].step == StepKind.UNKNOWN
    world.take("ran", begun=True)
    world.take("waits")
    assert world.wait_for_end("waits").step == StepKind.SUCCEEDED
    assert len(lamp.did) == 1


def test_nothing_begins_that_could_not_be_written_down(world: World, lamp: Device) -> None:
    world.outbox.full = True
    with pytest.raises(Retry):
        world.take()
    assert (lamp.did, world.said()) == ([], [])
    world.outbox.full = False
    world.take()
    assert world.wait_for_end().step == StepKind.SUCCEEDED
    assert len(lamp.did) == 1


def test_a_result_waits_for_the_disk(world: World, lamp: Device) -> None:
    def fill(tell: Tell) -> str:
        world.outbox.full = True
        return "done"

    lamp.do = fill
    world.take()
    until(lambda: world.outbox.full)
    world.outbox.full = False
    assert world.wait_for_end().message == "done"


def test_what_another_epoch_was_given_does_not_run(world: World, lamp: Device) -> None:
    world.performing.take(Task("c1", "lamp", "flash", {}, 60.0), "another")
    assert (lamp.did, world.said()) == ([], [])


def test_a_device_that_no_sensor_has(world: World) -> None:
    world.take(device="nobody")
    end = world.wait_for_end()
    assert (end.step, "nobody" in end.message) == (StepKind.FAILED, True)


@pytest.mark.parametrize(
    ("given", "message", "details"),
    [
        (None, "", None),
        ("so", "so", None),
        ({"a": [1, None]}, "", {"a": [1, None]}),
        (7, "", 7),
        (float("nan"), "", None),
        (object, "<class 'object'>", None),
        ("x" * 5000, "x" * 999 + "…", None),
        ("lone \ud800", "lone \\ud800", None),
        (["x" * 70_000], "its result has 70,004 bytes, more than the 65,536 that are kept", None),
    ],
)
def test_what_a_command_gives_back(world: World, lamp: Device, given: Any, message: str, details: Any) -> None:
    lamp.do = lambda tell: given
    world.take()
    end = world.wait_for_end()
    assert (end.step, end.message, end.details) == (StepKind.SUCCEEDED, message, details)


@pytest.mark.parametrize("error", [ValueError("no bulb"), KeyError(), SystemExit("gone")])
def test_whatever_a_command_raises_it_has_failed(world: World, lamp: Device, error: BaseException) -> None:
    def raise_(tell: Tell) -> None:
        raise error

    lamp.do = raise_
    world.take()
    assert world.wait_for_end().step == StepKind.FAILED
    lamp.do = lambda tell: "well again"
    world.take("c2")
    assert world.wait_for_end("c2").step == StepKind.SUCCEEDED


def test_how_far_it_is_is_told_but_not_too_often(world: World, lamp: Device) -> None:
    def busy(tell: Tell) -> None:
        for number in range(1000):
            tell(number / 500, f"step {number}")

    lamp.do = busy
    world.take()
    world.wait_for_end()
    told = [step for step in world.said() if step.progress is not None]
    assert 1 <= len(told) < 50
    assert told[0].progress == 0.0
    assert all(0.0 <= (step.progress or 0.0) <= 1.0 for step in told)


def test_a_node_that_stops_waits_for_what_runs_and_says_what_it_left(world: World, lamp: Device) -> None:
    go, hung = threading.Event(), threading.Event()
    lamp.do = lambda tell: go.wait(0.2) and hung.wait(30)
    world.take("quick")
    until(lambda: len(lamp.did) == 1)
    world.take("waits")
    world.performing.stop(10.0)
    assert world.said("quick")[-1].step == StepKind.SUCCEEDED
    assert world.kinds("waits") == ["delivered"]
    world.performing = world.another()
    go.set()
    world.take("hangs")
    until(lambda: len(lamp.did) == 2)
    world.performing.stop(0.05)
    assert world.said("hangs")[-1].step == StepKind.UNKNOWN
    hung.set()


class Server:
    """A downlink that answers what a test says."""

    def __init__(self, *answers: Tasks | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[Poll] = []
        self.closed = threading.Event()

    def poll(self, poll: Poll, wait: float) -> Tasks:
        self.asked.append(poll)
        if not self.answers:
            self.closed.wait(30)
            raise Retry("closed")
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        self.closed.set()


def listener(server: Server, take: Callable[[Task, str], None], **options: Any) -> Listener:
    made = Listener(
        server,
        MemoryOutbox(),
        **{"recover": lambda: None, "take": take, "declare": lambda: None, **options},
        clock=SystemClock(),
        backoff=Backoff(0.001, 0.01),
        hold_seconds=0.01,
    )
    made.start()
    return made


TASK = Task("c1", "lamp", "flash", {}, 60.0)


def test_a_listener_goes_on_whatever_its_server_says() -> None:
    server = Server(Retry("away"), Hold("no"), ValueError("a bug"), Tasks(1, "log", [TASK]), Tasks(2, "log", []))
    taken: list[Task] = []
    listening = listener(server, lambda task, epoch: taken.append(task))
    until(lambda: len(server.asked) == 6)
    listening.stop(5)
    assert taken == [TASK]
    assert [poll.seen for poll in server.asked] == [0, 0, 0, 0, 1, 2]
    assert len({poll.session for poll in server.asked}) == 1
    assert listening.problem == ""


def test_a_task_that_could_not_be_taken_is_not_counted_as_seen() -> None:
    server = Server(Tasks(1, "log", [TASK]), Tasks(2, "log", [TASK]))
    tries: list[str] = []

    def take(task: Task, epoch: str) -> None:
        tries.append(task.id)
        if len(tries) == 1:
            raise Retry("the disk is full")

    listening = listener(server, take)
    until(lambda: len(server.asked) == 3)
    listening.stop(5)
    assert [poll.seen for poll in server.asked] == [0, 0, 2]


def test_devices_are_declared_anew_to_a_server_with_another_log() -> None:
    declared: list[int] = []
    server = Server(Tasks(1, "a", []), Tasks(2, "a", []), Tasks(3, "b", []), Tasks(4, "b", []))
    listening = listener(server, lambda task, epoch: None, declare=lambda: declared.append(1))
    until(lambda: len(server.asked) == 5)
    listening.stop(5)
    assert declared == [1]


def test_recovery_comes_before_anything_is_asked_and_is_tried_until_it_works() -> None:
    server, tries = Server(), []

    def recover() -> None:
        tries.append(len(server.asked))
        if len(tries) < 3:
            raise Retry("the disk is full")

    listening = listener(server, lambda task, epoch: None, recover=recover)
    until(lambda: len(server.asked) == 1)
    listening.stop(5)
    assert tries == [0, 0, 0]
