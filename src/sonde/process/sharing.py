"""The processors of those partitions that are ours, on a few threads."""

import heapq
import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Final

import structlog

from sonde.clock import Clock, SystemClock
from sonde.errors import Hold, Retry
from sonde.metrics import Metrics
from sonde.ports import Membership
from sonde.process.processor import ALERT_LABELS, Attempt, Lag, Processor

_log = structlog.get_logger()
_LOOK_SECONDS: Final = 0.3  # between two questions which partitions are ours
_WAIT_SECONDS: Final = 0.5  # at the end of the log, where a processor has a thread for itself
_POLL_SECONDS: Final = 0.004  # a partition, at the end of the log, where it has none
_POLL_LEAST, _POLL_MOST = 0.02, 0.25
_WEIGHT: Final = 0.1  # of a step in what steps take of late
_FREE: Final = 3.0  # seconds without a step for each with one
_LONGEST: Final = 2.0  # seconds between two steps of a partition that is not behind
_NOTHING: Final = Attempt(False, 0.0)


class Sharing:
    """Starts a processor for each partition that ``membership`` gives, and stops it when the partition goes.

    ``make`` gives the processor of a partition, without a linger of its own: here a partition has at most one step in
    ``linger`` seconds, unless it is behind. Where steps take long, partitions wait longer, so that most of the time of all
    threads is free: a step costs nearly the same however little it brings, so fewer and larger ones catch up, and more
    and smaller ones would fall behind for good. ``threads`` steps are taken at the same time, so memory is bounded however many
    partitions there are; those at the end of the log are looked at in turn. Two that hold one partition for a while do no
    harm: the store takes the step of one, and the other begins again from where the store stands.
    """

    def __init__(
        self,
        membership: Membership,
        make: Callable[[int], Processor],
        *,
        clock: Clock | None = None,
        metrics: Metrics | None = None,
        threads: int = 4,
        linger: float = 0.25,
    ) -> None:
        self._membership = membership
        self._make = make
        self._clock = clock or SystemClock()
        self._threads = threads
        self._linger = linger
        self._changed = threading.Condition()
        self._processors: dict[int, Processor] = {}  # replaced, never changed
        self._due: list[tuple[float, int]] = []  # a heap; those that are at work are not in it
        self._at_work: set[int] = set()
        self._seconds = 0.0  # that a step takes, of late
        self._problem: str | None = None
        self._measure(metrics or Metrics())

    def run(self, stop: threading.Event) -> None:
        """Process until ``stop``, then leave the partitions to others."""
        workers = [
            threading.Thread(target=self._work, args=(stop,), name=f"processor-{number}", daemon=True)
            for number in range(self._threads)
        ]
        with closing(self._membership):
            for worker in workers:
                worker.start()
            while not stop.is_set():
                self.look()
                self._clock.wait(stop, _LOOK_SECONDS)
            with self._changed:
                self._changed.notify_all()
            for worker in workers:
                worker.join()

    def look(self) -> None:
        """Ask which partitions are ours, and start and stop accordingly."""
        try:
            ours = self._membership.partitions()
        except (
            Retry,
            Hold,
        ) as error:  # what we have stays until we know better: the store sees to it that this harms nobody
            if self._problem != str(error):
                _log.warning("membership_unknown", problem=str(error))
            self._problem = str(error)
            return
        self._problem = None
        gone, new = self._processors.keys() - ours, ours - self._processors.keys()
        if not gone and not new:
            return
        _log.info("partitions_changed", have=len(ours), new=sorted(new), gone=sorted(gone))
        kept = {number: self._processors[number] for number in self._processors.keys() & ours}
        kept.update((number, self._make(number)) for number in sorted(new))
        with self._changed:
            self._processors = kept
            self._due = [(0.0, n) for n in sorted(new - self._at_work)] + [d for d in self._due if d[1] in ours - new]
            heapq.heapify(self._due)
            self._changed.notify_all()

    def turn(self) -> bool:
        """Take a step of the partition whose turn it is, if it is anybody's; whether it was."""
        processor = self._next(0.0)
        if processor is None:
            return False
        self._attempt(processor, 0.0)
        return True

    @property
    def partitions(self) -> frozenset[int]:
        """Those that are ours, as far as is known."""
        return frozenset(self._processors)

    @property
    def waits(self) -> bool:
        """Whether a rule needs to know that time goes on: idle partitions get ticks then."""
        return any(processor.waits for processor in self._processors.values())

    @property
    def judges(self) -> bool:
        """Whether there are rules over windows."""
        return any(processor.judges for processor in self._processors.values())

    def position(self, partition: int) -> int:
        """The next offset of a partition that is to be stored; 0 for one that is not ours."""
        processor = self._processors.get(partition)
        return processor.position if processor is not None else 0

    def problems(self) -> list[str]:
        """What keeps partitions from being processed, each sentence once, with the partitions that it is about."""
        found: dict[str, list[int]] = {}
        for number, processor in sorted(self._processors.items()):
            if processor.problem is not None:
                found.setdefault(processor.problem, []).append(number)
        several = len(self._processors) > 1
        texts = [f"partition {_listed(numbers)}: {text}" if several else text for text, numbers in found.items()]
        return [*([self._problem] if self._problem is not None else []), *texts]

    def lag(self) -> Lag:
        """How far the store is behind the log in our partitions: all frames, and the age of the oldest."""
        lags = [processor.lag() for processor in self._processors.values()]
        return Lag(sum(lag.frames for lag in lags), max((lag.seconds for lag in lags), default=0.0))

    def _work(self, stop: threading.Event) -> None:
        while not stop.is_set():
            processor = self._next(_WAIT_SECONDS)
            if processor is not None:
                alone = len(self._processors) <= self._threads
                self._attempt(processor, _WAIT_SECONDS if alone else 0.0)

    def _next(self, wait: float) -> Processor | None:
        """The processor whose turn it is, after at most ``wait`` seconds."""
        with self._changed:
            now = self._clock.monotonic()
            if wait > 0 and not (self._due and self._due[0][0] <= now):
                self._changed.wait(min(wait, self._due[0][0] - now) if self._due else wait)
                now = self._clock.monotonic()
            while self._due and self._due[0][0] <= now:
                _, number = heapq.heappop(self._due)
                if number in self._processors and number not in self._at_work:
                    self._at_work.add(number)
                    return self._processors[number]
        return None

    def _attempt(self, processor: Processor, wait: float) -> None:
        number, pause = processor.partition, 0.0
        try:
            attempt = _NOTHING if not wait and processor.has_nothing() else processor.attempt(wait)
            pause = attempt.pause
            if attempt.stored:
                self._seconds += (attempt.seconds - self._seconds) * _WEIGHT
                pause = 0.0 if attempt.behind else self._pace()
            elif not pause and not wait:
                pause = min(_POLL_MOST, max(_POLL_LEAST, _POLL_SECONDS * len(self._processors)))
        finally:
            with self._changed:
                self._at_work.discard(number)
                if number in self._processors:
                    same = self._processors[number] is processor
                    heapq.heappush(self._due, (self._clock.monotonic() + pause if same else 0.0, number))
                    self._changed.notify()

    def _pace(self) -> float:
        """Seconds until a partition that is not behind has its next step."""
        turn = self._seconds * len(self._processors) / self._threads  # a step of each
        return max(self._linger, min(_LONGEST, _FREE * turn))

    def _measure(self, metrics: Metrics) -> None:
        """Of all partitions, as it is when asked."""
        metrics.lag_frames.set_function(lambda: self.lag().frames)
        metrics.lag_seconds.set_function(lambda: self.lag().seconds)
        metrics.series.set_function(lambda: sum(p.series for p in self._processors.values()))
        for label in ALERT_LABELS:
            metrics.alerts_open.labels(*label).set_function(partial(self._open, label))

    def _open(self, label: tuple[str, str]) -> int:
        return sum(processor.open_alerts().get(label, 0) for processor in self._processors.values())


def _listed(numbers: list[int]) -> str:
    """Numbers for people: ``0–3, 7``."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}–{last}" for first, last in spans)
