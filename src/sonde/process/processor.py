"""The processor: reads the log in order, and brings it into the store, step by step."""

import contextlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

import structlog

from sonde.changes import Changes, Mark, State, Step
from sonde.clock import DAY, SECOND, Clock, SystemClock
from sonde.errors import Conflict, Hold, NotFound, Retry
from sonde.frame import Opener
from sonde.metrics import Metrics
from sonde.ports import DeadLetter, DeadLetters, Identities, Log, Onlooker, ReadEvents, Store
from sonde.process.folding import Folding
from sonde.process.gather import READ_BYTES, Gatherer, Opened, Unread
from sonde.routing import CONTROL, check_partitions

_log = structlog.get_logger()

_IDLE_SECONDS: Final = 0.5  # how long a step waits at the end of the log before it looks whether to stop
_HOLD_SECONDS: Final = 3.0
_FIRST_BACKOFF: Final = 0.1
_LAST_BACKOFF: Final = 5.0
ALERT_LABELS: Final = tuple(product(("info", "warning", "critical"), ("firing", "acknowledged", "shelved")))
_HOUR: Final = 3600 * SECOND


@dataclass(frozen=True, slots=True)
class Lag:
    """How far the store is behind the log: frames, and the age in seconds of what was stored last if there are any."""

    frames: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of one: whether something was stored, and for how many seconds it should not be tried again; whether what
    was there when the step before ended is not all stored yet; the seconds of work that were in it."""

    stored: bool
    pause: float
    behind: bool = False
    seconds: float = 0.0


class Processor:
    """Brings one partition of ``log`` into ``store``, from one thread.

    A step gathers frames until ``linger`` seconds after the commit before, or ``max_readings``; after a pause it commits
    what comes at once. Whatever fails, the store stays whole, nothing is skipped, and the next step begins where the store
    stands. ``events`` reads what other programs wrote into the log; a record that means nothing goes to ``dead_letters``
    before it is passed over.
    """

    def __init__(
        self,
        log: Log,
        store: Store,
        identities: Identities,
        opener: Opener,
        *,
        partition: int = 0,
        clock: Clock | None = None,
        metrics: Metrics | None = None,
        max_readings: int = 250_000,
        linger: float = 0.25,
        onlookers: Sequence[Onlooker] = (),
        dedupe_days: float = 7.0,
        dedupe_max: int = 1_000_000,
        read_bytes: int = READ_BYTES,
        events: ReadEvents | None = None,
        dead_letters: DeadLetters | None = None,
    ) -> None:
        self._read_bytes = read_bytes
        self._events = events
        self._dead_letters = dead_letters
        self._log = log
        self._store = store
        self._identities = identities
        self._opener = opener
        self.partition = partition
        self._clock = clock or SystemClock()
        self._metrics = metrics or Metrics()
        self._max_readings = max_readings
        self._linger = linger
        self._onlookers = onlookers
        self._remember = round(dedupe_days * DAY)
        self._dedupe_max = dedupe_max
        self._folding: Folding | None = None  # none: to be made from the store
        self._gatherer: Gatherer | None = None
        self._committed = float("-inf")
        self._tidied = -1
        self._end = 0  # of the partition, as far as is known
        self._known = 0  # of it when the last step ended
        self._backoff = _FIRST_BACKOFF
        self._seconds = 0.0  # that the last step took, once its frames were there
        self.position = 0
        self.problem: str | None = None

    def step(self, wait: float) -> bool:
        """Bring one micro-batch into the store, waiting up to ``wait`` seconds for it; whether there was one.

        Raises :class:`Retry` and :class:`Hold`; then nothing has changed, and the next step tries the same again.
        """
        try:
            return self._step(wait)
        except BaseException:
            self._folding = self._gatherer = None  # it may know more than the store
            raise

    def run(self, stop: threading.Event) -> None:
        """Step until ``stop``. While it cannot go on, ``problem`` says why, and it tries again."""
        while not stop.is_set():
            pause = self.attempt(_IDLE_SECONDS).pause
            if pause:
                self._clock.wait(stop, pause)

    def attempt(self, wait: float) -> "Attempt":
        """:meth:`step` for whoever goes on whatever happens: ``problem`` says what kept it from its work, if anything did."""
        known = self._known
        try:
            stored = self.step(wait)
        except Retry as error:
            self._stuck(error)
            pause = error.after or self._backoff
            self._backoff = min(2 * self._backoff, _LAST_BACKOFF)
            return Attempt(False, pause)
        except Hold as error:
            self._stuck(error)
            return Attempt(False, _HOLD_SECONDS)
        except Exception as error:  # a mistake of ours: nothing is skipped, readings wait in the log
            _log.exception("processor_failed", partition=self.partition, offset=self.position)
            self.problem = f"the processor failed at offset {self.position}: {error!r}; it tries again"
            return Attempt(False, _HOLD_SECONDS)
        if self.problem is not None:
            _log.info("processor_goes_on", partition=self.partition, offset=self.position)
        self.problem, self._backoff = None, _FIRST_BACKOFF
        return Attempt(stored, 0.0, self.position < known, self._seconds)

    @property
    def waits(self) -> bool:
        """Whether a rule needs to know that time goes on in the log, though nothing comes: an idle log gets ticks then."""
        return self._folding is not None and self._folding.waits

    @property
    def judges(self) -> bool:
        """Whether there are rules over windows, which have an owner."""
        return self._folding is not None and self._folding.judges

    @property
    def series(self) -> int:
        """How many series it knows."""
        return self._folding.series if self._folding is not None else 0

    def open_alerts(self) -> Mapping[tuple[str, str], int]:
        """The alerts that are open, by severity and state."""
        return self._folding.open_alerts() if self._folding is not None else {}

    def has_nothing(self) -> bool:
        """Whether all that the log is known to hold is stored: then a step would find nothing."""
        return self._folding is not None and self.lag().frames == 0

    def lag(self) -> Lag:
        """How far the store is behind the log."""
        with contextlib.suppress(Retry):  # while nobody can tell, it is what it was
            _, self._end = self._log.ends().get(self.partition, (0, 0))
        frames = max(0, self._end - self.position)
        stored = self._folding.progress.log_time if self._folding is not None else 0
        seconds = max(0, self._clock.now() - stored) / SECOND if frames and stored else 0.0
        return Lag(frames, seconds)

    def _step(self, wait: float) -> bool:
        folding, gatherer = self._ready()
        self._tidy(folding)
        try:
            gathered = gatherer.gather(wait, self._committed + self._linger, self._max_readings)
        except NotFound as error:
            raise Hold(
                f"the log does not hold offset {folding.progress.offset} any more ({error})",
                hint="Restore the newest checkpoint: sonde rebuild",
            ) from None
        if not gathered:
            self._measure_lag()
            return False
        started = self._clock.monotonic()
        if isinstance(gathered, Unread):
            self._keep(gathered)
            changes = folding.pass_over(gathered)
        else:
            changes = folding.fold(gathered)
        try:
            self._store.commit(changes)
        except Conflict:
            _log.warning("processor_overtaken", partition=self.partition, offset=changes.expected)
            self._folding = self._gatherer = None
            return False
        self._committed = self._clock.monotonic()
        self.position = changes.progress.offset
        self._measure(changes, gathered, self._committed - started)
        self._tell_onlookers(folding.step(changes))
        self._seconds, self._known = self._clock.monotonic() - started, self._end
        return True

    def _keep(self, unread: Unread) -> None:
        """Put away what is about to be passed over: after a crash between this and the commit, it is put away again."""
        record = unread.record
        if record is None or self._dead_letters is None:
            return
        letter = DeadLetter(
            self.partition, record.offset, unread.reason, unread.why, self._clock.now(), bytes(record.frame)
        )
        self._dead_letters.put(letter)
        self._metrics.dead_letters.labels(unread.reason).inc()

    def _tell_onlookers(self, step: Step) -> None:
        for onlooker in self._onlookers:
            try:
                onlooker.committed(step)
            except Exception:  # the step is done; nobody who looks on may undo it
                _log.exception("onlooker_failed", event_name="processor.onlooker_failed", offset=self.position)

    def _ready(self) -> tuple[Folding, Gatherer]:
        if self._folding is None or self._gatherer is None:
            state = self._store.load(self.partition)
            self._check_partitions(state)
            self._folding = folding = Folding(state, self._identities, self._log.id, self.partition)
            self.position = folding.progress.offset
            self._gatherer = Gatherer(
                self._log,
                self.partition,
                self._opener,
                self.position,
                clock=self._clock,
                turns=folding.turns,
                read_bytes=self._read_bytes,
                events=self._events,
                came=folding.progress.log_time,
            )
        return self._folding, self._gatherer

    def _check_partitions(self, state: State) -> None:
        """:class:`Hold` if the log has other partitions than it had; one that is new is not known to have any settings."""
        partitions = self._log.ends()
        if self.partition not in partitions:  # the group knew of it first: how many there are now is not known yet
            raise Retry(f"the log does not show partition {self.partition} yet")
        if not any(progress.log == self._log.id for progress in state.progress):
            return
        known = state.definitions
        if self.partition != CONTROL and not any(definition.kind == "settings" for definition in known):
            known = self._store.load(CONTROL).definitions
        check_partitions(known, len(partitions))

    def _tidy(self, folding: Folding) -> None:
        """Forget old identities, once an hour of the log's time."""
        log_time = folding.progress.log_time
        if log_time and log_time // _HOUR != self._tidied:
            since = self._identities.forget(log_time - self._remember, self._dedupe_max, self.partition)
            self._metrics.remembered.set(since / SECOND)
            self._tidied = log_time // _HOUR

    def _stuck(self, error: Retry | Hold) -> None:
        if self.problem != str(error):
            _log.error("processor_waits", partition=self.partition, offset=self.position, problem=str(error))
        self.problem = str(error)

    def _measure(self, changes: Changes, gathered: Sequence[Opened] | Unread, seconds: float) -> None:
        metrics = self._metrics
        reason = gathered.reason if isinstance(gathered, Unread) else "conflict"
        for line in changes.ledger:
            metrics.stored.inc(line.stored)
            metrics.duplicate.inc(line.duplicate)
            metrics.late.inc(line.late)
            if line.set_aside:
                metrics.set_aside.labels(reason).inc(line.set_aside)
        _tell(changes.marks)
        metrics.step_seconds.observe(seconds)
        metrics.series.set(self.series)
        open_ = self.open_alerts()
        for severity, state in ALERT_LABELS:
            metrics.alerts_open.labels(severity, state).set(open_.get((severity, state), 0))
        for event in changes.events:
            metrics.alert_events.labels(event.event).inc()
        self._measure_lag()

    def _measure_lag(self) -> None:
        lag = self.lag()
        self._metrics.lag_frames.set(lag.frames)
        self._metrics.lag_seconds.set(lag.seconds)


def _tell(marks: Sequence[Mark]) -> None:
    """One line a source and reason, however many there are; every one of them is in the store."""
    for key in dict.fromkeys((mark.source, mark.reason) for mark in marks):
        theirs = [mark for mark in marks if (mark.source, mark.reason) == key]
        _log.warning(
            f"readings_{key[1]}",
            source=key[0],
            readings=sum(mark.readings for mark in theirs),
            marks=len(theirs),
            offset=theirs[0].offset,
            why=theirs[0].detail,
        )
