"""What is old goes from a store that many share: floors are raised by age and size, through the log, as everywhere."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import structlog

from sonde.clock import SECOND, Clock, Micros
from sonde.entry import Entry
from sonde.errors import Retry, SondeError
from sonde.metrics import Metrics
from sonde.moment import format_time
from sonde.ports import AuditTrail, Held, Holdings
from sonde.retention import Policy, Slowly, large_floors, old_floors

_events = structlog.get_logger()
LOOK_SECONDS: Final = 2.0
_SELDOM_SECONDS: Final = 300.0
SOURCE: Final = "retention"


class Floors:
    """Looks, decides by the policy and tells the log. ``record`` puts entries into every partition of it."""

    def __init__(
        self,
        policy: Policy,
        holdings: Callable[[], Holdings],
        newest: Callable[[], Micros],
        record: Callable[[Sequence[Entry]], object],
        audit: AuditTrail,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._policy, self._holdings, self._newest = policy, holdings, newest
        self._record, self._audit, self._clock, self._metrics = record, audit, clock, metrics
        self._slowly: Slowly | None = None
        self._asked: dict[str, Micros] = {}  # floors that are in the log; the store may not have come to them yet
        self._seldom_at = float("-inf")
        self.trouble = ""

    def run(self, stop: threading.Event, wanted: Callable[[], bool]) -> None:
        """Look until ``stop``, as long as it is ``wanted``."""
        while not stop.wait(LOOK_SECONDS):
            try:
                if wanted():
                    self.look()
            except SondeError as error:
                if self.trouble != str(error) and not isinstance(error, Retry):
                    _events.error("retention_waits", problem=str(error))
                self.trouble = "" if isinstance(error, Retry) else f"what is old does not go: {error}"
            else:
                self.trouble = ""

    def look(self) -> None:
        """Look once, and do what is to be done. :class:`Retry` if it cannot be, now."""
        if self._slowly is None:
            self._slowly = Slowly(self._newest() or self._clock.now(), self._clock.monotonic())
        now = self._slowly.look(self._clock.now(), self._clock.monotonic())
        held = self._held()
        floors = [*old_floors(self._policy, now, held.floors), *large_floors(self._policy, held)]
        if floors:
            self._record([floor.entry(SOURCE) for floor in floors])
        for floor in floors:
            self._asked[floor.name] = max(floor.before, self._asked.get(floor.name, 0))
            _events.info("floor_raised", what=floor.name, before=format_time(floor.before), why=floor.why)
        if self._policy.audit is not None and self._clock.monotonic() - self._seldom_at > _SELDOM_SECONDS:
            self._seldom_at = self._clock.monotonic()
            self._audit.forget(now - self._policy.audit)

    def _held(self) -> Held:
        """What there is, with the floors that were asked for already."""
        held = self._holdings().held()
        names = {*held.floors, *self._asked}
        floors = {name: max(held.floors.get(name, 0), self._asked.get(name, 0)) for name in names}
        for name, at in floors.items():
            self._metrics.floor.labels(name).set(at / SECOND)
        return replace(held, floors=floors, settled=held.settled and floors == dict(held.floors))
