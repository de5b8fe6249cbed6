"""What a process does of the processing that many share: its partitions; and, as the owner, what one does for all."""

import threading
from collections.abc import Sequence
from typing import Final

import structlog

from sonde.assemble import extras
from sonde.assemble.definitions import new_definitions
from sonde.assemble.ground import Ground
from sonde.assemble.intake import events_of
from sonde.assemble.notify import Notifications
from sonde.assemble.policy import policy_of
from sonde.assemble.shared.broker import Broker
from sonde.assemble.shared.floors import Floors
from sonde.assemble.shared.store import SharedStore
from sonde.clock import DAY, SECOND, Micros
from sonde.errors import Hold, Retry
from sonde.frame import Opener
from sonde.ports import DeadLetters, Membership, Onlooker, Store
from sonde.process.judge import Judge, Record
from sonde.process.processor import Lag, Processor
from sonde.process.sharing import Sharing
from sonde.routing import CONTROL

_log = structlog.get_logger()
_MAINTAIN_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 2.0
_OWNER: Final = "what one does for all"


class Processing:
    """``start`` once, ``drain`` and ``stop`` once.

    The owner is whoever has the partition with the commands, and the lock for it in the database: it tells the log what the
    configuration says, judges rules over windows, lets go of what is old, and tells people.
    """

    def __init__(self, ground: Ground, broker: Broker, shared: SharedStore) -> None:
        self._ground, self._log, self._shared = ground, broker.log, shared
        self._stop = threading.Event()
        self._opener = Opener(ground.ring)
        self._onlookers: Sequence[Onlooker] = ()
        self._record: Record = lambda entries, partition: {}
        self._threads: list[threading.Thread] = []
        self._trouble: dict[str, str] = {}
        self._told = False
        self._ownership = shared.ownership(_OWNER)
        brokers = extras.load("sonde.assemble.shared.brokers")
        self._membership: Membership = brokers.open_membership(ground.settings)
        self._dead_letters: DeadLetters = brokers.open_dead_letters(ground.settings, broker.topic)
        self._sharing = Sharing(self._membership, self._processor, clock=ground.clock, metrics=ground.metrics)
        self._notifications = Notifications(
            *(ground.settings, ground.controls.notices, self._owned_store, broker.log.id),
            clock=ground.clock,
            metrics=ground.metrics,
        )
        self._floors = Floors(
            *(policy_of(ground.settings), shared.holdings, self._newest),
            lambda entries: self._record(entries, None),
            *(ground.controls.audit, ground.clock, ground.metrics),
        )

    def start(self, record: Record, onlookers: Sequence[Onlooker]) -> None:
        """Begin. ``record`` puts entries into the log; ``onlookers`` are told of each step of this process."""
        self._record, self._onlookers = record, onlookers
        work = {
            "sharing": self._share,
            "maintain": self._maintain,
            "configuration": self._tell,
            "judge": self._judge,
            "floors": lambda: self._floors.run(self._stop, self.owns),
        }
        self._threads = [threading.Thread(target=run, name=name, daemon=True) for name, run in work.items()]
        for thread in self._threads:
            thread.start()
        self._notifications.start()

    def owns(self) -> bool:
        """Whether this process does what one does for all."""
        if CONTROL not in self._sharing.partitions:
            self._ownership.close()
            return False
        return self._ownership.held()

    def waits(self, partition: int) -> bool:
        """Whether time has to go on in a partition though nothing comes: a rule needs it, and the partition is ours."""
        return partition in self._sharing.partitions and self._sharing.waits

    def position(self, partition: int) -> int:
        """The next offset of a partition that this process will store; 0 if it is not ours."""
        return self._sharing.position(partition)

    @property
    def stored_offset(self) -> int:
        """Of our partitions, all of them added up."""
        return sum(self._sharing.position(partition) for partition in self._sharing.partitions)

    def lag(self) -> Lag:
        """How far the store is behind the log in our partitions."""
        return self._sharing.lag()

    def problems(self) -> list[str]:
        """What keeps it from working, in plain words."""
        trouble = [*self._trouble.values(), *([self._floors.trouble] if self._floors.trouble else [])]
        return [*self._sharing.problems(), *trouble]

    def drain(self, seconds: float) -> bool:
        """Wait until all that the log holds of our partitions is stored; whether it came to that."""
        end = self._ground.clock.monotonic() + seconds
        while self._ground.clock.monotonic() < end and not self.problems():
            if self.lag().frames == 0:
                return True
            self._stop.wait(0.02)
        return False

    def stop(self, seconds: float) -> bool:
        """Leave the partitions to others; whether all ended in time."""
        self._stop.set()
        self._notifications.stop(0.0)
        end = self._ground.clock.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.1, end - self._ground.clock.monotonic()))
        self._ownership.close()
        self._dead_letters.close()
        return not any(thread.is_alive() for thread in self._threads)

    def _processor(self, partition: int) -> Processor:
        asked = self._ground.settings.process
        return Processor(
            self._log,
            self._shared.writing(),
            self._shared.identities,
            self._opener,
            partition=partition,
            clock=self._ground.clock,
            metrics=self._ground.metrics,
            linger=0.0,
            onlookers=self._onlookers,
            dedupe_days=asked.remember * SECOND / DAY,
            dedupe_max=asked.remember_most,
            events=events_of(self._ground.settings),
            dead_letters=self._dead_letters,
        )

    def _share(self) -> None:
        """Take part as soon as there are tables to write to."""
        while not self._shared.opened:
            if self._stop.wait(_RETRY_SECONDS / 10):
                self._membership.close()
                return
        self._sharing.run(self._stop)

    def _owned_store(self) -> Store:
        if not self.owns():
            raise Retry("another process tells people", after=_RETRY_SECONDS)
        return self._shared.store()

    def _newest(self) -> Micros:
        """The newest moment that the store knows of."""
        progress = self._shared.store().load(CONTROL).progress
        return max((place.log_time for place in progress), default=0)

    def _judge(self) -> None:
        while not self._shared.opened:
            if self._stop.wait(_RETRY_SECONDS):
                return
        judge = Judge(self._shared.writing(), self._record, clock=self._ground.clock)
        judge.run(self._stop, lambda: self._sharing.judges and self.owns())

    def _tell(self) -> None:
        """As the owner, put into the log what the configuration says and the log does not."""
        while not self._stop.wait(_MAINTAIN_SECONDS):
            try:
                if not self.owns():
                    self._told = False
                    continue
                if not self._told:
                    known = self._shared.store().load(CONTROL).definitions
                    entries = new_definitions(self._ground.settings, known, len(self._log.ends()))
                    if entries:
                        self._record(entries, None)
                    self._told = True
                self._trouble.pop("configuration", None)
            except (Retry, Hold) as error:
                self._trouble["configuration"] = f"rules and settings are not in the log yet: {error}"

    def _maintain(self) -> None:
        """Housekeeping of the store: any process may do it."""
        more = False
        while not self._stop.wait(0.0 if more else _MAINTAIN_SECONDS):
            more = False
            try:
                more = self._shared.writing().maintain()
                self._trouble.pop("maintain", None)
            except (Retry, Hold) as error:
                if not isinstance(error, Retry) and self._trouble.get("maintain") != str(error):
                    _log.error("store_maintenance_waits", problem=str(error))
                self._trouble["maintain"] = str(error)
                self._stop.wait(_RETRY_SECONDS)
