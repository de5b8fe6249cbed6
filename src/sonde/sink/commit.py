"""Group commit: what arrives while the disk is busy shares the next frame, and is confirmed when the log has it."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Final

import structlog

from sonde.clock import SECOND, Clock, Micros
from sonde.entry import Body, Entry, EntryKind
from sonde.errors import Retry, SondeError
from sonde.frame import NO_TAG, Codec, Sealer, read_header, tag
from sonde.keyring import Keys
from sonde.metrics import Metrics
from sonde.ports import Log
from sonde.sink.columns import merge
from sonde.sink.deposit import Deposit, settle
from sonde.sink.limits import Limits
from sonde.sink.refusals import Refusals
from sonde.sink.waiting import Waiting

COUNTERS_EVERY: Final = 10.0  # seconds between two entries with what was refused
TICK_EVERY: Final = 1.0  # seconds without a frame, after which there is a tick if a rule waits
_events = structlog.get_logger()


class Committer:
    """One thread that writes one partition. ``refusals``, if given, are written down by this one. While ``ticks`` says so,
    an idle log gets an empty frame a second, so that log time goes on."""

    def __init__(
        self,
        log: Log,
        partition: int,
        ring: Keys,
        codec: Codec,
        *,
        clock: Clock,
        limits: Limits,
        metrics: Metrics,
        waiting: Waiting,
        refusals: Refusals | None = None,
        ticks: Callable[[], bool] = lambda: False,
    ) -> None:
        self.last_durable: Micros | None = None
        self._log = log
        self._partition = partition
        self._ring = ring
        self._codec = codec
        self._clock = clock
        self._limits = limits
        self._metrics = metrics
        self._refusals = refusals
        self._ticks = ticks
        self._unwritten: Deposit | None = None
        self._counted = self._written = clock.monotonic()
        self._queue: deque[Deposit] = deque()
        self._waiting = waiting
        self._wake = threading.Event()
        self._called = False  # an event loop is going to wake it
        self._open = True
        self._log_time: Micros = 0
        self._end = 0  # of the partition, as far as this one knows
        self._end_session()
        self._thread = threading.Thread(target=self._run, name=f"sonde-commit-{partition}", daemon=True)
        self._thread.start()

    def offer(self, deposit: Deposit, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Put ``deposit`` in the queue; its answer comes when it is durable. :class:`Retry` if too much waits, or nothing
        more is taken. Called from ``loop``, it is committed after this turn of it, together with all else that the turn
        brings: fewer frames, and fewer hand-overs of the interpreter's lock."""
        offer_together(((self, deposit),), loop)

    @property
    def key(self) -> str:
        """The name of the master key that seals what is taken from now on."""
        return self._sealer.key

    def wake(self) -> None:
        """See at once whether another key has taken over."""
        self._wake.set()

    def stop(self) -> None:
        """Take nothing more; what was taken is still written."""
        with self._waiting.lock:
            self._open = False
        self._wake.set()

    def close(self) -> None:
        """Stop, and wait until everything that was taken has its answer."""
        self.stop()
        self._thread.join()

    def _run(self) -> None:
        while True:
            group = self._next_group()
            if self._sealer.key != self._ring.active:
                self._end_session()
            if group:
                self._commit(group)
            elif not self._open:
                self._write_refusals()
                return
            if self._clock.monotonic() - self._counted >= COUNTERS_EVERY:
                self._write_refusals()
            if not group:
                self._tick()
                self._clock.wait(self._wake, TICK_EVERY)

    def _next_group(self) -> list[Deposit]:
        """What shares the next frame: at least one if any waits, and not more than a frame should hold."""
        group: list[Deposit] = []
        readings = size = 0
        with self._waiting.lock:
            while self._queue:
                readings += self._queue[0].readings
                size += self._queue[0].bytes
                if group and (readings > self._limits.group_readings or size > self._limits.group_bytes):
                    break
                group.append(self._queue.popleft())
            self._waiting.release(group)
            self._called = False
            if not self._queue and self._open:
                self._wake.clear()
        return group

    def _commit(self, group: Sequence[Deposit]) -> bool:
        """Make a group durable and tell its senders, one way or the other; whether it is."""
        try:
            frame = self._sealed(group)
        except Exception as error:
            if len(group) > 1:  # one of them cannot be sealed: the others must not suffer for it
                done = [self._commit([deposit]) for deposit in group]
                return all(done)
            _events.exception("sealing_failed", partition=self._partition, error=str(error))
            settle(group, Retry("the readings could not be sealed", hint="The server's log says why", after=60.0))
            return False
        try:
            outcome: int | Retry = self._log.append(self._partition, [frame])
        except SondeError as error:
            outcome = Retry(f"the log takes nothing: {error.message}", hint=error.hint, after=_after(error))
        except Exception as error:
            outcome = Retry(f"the log takes nothing: {error}", hint="The server's log says why", after=5.0)
            _events.exception("append_failed", partition=self._partition)
        if isinstance(outcome, Retry):
            self._end_session()
            settle(group, outcome)
            return False
        self._end = outcome + 1
        self._account(group, frame)
        settle(group, outcome)
        return True

    def _sealed(self, group: Sequence[Deposit]) -> bytes:
        entries = list(chain.from_iterable(deposit.entries() for deposit in group))
        parts = list(chain.from_iterable(deposit.parts for deposit in group))
        self._log_time = max(self._clock.now(), self._log_time + 1)
        return self._sealer.seal(Body(entries, merge(parts) if parts else None), self._log_time)

    def _tick(self) -> None:
        """Let log time go on, if somebody waits for that and nothing else does it, be it another sink."""
        now = self._clock.monotonic()
        if now - self._written < TICK_EVERY or not self._ticks():
            return
        if self._moved():
            self._written = now
        else:
            self._commit([Deposit(lambda: [Entry(EntryKind.TICK)], since=now)])

    def _moved(self) -> bool:
        """Whether somebody else has written to the partition since this was last asked."""
        before = self._end
        try:
            self._end = max(before, self._log.ends().get(self._partition, (0, 0))[1])
        except SondeError:  # what keeps it from telling keeps a tick away as well, and is said there
            return False
        return self._end > before

    def _account(self, group: Sequence[Deposit], frame: bytes) -> None:
        self.last_durable = self._clock.now()
        self._written = self._clock.monotonic()
        metrics = self._metrics
        metrics.last_durable.set(self.last_durable / SECOND)
        metrics.log_frames.inc()
        metrics.log_bytes.inc(len(frame))
        readings: dict[str, int] = {}
        for deposit in group:
            readings[deposit.form] = readings.get(deposit.form, 0) + deposit.readings
        for form, count in readings.items():
            if count:
                metrics.received.labels(form).inc(count)
        metrics.received_bytes.inc(sum(deposit.bytes for deposit in group))
        metrics.durable.inc(sum(readings.values()))
        metrics.commit_seconds.observe(max(0.0, self._clock.monotonic() - group[0].since))

    def _end_session(self) -> None:
        """Begin a new one: at the start, when another key takes over, and after a failed append, since nothing is known of
        what was sealed in the old."""
        try:
            self._sealer = self._new_session()
        except (SondeError, IndexError) as error:  # the log cannot read its last frame; the chain starts anew
            _events.warning("last_frame_unread", partition=self._partition, error=str(error))
            self._sealer = Sealer(self._ring, self._codec)

    def _new_session(self) -> Sealer:
        """A session that names the last frame of the log; times go on from there, however the clock jumps."""
        first, end = self._log.ends().get(self._partition, (0, 0))
        self._end = max(self._end, end)
        previous = NO_TAG
        if end > first:
            frame = self._log.read(self._partition, end - 1, 1)[0].frame
            header = read_header(frame)
            self._log_time = max(self._log_time, header.log_time)
            previous = tag(header.codec, frame)
        return Sealer(self._ring, self._codec, previous)

    def _write_refusals(self) -> None:
        """Write down what was refused, if anything was. What fails is tried again as it is before more is added."""
        self._counted = self._clock.monotonic()
        if self._refusals is None:
            return
        if self._unwritten is None and self._refusals:
            entries = self._refusals.take()
            self._unwritten = Deposit(lambda: entries, since=self._counted)
        if self._unwritten is not None and self._commit([self._unwritten]):
            self._unwritten = None


def offer_together(offers: Sequence[tuple[Committer, Deposit]], loop: asyncio.AbstractEventLoop | None = None) -> None:
    """The same for deposits in several partitions of one sink: all of them are put in their queues, or none is."""
    waiting = offers[0][0]._waiting
    with waiting.lock:
        if not all(committer._open for committer, _ in offers):
            raise Retry("the sink is shutting down", hint="Send again", after=1.0)
        waiting.admit([deposit for _, deposit in offers])
        for committer, deposit in offers:
            deposit.since = committer._clock.monotonic()
            committer._queue.append(deposit)
    for committer, _ in offers:
        if loop is None:
            committer._wake.set()
        elif not committer._called:
            committer._called = True
            loop.call_soon(committer._wake.set)


def _after(error: SondeError) -> float | None:
    return error.after if isinstance(error, Retry) else 60.0
