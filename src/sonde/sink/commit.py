"""Group commit: what arrives while the disk is busy shares the next frame, and is confirmed when the log has it."""

import threading
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Final

from sonde.clock import Clock, Micros
from sonde.entry import Body, Entry, EntryKind
from sonde.errors import Retry, SondeError
from sonde.metrics import Metrics
from sonde.ports import Log
from sonde.sink.columns import merge
from sonde.sink.deposit import Deposit, count, settle
from sonde.sink.failing import unsealed, untaken
from sonde.sink.queue import Queue
from sonde.sink.refusals import Refusals
from sonde.sink.session import Session

COUNTERS_EVERY: Final = 10.0  # seconds between two entries with what was refused
TICK_EVERY: Final = 1.0  # seconds without a frame, after which there is a tick if a rule waits


class Committer:
    """One thread that writes one partition, from ``queue``. ``refusals``, if given, are written down by this one. While
    ``ticks`` says so, an idle log gets an empty frame a second, so that log time goes on."""

    def __init__(
        self,
        log: Log,
        partition: int,
        session: Session,
        queue: Queue,
        *,
        clock: Clock,
        metrics: Metrics,
        refusals: Refusals | None = None,
        ticks: Callable[[], bool] = lambda: False,
    ) -> None:
        self.queue = queue
        self.last_durable: Micros | None = None
        self._log = log
        self._partition = partition
        self._session = session
        self._clock = clock
        self._metrics = metrics
        self._refusals = refusals
        self._ticks = ticks
        self._unwritten: Deposit | None = None
        self._counted = self._written = clock.monotonic()
        self._end = session.end  # of the partition, as far as this one knows
        self._thread = threading.Thread(target=self._run, name=f"sonde-commit-{partition}", daemon=True)
        self._thread.start()

    @property
    def keys(self) -> frozenset[str]:
        """The names of the master keys that seal what is taken from now on."""
        return frozenset([self._session.key])

    def close(self) -> None:
        """Take nothing more, and wait until everything that was taken has its answer."""
        self.queue.stop()
        self._thread.join()

    def _run(self) -> None:
        while True:
            group = self.queue.next_group()
            self._session.follow()
            if group:
                self._commit(group)
            elif not self.queue.open:
                self._write_refusals()
                return
            if self._clock.monotonic() - self._counted >= COUNTERS_EVERY:
                self._write_refusals()
            if not group:
                self._tick()
                self._clock.wait(self.queue.wake, TICK_EVERY)

    def _commit(self, group: Sequence[Deposit]) -> bool:
        """Make a group durable and tell its senders, one way or the other; whether it is."""
        try:
            frame = self._sealed(group)
        except Exception as error:
            if len(group) > 1:  # one of them cannot be sealed: the others must not suffer for it
                done = [self._commit([deposit]) for deposit in group]
                return all(done)
            settle(group, unsealed(error, self._partition))
            return False
        try:
            outcome: int | Retry = self._log.append(self._partition, [frame])
        except Exception as error:
            outcome = untaken(error, self._partition)
        if isinstance(outcome, Retry):
            settle(group, outcome)  # first: where the log is away, a new session takes a while
            self._session.renew()
            return False
        self._end = outcome + 1
        self._written = self._clock.monotonic()
        self.last_durable = self._clock.now()
        count(self._metrics, group, [frame], self.last_durable, self._written)
        settle(group, outcome)
        return True

    def _sealed(self, group: Sequence[Deposit]) -> bytes:
        entries = list(chain.from_iterable(deposit.entries() for deposit in group))
        parts = list(chain.from_iterable(deposit.parts for deposit in group))
        return self._session.seal(Body(entries, merge(parts) if parts else None))

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
