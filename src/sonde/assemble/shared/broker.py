"""A log in Kafka, looked after: whether the brokers take and give."""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from shutil import disk_usage
from typing import Final, TypeVar

import structlog

from sonde.assemble import extras
from sonde.assemble.ground import Ground
from sonde.assemble.shared.probe import Probe
from sonde.errors import Hold, Retry, SondeError
from sonde.ports import Log, Record
from sonde.sink.spread import append_together

_log = structlog.get_logger()
_AGAIN_SECONDS: Final = 2.0
_HURRY_SECONDS: Final = 3.0
_T = TypeVar("_T")


class BrokerLog:
    """Port ``Log`` in front of a topic that remembers what kept it from being written."""

    def __init__(self, log: Log) -> None:
        self.id = log.id
        self._log = log
        self._stopping = False
        self.failure = ""

    def hurry(self) -> None:
        """The server stops: what failed once is not waited for again."""
        self._stopping = True

    def append(self, partition: int, frames: Sequence[bytes]) -> int:
        if self._stopping and self.failure:
            raise Retry(self.failure, hint="Send again", after=1.0)
        try:
            offset = self._log.append(partition, frames)
        except SondeError as error:
            self.failure = str(error)
            raise
        self.failure = ""
        return offset

    def append_together(self, frames: Mapping[int, bytes]) -> Mapping[int, int | SondeError]:
        if self._stopping and self.failure:
            raise Retry(self.failure, hint="Send again", after=1.0)
        found = append_together(self._log, frames)
        self.failure = next((str(outcome) for outcome in found.values() if isinstance(outcome, SondeError)), "")
        return found

    def read(self, partition: int, offset: int, limit_bytes: int, wait: float = 0.0) -> Sequence[Record]:
        return self._log.read(partition, offset, limit_bytes, wait)

    def ends(self) -> Mapping[int, tuple[int, int]]:
        if self._stopping and self.failure:
            raise Retry(self.failure, after=1.0)
        return self._log.ends()

    def cut(self, partition: int, below: int) -> None:
        self._log.cut(partition, below)

    def close(self) -> None:
        self._log.close()


class Broker:
    """``log`` is the topic. It is opened as soon as the brokers answer: until then the constructor waits, unless ``stop`` is
    set. ``start`` once, ``close`` once."""

    def __init__(self, ground: Ground, undo: ExitStack, stop: threading.Event) -> None:
        brokers = extras.load("sonde.assemble.shared.brokers")
        opened = patiently(lambda: brokers.open_log(ground.settings), "the log", stop)
        self.frame_bytes: int = opened.max_frame_bytes
        self.topic: Log = opened
        self._hurry: Callable[[float], None] = opened.hurry
        undo.callback(self.topic.close)
        self.log = BrokerLog(self.topic)
        self._path, self._disk_free = ground.directory.path, ground.metrics.disk_free
        self.free = 0
        self.look()
        self._probe = Probe("log", self._ask)

    def start(self) -> None:
        self._probe.start()

    def hurry(self) -> None:
        """The server stops: what the brokers have not answered soon, they are not waited for."""
        self.log.hurry()
        self._hurry(_HURRY_SECONDS)

    def look(self) -> None:
        """To be called every second."""
        self.free = disk_usage(self._path).free
        self._disk_free.set(self.free)

    def problems(self) -> list[str]:
        """What keeps the log from being read or written."""
        return [problem for problem in (self._probe.problem or self.log.failure,) if problem]

    def close(self) -> None:
        self._probe.stop()
        self.topic.close()

    def _ask(self) -> None:
        self.log.ends()
        self.log.failure = ""  # it answers: what failed before may succeed now


def patiently(open_: Callable[[], _T], what: str, stop: threading.Event) -> _T:
    """What ``open_`` gives, tried again while that is a :class:`Retry`. :class:`Hold` if ``stop`` is set meanwhile."""
    said = ""
    while True:
        try:
            return open_()
        except Retry as error:
            if str(error) != said:
                _log.warning("waiting", what=what, problem=str(error))
            said = str(error)
            if stop.wait(error.after or _AGAIN_SECONDS):
                raise Hold(f"stopped while waiting for {what}: {error.message}") from None
