"""Appends frames to the partitions of a topic, and waits until all copies have them."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, TypeVar

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from sonde.errors import Retry, SondeError, TooLarge
from sonde.log.kafka import clients
from sonde.log.kafka.connection import Connection
from sonde.log.kafka.failures import closed, failure, raised

_POLL: Final = 0.1
_MENDING: Final = 10.0
_ROOM: Final = 0.02  # seconds between two looks whether a full queue has room
_events = structlog.get_logger()
_T = TypeVar("_T")
_U = TypeVar("_U")


class _Append:
    """The frames of one call, on their way."""

    def __init__(self, frames: int) -> None:
        self._left = frames
        self._done = threading.Event()
        self.first = -1
        self.last = -1
        self.error: KafkaError | None = None
        self.problem: SondeError | None = None  # that kept some frames from being handed to the client

    def report(self, index: int, error: KafkaError | None, message: Message) -> None:
        """One of them has arrived, or never will. Called by the client, one report at a time."""
        if error is not None:
            self.error = self.error or error
        else:
            offset = message.offset()
            at = -1 if offset is None else offset
            self.last = max(self.last, at)
            if index == 0:
                self.first = at
        self._left -= 1
        if not self._left:
            self._done.set()

    def forget(self, frames: int) -> None:
        """So many were never handed to the client."""
        self._left -= frames
        if not self._left:
            self._done.set()

    def wait(self, seconds: float) -> bool:
        return self._done.wait(seconds)


class Writer:
    """Any number of threads append; those of one moment share their requests. Frames of one call stay together."""

    def __init__(self, connection: Connection, topic: str, max_frame_bytes: int, seconds: float) -> None:
        self._connection = connection
        self._topic = topic
        self._max_frame_bytes = max_frame_bytes
        self._seconds = seconds
        self._locks: defaultdict[int, threading.Lock] = defaultdict(threading.Lock)
        self._lock = threading.Lock()
        self._ends: dict[int, int] = {}
        self._open = True
        self._gives_up = float("inf")
        self._producer = self._made()
        self._thread = threading.Thread(target=self._run, name="sonde-kafka-write", daemon=True)
        self._thread.start()

    @property
    def ends(self) -> Mapping[int, int]:
        """By partition, one more than the highest offset that was given out here."""
        with self._lock:
            return dict(self._ends)

    def append(self, partition: int, frames: Sequence[bytes]) -> int:
        """The offset of the first. :class:`Retry` if not all copies have all of them within so many seconds;
        :class:`TooLarge` if the topic does not take one."""
        return self._finish(partition, self._begin(partition, frames))

    def append_together(self, frames: Mapping[int, bytes]) -> Mapping[int, int | SondeError]:
        """The same for a frame in each of several partitions: they are on their way at the same time."""
        begun = {partition: self._trying(self._begin, partition, [frame]) for partition, frame in frames.items()}
        return {
            partition: append if isinstance(append, SondeError) else self._trying(self._finish, partition, append)
            for partition, append in begun.items()
        }

    @staticmethod
    def _trying(do: Callable[[int, _T], _U], partition: int, given: _T) -> _U | SondeError:
        try:
            return do(partition, given)
        except SondeError as error:
            return error

    def _begin(self, partition: int, frames: Sequence[bytes]) -> _Append:
        for frame in frames:
            if len(frame) > self._max_frame_bytes:
                raise TooLarge(
                    f"a frame of {len(frame)} bytes, where {self._topic} takes {self._max_frame_bytes}",
                    hint="Raise the topic's max.message.bytes",
                )
        append = _Append(len(frames))
        append.problem = self._hand_over(append, partition, frames, time.monotonic() + self._seconds)
        return append

    def _finish(self, partition: int, append: _Append) -> int:
        if not append.wait(2 * self._seconds + 5.0):  # the client reports before: this is for its mistakes
            raise Retry(f"Kafka did not answer in {2 * self._seconds:.0f} s", after=1.0)
        if append.problem is not None:
            raise append.problem
        if append.error is not None:
            raise self._failed(append.error)
        if append.first < 0:
            raise Retry("Kafka has a frame but does not say where", hint="It is sent again, and counted once")
        with self._lock:
            self._ends[partition] = max(self._ends.get(partition, 0), append.last + 1)
        return append.first

    def hurry(self, seconds: float) -> None:
        """What is not confirmed in so many seconds is given up: its senders are told, and it may be there all the same."""
        self._gives_up = time.monotonic() + seconds

    def close(self) -> None:
        """Finish what is under way, within the time that an append may take."""
        with self._lock:
            if not self._open:
                return
            self._open = False
        self._thread.join()
        self._producer.close()

    def _hand_over(
        self, append: _Append, partition: int, frames: Sequence[bytes], deadline: float
    ) -> SondeError | None:
        """Give all frames to the client; what stopped it, if anything did."""
        with self._locks[partition]:
            for i, frame in enumerate(frames):
                try:
                    self._give(append, partition, i, frame, deadline)
                except SondeError as error:
                    append.forget(len(frames) - i)
                    return error
        return None

    def _give(self, append: _Append, partition: int, index: int, frame: bytes, deadline: float) -> None:
        while True:
            with self._lock:
                if not self._open:
                    raise closed()
                producer = self._producer
            try:
                producer.produce(
                    self._topic, value=frame, partition=partition, on_delivery=partial(append.report, index)
                )
                return
            except BufferError:
                if time.monotonic() > deadline:
                    raise Retry("too much waits for Kafka", hint="Send again after Retry-After", after=1.0) from None
                time.sleep(_ROOM)
            except (KafkaException, RuntimeError) as error:
                raise raised(error, f"append to {self._topic}") from None

    def _failed(self, error: KafkaError) -> SondeError:
        if error.code() == KafkaError._MSG_TIMED_OUT:
            return Retry(
                f"Kafka did not confirm in {self._seconds:.0f} s",
                hint="It is tried again by itself; nothing is lost",
                after=1.0,
            )
        return failure(error, f"append to {self._topic}")

    def _made(self) -> Producer:
        self._broken = False
        return clients.producer(self._connection, self._max_frame_bytes, self._seconds, error_cb=self._complaint)

    def _complaint(self, error: KafkaError) -> None:
        if error.fatal() or error.code() == KafkaError._FATAL:
            self._broken = True

    def _mend(self) -> None:
        """The client says that it can no longer promise each frame once: another takes over. What the old one still had has
        failed, and its senders know."""
        _events.warning("kafka_producer_replaced", topic=self._topic)
        old = self._producer
        old.purge()
        old.flush(_MENDING)
        made = self._made()
        with self._lock:
            self._producer = made
        old.close()

    def _run(self) -> None:
        """Bring the reports to those who wait, until it is closed and none waits."""
        deadline = float("inf")
        while True:
            self._producer.poll(_POLL)
            if self._broken:
                self._mend()
            if time.monotonic() > self._gives_up:
                self._producer.purge()
            if not self._open:
                deadline = min(deadline, time.monotonic() + 2 * self._seconds)
                if not len(self._producer) or time.monotonic() > deadline:
                    return
