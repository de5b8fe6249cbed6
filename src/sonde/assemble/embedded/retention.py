"""What is old, too much, or in the way goes: a thread that looks, decides by the policy, and tells the log."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import pyarrow as pa
import structlog

from sonde.assemble.embedded.reserve import ReservingLog
from sonde.clock import DAY, SECOND, Clock, Micros
from sonde.entry import Entry
from sonde.errors import Damaged, NotFound, Retry, SondeError
from sonde.frame import read_header
from sonde.log.segments import SegmentLog
from sonde.metrics import Metrics
from sonde.moment import format_time
from sonde.ports import AuditTrail, Held
from sonde.question import ResolvedBeyond
from sonde.removal import Floor
from sonde.retention import Policy, Segment, Slowly, cuts, large_floors, old_floors, shed_floors
from sonde.store.duckdb import DuckStore

_events = structlog.get_logger()
_LOOK_SECONDS: Final = 2.0
_SELDOM_SECONDS: Final = 300.0  # for what needs a question
_PATIENCE: Final = 30.0  # for a checkpoint that would let some of the log go, before something else is shed
_SOURCE: Final = "retention"


class Retention:
    """Looks every two seconds, from :meth:`start` to :meth:`stop`.

    ``store`` gives the store that is there, or raises :class:`Retry`. ``record`` puts entries into the log.
    """

    def __init__(
        self,
        policy: Policy,
        store: Callable[[], DuckStore],
        segments: SegmentLog,
        log: ReservingLog,
        record: Callable[[Sequence[Entry]], object],
        audit: AuditTrail,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._policy, self._store, self._segments, self._log = policy, store, segments, log
        self._record, self._audit, self._clock, self._metrics = record, audit, clock, metrics
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)
        self._slowly: Slowly | None = None
        self._asked: dict[str, Micros] = {}  # floors that are in the log; the store may not have come to them yet
        self._ended: dict[tuple[int, int], Micros] = {}
        self._waiting_since: float | None = None  # for a checkpoint
        self._seldom_at: float | None = None
        self._trouble = ""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def warnings(self) -> list[str]:
        """What somebody should look after, though everything works."""
        free, found = self._log.free, []
        if free < self._policy.warn_below:
            shed = f"; below {_size(self._policy.shed_below)} {', then '.join(self._policy.shed)} goes"
            found.append(f"{_size(free)} are free on the disk{shed if self._policy.shed else ''}")
        if self._slowly is not None and self._slowly.ahead > DAY:
            days = self._slowly.ahead / DAY
            found.append(
                f"the clock is {days:.1f} days ahead of what was stored last; what is old goes more slowly until then"
            )
        return [*found, *([self._trouble] if self._trouble else [])]

    def look(self) -> None:
        """Look once, and do what is to be done. :class:`Retry` if it cannot be, now."""
        store = self._store()
        if self._slowly is None:
            self._slowly = Slowly(_since(store, self._clock.now()), self._clock.monotonic())
        now = self._slowly.look(self._clock.now(), self._clock.monotonic())
        held = self._held(store)
        self._raise([*old_floors(self._policy, now, held.floors), *large_floors(self._policy, held)])
        self._look_at_log(held, now)
        if self._log.free < self._policy.shed_below:
            self._shed(store, held)
        else:
            self._waiting_since = None
        if self._seldom_at is None or self._clock.monotonic() - self._seldom_at > _SELDOM_SECONDS:
            self._seldom_at = self._clock.monotonic()
            self._look_seldom(store, held, now)

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            try:
                self.look()
            except SondeError as error:
                if self._trouble != str(error) and not isinstance(error, Retry):
                    _events.error("retention_waits", problem=str(error))
                self._trouble = "" if isinstance(error, Retry) else f"what is old does not go: {error}"
            else:
                self._trouble = ""

    def _held(self, store: DuckStore) -> Held:
        """What there is, with the floors that were asked for already."""
        held = store.held()
        names = {*held.floors, *self._asked}
        floors = {name: max(held.floors.get(name, 0), self._asked.get(name, 0)) for name in names}
        for name, at in floors.items():
            self._metrics.floor.labels(name).set(at / SECOND)
        return replace(held, floors=floors, settled=held.settled and floors == dict(held.floors))

    def _raise(self, floors: Sequence[Floor]) -> None:
        """Put floors into the log: the processor makes them true. They may pass though the disk is nearly full."""
        if not floors:
            return
        with self._log.sparing():
            self._record([floor.entry(_SOURCE) for floor in floors])
        for floor in floors:
            self._asked[floor.name] = max(floor.before, self._asked.get(floor.name, 0))
            _events.info("floor_raised", what=floor.name, before=format_time(floor.before), why=floor.why)

    def _look_at_log(self, held: Held, now: Micros) -> None:
        policy, segments = self._policy, self._sealed()
        total = self._segments.bytes()
        self._metrics.log_size.set(total)
        if policy.log is None and policy.log_bytes is None:
            return
        excess = 0 if policy.log_bytes is None else total - policy.log_bytes
        self._cut(cuts(segments, held.safe, before=None if policy.log is None else now - policy.log, excess=excess))

    def _cut(self, below: dict[int, int]) -> bool:
        for partition, offset in below.items():
            first = self._log.ends()[partition][0]
            self._log.cut(partition, offset)
            self._metrics.log_cut.inc(offset - first)
            _events.info("log_cut", partition=partition, below=offset, frames=offset - first)
        return bool(below)

    def _sealed(self) -> list[Segment]:
        found = [Segment(*place, self._ended_at(place[0], place[2])) for place in self._segments.sealed()]
        kept = {(segment.partition, segment.next) for segment in found}
        self._ended = {place: at for place, at in self._ended.items() if place in kept}
        return found

    def _ended_at(self, partition: int, following: int) -> Micros:
        """The log time of the frame after a segment; the present if it cannot be read: then age takes nothing."""
        known = self._ended.get((partition, following))
        if known is None:
            try:
                known = read_header(self._segments.read(partition, following, 1)[0].frame).log_time
            except (Damaged, NotFound, IndexError):
                known = self._clock.now()
            self._ended[partition, following] = known
        return known

    def _shed(self, store: DuckStore, held: Held) -> None:
        """Make room, in the declared order: one thing at a time, and the next when that did not help."""
        wanted = self._policy.shed_below - self._log.free + self._policy.shed_below // 4
        for what in self._policy.shed:
            if what == "log":
                if self._cut(cuts(self._sealed(), held.safe, excess=wanted)):
                    self._metrics.shed.labels("log").inc()
                    return
                if self._wait_for_checkpoint(store, held):
                    return
                continue
            if not held.settled:  # what was shed before still leaves the disk
                return
            floors = shed_floors(what, held, wanted)
            if floors:
                self._raise(floors)
                self._metrics.shed.labels(what).inc()
                lost = sum(floor.readings for floor in floors)
                _events.warning("disk_nearly_full", free=self._log.free, shed=what, readings=lost)
                return

    def _wait_for_checkpoint(self, store: DuckStore, held: Held) -> bool:
        """Whether a newer checkpoint would let some of the log go, and is worth waiting for."""
        now = self._clock.monotonic()
        useful = any(segment.next > held.safe.get(segment.partition, 0) for segment in self._sealed())
        if not useful:
            return False
        store.want_checkpoint()
        if self._waiting_since is None:
            self._waiting_since = now
        return now - self._waiting_since < _PATIENCE

    def _look_seldom(self, store: DuckStore, held: Held, now: Micros) -> None:
        most = self._policy.alerts_most
        if most is not None:
            found = store.ask(ResolvedBeyond(most)).rows["resolved_at"]
            before = found.cast(pa.int64())[0].as_py() + 1 if len(found) else 0
            if before > held.floors.get("alerts", 0):
                self._raise([Floor("alerts", before, 0, "size")])
        if self._policy.audit is not None:
            gone = self._audit.forget(now - self._policy.audit)
            if gone:
                _events.info("acts_forgotten", acts=gone)


def _since(store: DuckStore, now: Micros) -> Micros:
    """The newest moment that the store knows of; the present if it knows none."""
    return max((progress.log_time for progress in store.load().progress), default=now)


def _size(size: int) -> str:
    return f"{size / (1 << 20):,.0f} MiB"
