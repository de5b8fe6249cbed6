"""The log and the store that follows it, with the threads that keep it so."""

import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import structlog

from sonde.assemble.definitions import new_definitions
from sonde.assemble.embedded.relearn import relearn
from sonde.assemble.embedded.truth import Need, open_store, open_truth, set_store_aside
from sonde.changes import State
from sonde.clock import DAY, SECOND, SystemClock
from sonde.config import Settings
from sonde.directory import DataDirectory
from sonde.errors import Damaged, Hold, Retry, SondeError
from sonde.frame import Opener
from sonde.keyring import Keys
from sonde.metrics import Metrics
from sonde.ports import Onlooker, Store
from sonde.process.following import Following
from sonde.process.judge import Judge, Record
from sonde.process.processor import Lag, Processor
from sonde.process.rebuild import forget_identities, rebuild
from sonde.store.duckdb import DuckStore
from sonde.store.identities import SqliteIdentities

_log = structlog.get_logger()
_MAINTAIN_SECONDS: Final = 1.0
_MAINTAIN_NICE: Final = 5
_RETRY_SECONDS: Final = 2.0


class Stopping(Exception):
    """Asked to stop in the middle of a rebuild; the next start goes on with it."""


class Storage:
    """Opens the log at once; the store too, or makes it again in the background while ``problem`` says so.

    ``start`` once, ``drain`` and ``stop`` once.
    """

    def __init__(
        self, directory: DataDirectory, settings: Settings, ring: Keys, metrics: Metrics, clock: SystemClock
    ) -> None:
        self._directory, self._settings, self._metrics, self._clock = directory, settings, metrics, clock
        self._opener = Opener(ring)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._record: Record = lambda entries, partition: {}
        self._onlookers: Sequence[Onlooker] = ()
        self._trouble: dict[str, str] = {}  # by thread: what keeps it from its work
        self.processor: Processor | None = None
        truth = open_truth(directory, settings, metrics)
        self.log = truth.log
        self._need: Need | None = truth.need
        self._store: DuckStore | None = truth.store if truth.need is None else None
        self._making: DuckStore | None = None if truth.need is None else truth.store  # the one that is made again
        self._untold = False  # whether the log does not know the configuration yet
        try:
            self.identities, self._forgotten = _open_identities(directory)
        except BaseException:
            self.log.close()
            raise
        self.following = Following(
            self.log, self._load, self.identities, self._opener, stored=lambda: {0: self.stored_offset()}, clock=clock
        )
        metrics.lag_frames.set_function(lambda: self.lag().frames)  # as it is when asked, not as it was after a step
        metrics.lag_seconds.set_function(lambda: self.lag().seconds)
        if truth.need is not None:
            _log.warning("store_rebuild", reason=truth.need.sentence)
            self._metrics.rebuilds.labels(truth.need.word).inc()
            self._trouble["store"] = f"the store is being made again from the log: {truth.need.sentence}"

    def store(self) -> Store:
        """The store that is there now; :class:`Retry` with the reason while there is none."""
        return self.held_store()

    def held_store(self) -> DuckStore:
        """The same, for whoever decides what it lets go of."""
        if self._store is None:
            raise Retry(self._trouble.get("store", "the store is not open yet"), after=2.0)
        return self._store

    def _load(self, partition: int) -> State:
        """What the live feed goes on from."""
        if self._forgotten:
            raise Retry("what came before is being learnt again", after=2.0)
        return self.store().load(partition)

    def start(self, record: Record, onlookers: Sequence[Onlooker] = ()) -> None:
        """Begin. ``record`` puts entries into the log: what the configuration says and the log does not, and what the
        owner of the rules over windows finds. ``onlookers`` are told of each step of the processor."""
        self._record, self._onlookers = record, onlookers
        if self._store is not None:
            self._try_to_tell(self._store)
        self._threads = [
            threading.Thread(target=self._process, name="processor", daemon=True),
            threading.Thread(target=self._maintain, name="maintain", daemon=True),
            threading.Thread(target=self._judge, name="judge", daemon=True),
            threading.Thread(target=self.following.run, args=(self._stop,), name="feed", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def problems(self) -> list[str]:
        """What keeps it from working, in plain words."""
        stuck = [self.processor.problem] if self.processor and self.processor.problem else []
        return [*self._trouble.values(), *stuck]

    def lag(self) -> Lag:
        """How far the store is behind the log."""
        if self.processor is not None:
            return self.processor.lag()
        return Lag(sum(end - first for first, end in self.log.ends().values()), 0.0)

    def waits(self) -> bool:
        """Whether a rule needs to know that time goes on, though nothing comes."""
        return self.processor is not None and self.processor.waits

    def stored_offset(self, partition: int = 0) -> int:
        return self.processor.position if self.processor else 0

    def drain(self, seconds: float) -> bool:
        """Wait until all that the log holds is stored; whether it came to that."""
        end = self._clock.monotonic() + seconds
        while self._clock.monotonic() < end:
            if self._store is None or self.processor is None or self.problems():
                return False
            if self.processor.lag().frames == 0:
                return True
            self._stop.wait(0.02)
        return False

    def stop(self, seconds: float) -> bool:
        """End the threads and close all; whether they ended in time."""
        self._stop.set()
        end = self._clock.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.1, end - self._clock.monotonic()))
        ended = not any(thread.is_alive() for thread in self._threads)
        for store in (self._store, self._making):
            if ended and store is not None:
                store.close()
        self.log.close()
        self.identities.close()
        return ended

    def _process(self) -> None:
        try:
            while self._store is None and not self._stop.is_set():
                self._try_to_remake()
        except Stopping:
            return
        if self._store is None or not self._relearn(self._store):
            return
        self.processor = Processor(
            self.log,
            self._store,
            self.identities,
            self._opener,
            clock=self._clock,
            metrics=self._metrics,
            onlookers=self._onlookers,
            dedupe_days=self._settings.process.remember * SECOND / DAY,
            dedupe_max=self._settings.process.remember_most,
        )
        self.processor.run(self._stop)

    def _judge(self) -> None:
        while self._store is None:
            if self._stop.wait(_RETRY_SECONDS):
                return
        judge = Judge(self._store, self._record, clock=self._clock)
        judge.run(self._stop, lambda: self.processor is not None and self.processor.judges)

    def _try_to_remake(self) -> None:
        try:
            if self._making is None:
                self._making = self._begin_to_remake()
            if not self._relearn(self._making):
                raise Stopping
            self._catch_up(self._making)
        except SondeError as error:
            _log.error("store_rebuild_waits", problem=str(error))
            self._trouble["store"] = f"the store cannot be made again from the log: {error}"
            if isinstance(error, Damaged) and self._making is not None:
                self._making.close()
                self._making = None
            self._stop.wait(_RETRY_SECONDS)
        else:
            self._try_to_tell(self._making)
            self._store, self._making = self._making, None
            self._trouble.pop("store", None)

    def _begin_to_remake(self) -> DuckStore:
        """The store as its newest checkpoint has it. What the log does not hold is kept beside it."""
        assert self._need is not None
        if self._need.other_log:
            set_store_aside(self._directory)
            forget_identities(self.identities)
            self._need = replace(self._need, other_log=False)
        return open_store(self._directory, self._settings, self.log.id, restore=self.log, metrics=self._metrics)

    def _catch_up(self, store: DuckStore) -> None:
        offset = rebuild(
            self.log,
            store,
            self.identities,
            self._opener,
            self._tell_progress,
            clock=self._clock,
            metrics=self._metrics,
            dedupe_days=self._settings.process.remember * SECOND / DAY,
            dedupe_max=self._settings.process.remember_most,
        )
        _log.info("store_rebuilt", offset=offset)

    def _tell_progress(self, offset: int, end: int) -> None:
        if self._stop.is_set():
            raise Stopping
        done = 100 * offset // max(end, 1)
        reason = self._need.sentence if self._need else ""
        self._trouble["store"] = f"the store is being made again from the log, {done} % done: {reason}"

    def _relearn(self, store: DuckStore) -> bool:
        """If identities were lost, let them see again what the store has; whether there was time for it."""
        if not self._forgotten:
            return True
        for progress in store.load().progress:
            if progress.log == self.log.id and not relearn(
                self.log, self.identities, self._opener, progress.offset, self._stop, partition=progress.partition
            ):
                return False
        self._forgotten = False
        return True

    def _try_to_tell(self, store: Store) -> None:
        """Put into the log what the configuration says and the log does not; later, if the log takes nothing now."""
        try:
            entries = new_definitions(self._settings, store.load().definitions)
            if entries:
                self._record(entries, None)
        except Retry as error:
            self._untold = True
            self._trouble["configuration"] = f"rules and settings are not in the log yet: {error}"
        else:
            self._untold = False
            self._trouble.pop("configuration", None)

    def _maintain(self) -> None:
        """Housekeeping: seal, merge, take checkpoints. It has time: what comes in goes first (``setpriority(2)``, of this
        thread alone)."""
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _MAINTAIN_NICE)
        more = False
        while not self._stop.wait(0.0 if more else _MAINTAIN_SECONDS):
            store = self._store or self._making
            if store is None:
                continue
            if self._untold and self._store is not None:
                self._try_to_tell(self._store)
            try:
                more = store.maintain()
                self._trouble.pop("maintain", None)
            except (Retry, Hold) as error:
                if self._trouble.get("maintain") != str(error):
                    _log.error("store_maintenance_waits", problem=str(error))
                self._trouble["maintain"] = str(error)
                more = False
                self._stop.wait(_RETRY_SECONDS)


def _open_identities(directory: DataDirectory) -> tuple[SqliteIdentities, bool]:
    """The identities, and whether they have to be learnt again."""
    path = directory.store / "identities.db"
    new = not path.exists()
    try:
        return SqliteIdentities(path), new
    except Damaged as error:
        _log.error("identities_damaged", problem=str(error))
        return SqliteIdentities(path), True
