"""Carries out commands on a node, each at most once whatever crashes.

A command is written down in the book before anything is done about it, and once more before it runs. What ran when the node
died is *unknown*, and that is said at the next start.
"""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec
import structlog

from sonde.clock import Clock
from sonde.command import Step, StepKind, Task
from sonde.entry import EntryKind, Lane
from sonde.errors import Conflict, Retry, SondeError
from sonde.node.backoff import Backoff
from sonde.ports import CommandBook, Noted, Outbox, Stage, Tell

_SENSOR_SECONDS: Final = 10.0  # for a device to be declared, such as after a start
_LOOK_SECONDS: Final = 0.1
_TELL_SECONDS: Final = 0.25  # between two steps that only say how far it has come
_MESSAGE: Final = 1_000  # characters
_DETAILS_BYTES: Final = 64 << 10
_log = structlog.get_logger()


class Performer(Protocol):
    """Whoever has a device."""

    def perform(self, device: str, command: str, parameters: Mapping[str, Any], tell: Tell) -> Any: ...


@dataclass(slots=True)
class _Waiting:
    """A command in the queue of its device."""

    task: Task
    epoch: str
    deadline: float
    is_taken: bool = False  # by the thread of its device
    is_running: bool = False


class Performing:
    """A thread for each device that has something to do, which takes one command after another.

    ``find`` gives whoever has a device; ``committed`` is told of each entry put into the outbox.
    """

    def __init__(
        self,
        book: CommandBook,
        outbox: Outbox,
        *,
        find: Callable[[str], Performer | None],
        committed: Callable[[int, int], None],
        clock: Clock,
        sensor_seconds: float = _SENSOR_SECONDS,
    ) -> None:
        self._book, self._outbox, self._find, self._committed, self._clock = book, outbox, find, committed, clock
        self._sensor_seconds = sensor_seconds
        self._lock = threading.Lock()
        self._mine: dict[str, _Waiting] = {}  # by id: what this process has in hand
        self._queues: dict[str, deque[_Waiting]] = {}  # by device, as long as its thread lives
        self._stopping = threading.Event()
        self._idle = threading.Condition(self._lock)

    def recover(self) -> None:
        """Say of what ran when this node died that nobody knows what became of it. Before the first :meth:`take`."""
        for noted in self._book.running():
            self._put(noted, Stage.DONE, StepKind.UNKNOWN, "", message="the node died while it ran")

    def take(self, task: Task, epoch: str) -> None:
        """Do what a server asks, if it was not done before. :class:`Retry` if the outbox takes nothing now: ask again."""
        noted = Noted(task.id, task.device, task.command)
        stage = self._book.stage(task.id)
        if stage == Stage.DONE or self._stopping.is_set():
            return
        if task.begun or task.expires_in <= 0:
            self._recall(noted, task, stage, epoch)
        elif task.id not in self._mine and stage != Stage.RUNNING:
            try:
                self._put(noted, Stage.DELIVERED, StepKind.DELIVERED, epoch)
            except Conflict as error:
                _log.warning("command_not_taken", command=task.id, reason=str(error))
                return
            self._enqueue(_Waiting(task, epoch, self._clock.monotonic() + task.expires_in))

    def stop(self, timeout: float) -> None:
        """Begin nothing more, and wait for what runs. What does not end in time is unknown."""
        self._stopping.set()
        with self._lock:
            self._idle.wait_for(lambda: not self._queues, timeout)
            left = [waiting.task for waiting in self._mine.values() if waiting.is_running]
        for task in left:
            noted = Noted(task.id, task.device, task.command)
            try:
                self._put(noted, Stage.DONE, StepKind.UNKNOWN, "", message="the node was stopped while it ran")
            except SondeError as error:  # then the next start says it
                _log.warning("command_left_running", command=task.id, reason=str(error))

    def _recall(self, noted: Noted, task: Task, stage: Stage | None, epoch: str) -> None:
        """The command must not begin any more: say what became of it, if it is not under way."""
        with self._lock:
            waiting = self._mine.get(task.id)
            if waiting is not None and waiting.is_taken:
                return
            if waiting is not None:
                self._mine.pop(task.id)
                self._queues[task.device].remove(waiting)
        if task.begun or stage == Stage.RUNNING:
            why = "it was seen to run, and this node does not know of it"
            self._put(noted, Stage.DONE, StepKind.UNKNOWN, epoch, message=why)
        else:
            self._put(noted, Stage.DONE, StepKind.EXPIRED, epoch, message="its time was over before it began")

    def _enqueue(self, waiting: _Waiting) -> None:
        task = waiting.task
        with self._lock:
            self._mine[task.id] = waiting
            queue = self._queues.get(task.device)
            if queue is not None:
                queue.append(waiting)
                return
            self._queues[task.device] = deque([waiting])
        threading.Thread(target=self._work, args=(task.device,), name=f"command-{task.device}", daemon=True).start()

    def _work(self, device: str) -> None:
        while (waiting := self._next(device)) is not None:
            try:
                self._carry_out(waiting)
            except Exception:  # a bug must not leave the device without a thread, nor the command without an end
                _log.exception("command_unexpected", command=waiting.task.id)
            with self._lock:
                self._mine.pop(waiting.task.id, None)

    def _next(self, device: str) -> _Waiting | None:
        with self._lock:
            queue = self._queues[device]
            if queue and not self._stopping.is_set():
                waiting = queue.popleft()
                waiting.is_taken = True
                return waiting
            del self._queues[device]
            self._idle.notify_all()
            return None

    def _carry_out(self, waiting: _Waiting) -> None:
        task = waiting.task
        noted = Noted(task.id, task.device, task.command)
        performer = self._performer(task.device)
        if self._stopping.is_set():
            return  # it is written down as delivered, and may run after the next start
        if self._clock.monotonic() >= waiting.deadline:
            self._end(noted, StepKind.EXPIRED, waiting.epoch, message="its time was over before it began")
        elif performer is None:
            self._end(noted, StepKind.FAILED, waiting.epoch, message=f"no sensor of this node has {task.device!r} now")
        elif self._begin(noted, waiting.epoch):
            waiting.is_running = True
            kind, message, details = self._outcome(noted, task, performer)
            self._end(noted, kind, waiting.epoch, message=message, details=details)

    def _performer(self, device: str) -> Performer | None:
        deadline = self._clock.monotonic() + self._sensor_seconds
        while (found := self._find(device)) is None and self._clock.monotonic() < deadline:
            if self._clock.wait(self._stopping, _LOOK_SECONDS):
                break
        return found

    def _begin(self, noted: Noted, epoch: str) -> bool:
        """Write down that it runs; whether it may."""
        try:
            return self._until_put(noted, Stage.RUNNING, StepKind.RUNNING, epoch)
        except Conflict as error:  # the book was lost meanwhile: the server learns it from the new epoch
            _log.warning("command_not_begun", command=noted.id, reason=str(error))
            return False

    def _outcome(self, noted: Noted, task: Task, performer: Performer) -> tuple[StepKind, str, Any]:
        try:
            given = performer.perform(task.device, task.command, task.parameters, self._teller(noted))
        except (Exception, SystemExit) as error:  # whatever a sensor raises, its command has failed
            return StepKind.FAILED, str(error) or type(error).__name__, None
        message, details = _said(given)
        return StepKind.SUCCEEDED, message, details

    def _end(self, noted: Noted, kind: StepKind, epoch: str, **said: Any) -> None:
        self._until_put(noted, Stage.DONE, kind, epoch, **said)

    def _until_put(self, noted: Noted, stage: Stage, kind: StepKind, epoch: str, **said: Any) -> bool:
        """As long as the outbox takes nothing, try again; whether it was news."""
        backoff = Backoff(0.05, 5.0)
        while True:
            try:
                return self._put(noted, stage, kind, epoch, **said)
            except Retry as error:
                if self._stopping.is_set():
                    return False
                _log.warning("command_waits", command=noted.id, reason=str(error))
                self._clock.wait(self._stopping, backoff.next())

    def _put(self, noted: Noted, stage: Stage, kind: StepKind, epoch: str, **said: Any) -> bool:
        seq = self._book.advance(epoch, noted, stage, self._step(noted, kind, **said))
        if seq is not None:
            self._committed(Lane.CONTROL, seq)
        return seq is not None

    def _teller(self, noted: Noted) -> Tell:
        told = float("-inf")

        def tell(progress: float | None, message: str = "") -> None:
            nonlocal told
            now = self._clock.monotonic()
            if now - told < _TELL_SECONDS or self._book.stage(noted.id) != Stage.RUNNING:
                return
            told = now
            share = None if progress is None else min(max(float(progress), 0.0), 1.0)
            step = self._step(noted, StepKind.RUNNING, progress=share, message=message)
            try:
                self._committed(Lane.CONTROL, self._outbox.put(Lane.CONTROL, EntryKind.COMMAND, step, 0))
            except Retry as error:  # only the end must arrive
                _log.info("progress_not_told", command=noted.id, reason=str(error))

        return tell

    def _step(
        self, noted: Noted, kind: StepKind, *, message: str = "", progress: float | None = None, details: Any = None
    ) -> bytes:
        return msgspec.json.encode(
            Step(
                id=noted.id,
                step=kind,
                device=noted.device,
                command=noted.command,
                time=self._clock.now(),
                message=_plain(message),
                progress=progress,
                details=details,
            )
        )


def _said(given: Any) -> tuple[str, Any]:
    """The message and the details in what a command returned."""
    if given is None or isinstance(given, str):
        return given or "", None
    try:
        details = msgspec.json.decode(msgspec.json.encode(given))
        size = len(msgspec.json.encode(details))
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError):
        return _plain(repr(given)), None
    if size > _DETAILS_BYTES:
        return f"its result has {size:,} bytes, more than the {_DETAILS_BYTES:,} that are kept", None
    return "", details


def _plain(text: str) -> str:
    sound = text.encode("utf-8", "backslashreplace").decode()
    return sound if len(sound) <= _MESSAGE else sound[: _MESSAGE - 1] + "…"
