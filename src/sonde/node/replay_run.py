"""Runs a replay from its first chunk to its last receipt."""

import threading
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from sonde.clock import SECOND, Clock, Micros, SystemClock
from sonde.entry import EntryKind, Lane
from sonde.errors import Hold, Retry
from sonde.metrics import Metrics
from sonde.node.backoff import Backoff
from sonde.node.uplink import Uplink
from sonde.ports import Outbox, Waiting, Wire
from sonde.reading import Batch, encode

_ENOUGH_BYTES: Final = 32 << 20  # that may wait in the outbox while the replay goes on
_LOOK: Final = 0.05  # seconds between two looks at what waits


class ReplayChunk(Protocol):
    """Some rows of the files as readings."""

    @property
    def batch(self) -> Batch: ...
    @property
    def rows(self) -> int: ...
    @property
    def blank(self) -> int: ...
    @property
    def first(self) -> Micros: ...


class Replay(Protocol):
    """What is replayed: chunks that are the same each time, ``rows`` in all; ``epoch`` names them."""

    rows: int
    epoch: str

    def chunks(self) -> Iterator[ReplayChunk]: ...


class ReplayOutbox(Outbox, Protocol):
    """An outbox that was made with the replay's epoch, and knows how far it has come."""

    def last(self, lane: int) -> int: ...


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a replay is: rows of which the sink has all readings, of how many, and what is in the way."""

    rows: int
    total: int
    readings: int
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a replay did. ``resumed`` rows had been sent by an earlier, interrupted run."""

    rows: int
    readings: int
    blank: int
    resumed: int
    rejected: int
    seconds: float
    complete: bool


def replay(
    source: Replay,
    outbox: ReplayOutbox,
    wire: Wire,
    *,
    speed: float = float("inf"),
    on_progress: Callable[[Progress], None] = lambda progress: None,
    stop: threading.Event | None = None,
    clock: Clock | None = None,
    metrics: Metrics | None = None,
) -> Summary:
    """Send everything in ``source`` through the backlog lane of ``outbox``; returns when the sink has all of it, or
    ``stop`` is set. The outbox must be the replay's own: :class:`Hold` if it holds anything else."""
    if outbox.epoch != source.epoch:
        raise Hold("this outbox belongs to another replay", hint="Name another file for it")
    run = _Run(source, outbox, wire, speed, on_progress, stop or threading.Event(), clock or SystemClock(), metrics)
    try:
        return run.run()
    finally:
        run.uplink.stop(10.0)


class _Run:
    def __init__(
        self,
        source: Replay,
        outbox: ReplayOutbox,
        wire: Wire,
        speed: float,
        on_progress: Callable[[Progress], None],
        stop: threading.Event,
        clock: Clock,
        metrics: Metrics | None,
    ) -> None:
        self.uplink = Uplink(outbox, wire, lanes=(Lane.BACKLOG,), clock=clock, metrics=metrics)
        self._source, self._outbox, self._speed = source, outbox, speed
        self._on_progress, self._stop, self._clock = on_progress, stop, clock
        self._rows, self._readings = array("q", [0]), array("q", [0])  # up to and including each chunk
        self._backoff = Backoff(0.05, 2.0)

    def run(self) -> Summary:
        began = self._clock.monotonic()
        self.uplink.start()
        done, resumed, blank = self._outbox.last(Lane.BACKLOG), 0, 0
        origin: Micros | None = None
        for number, chunk in enumerate(self._source.chunks(), 1):
            self._rows.append(self._rows[-1] + chunk.rows)
            self._readings.append(self._readings[-1] + len(chunk.batch))
            blank += chunk.blank
            if number <= done:
                resumed += chunk.rows
                continue
            origin = chunk.first if origin is None else origin
            self._wait_for_turn(began + (chunk.first - origin) / SECOND / self._speed)
            self._wait_for_room(_ENOUGH_BYTES)
            if self._stop.is_set():
                break
            self._put(number, chunk)
        self._wait_for_room(0)
        left = self._waiting()
        rows, readings = self._confirmed(left)
        seconds = self._clock.monotonic() - began
        return Summary(
            rows, readings, blank, resumed, left.rejected, seconds, not left.entries and not self._stop.is_set()
        )

    def _put(self, number: int, chunk: ReplayChunk) -> None:
        content, readings = encode(chunk.batch), len(chunk.batch)
        while not self._stop.is_set():
            try:
                seq = self._outbox.put(Lane.BACKLOG, EntryKind.READINGS, content, readings)
            except Retry:
                self._clock.wait(self._stop, self._backoff.next())
                continue
            if seq != number:
                raise Hold(
                    f"chunk {number} of the replay became {seq} in its outbox", hint="Was the file used elsewhere?"
                )
            self._backoff.reset()
            self.uplink.committed(Lane.BACKLOG, seq)
            return

    def _wait_for_turn(self, due: float) -> None:
        while not self._stop.is_set() and (left := due - self._clock.monotonic()) > 0:
            self._clock.wait(self._stop, min(left, 0.5))
            self._report(self._waiting())

    def _wait_for_room(self, limit_bytes: int) -> None:
        """Until no more than so many bytes wait in the outbox."""
        while not self._stop.is_set():
            waiting = self._waiting()
            self._report(waiting)
            if waiting.bytes <= limit_bytes:
                return
            self._clock.wait(self._stop, _LOOK)

    def _waiting(self) -> Waiting:
        return next(lane for lane in self._outbox.waiting() if lane.lane == Lane.BACKLOG)

    def _confirmed(self, waiting: Waiting) -> tuple[int, int]:
        put = min(self._outbox.last(Lane.BACKLOG), len(self._rows) - 1) - waiting.entries
        return self._rows[put], self._readings[put]

    def _report(self, waiting: Waiting) -> None:
        rows, readings = self._confirmed(waiting)
        self._on_progress(Progress(rows, self._source.rows, readings, " ".join(self.uplink.problems())))
