"""Tells one target what became of alerts: at least once, in groups, and each one's fate is written down.

It reads the events of alerts from the store by their place in the log and remembers how far it has come. A rebuild gives
the same events at the same places, so it tells nobody anything again. Before a message goes, it is written down that it
was tried: what a crash leaves in doubt goes again, marked as a repeat.
"""

import random
import secrets
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec
import pyarrow as pa
import structlog

from sonde.clock import DAY, SECOND, Clock, Micros
from sonde.errors import Doubtful, Reject, Retry, SondeError
from sonde.metrics import Metrics
from sonde.notice import Interest, Notice, compose, notice_id
from sonde.ports import Courier, Notices, Store
from sonde.question import AlertEvents, Reached

AT_ONCE: Final = 100  # notices a message
GIVE_UP: Final[Micros] = 3 * DAY
STALE: Final[Micros] = DAY
"""An event that was logged this long ago is no news any more; it is written down and not sent."""

_LOOK_SECONDS: Final = 1.0
_LEAST_SECONDS, _MOST_SECONDS = 5.0, 3600.0  # between two tries
_NEWS: Final = (
    *("event", "time", "who", "why", "alert_id", "rule", "severity", "state", "device", "metric", "site", "zone"),
    *("type", "value", "peak", "threshold", "since", "resolved_at", "message", "retroactive"),
)
_log = structlog.get_logger()


class Notifier:
    """One target and its thread. ``log`` is the id of the log whose events it tells; ``store`` gives the store that is there,
    or raises :class:`Retry`. ``gather`` seconds are waited for more to tell in the same message."""

    def __init__(
        self,
        target: str,
        interest: Interest,
        courier: Courier,
        notices: Notices,
        store: Callable[[], Store],
        log: str,
        *,
        clock: Clock,
        metrics: Metrics,
        gather: float = 10.0,
    ) -> None:
        self._target, self._interest, self._courier = target, interest, courier
        self._notices, self._store, self._log_id = notices, store, log
        self._clock, self._metrics, self._gather = clock, metrics, gather
        self._begun = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"notify-{target}", daemon=True)

    def start(self) -> None:
        """Begin; alerts from before a target was first there are not told, those from now on are."""
        with suppress(Retry):  # then its thread finds out where it begins
            self.read()
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Begin nothing new, and wait for what is under way."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.read()
                wait = self.tell()
            except Retry as error:
                wait = error.after or _LOOK_SECONDS
            except SondeError as error:
                _log.error("notifications_stopped", target=self._target, problem=str(error))
                return
            self._clock.wait(self._stop, wait)

    def read(self) -> None:
        """Make notices of the events that the store has and this target was not told of."""
        places = dict(self._notices.places(self._target, self._log_id))
        store = self._store()
        reached = store.ask(Reached()).rows.to_pylist()
        if not places and not self._begun:
            ends = {row["partition"]: row["next_offset"] for row in reached}
            self._notices.add(self._target, self._log_id, ends, ())
            self._begun = True
            return
        for partition in (row["partition"] for row in reached):
            question = AlertEvents(partition=partition, offset=places.get(partition, 0))
            events = store.ask(question).rows
            if len(events):
                rows = _in_micros(events).to_pylist()
                made = [self._notice(partition, row) for row in rows if self._interest.covers(row)]
                self._notices.add(self._target, self._log_id, {partition: rows[-1]["offset"] + 1}, made)

    def _notice(self, partition: int, row: dict[str, Any]) -> Notice:
        now = self._clock.now()
        is_news = row["log_time"] > now - STALE
        return Notice(
            id=notice_id(self._target, self._log_id, partition, row["offset"], row["alert_id"], row["event"]),
            target=self._target,
            made=now,
            due=now + round(self._gather * SECOND),
            news={name: row[name] for name in _NEWS},
            fate="waiting" if is_news else "stale",
            settled=None if is_news else now,
        )

    def tell(self) -> float:
        """Send what is due; seconds until there may be more."""
        waiting = self._notices.waiting(self._target, AT_ONCE)
        self._metrics.notices_waiting.labels(self._target).set(len(waiting))
        if not waiting:
            return _LOOK_SECONDS
        left = (waiting[0].due - self._clock.now()) / SECOND
        if left > 0:
            return min(left, _LOOK_SECONDS)
        first = waiting[0].message
        self._send([n for n in waiting if n.message == first], first or secrets.token_hex(8))
        return 0.0

    def _send(self, notices: Sequence[Notice], id_: str) -> None:
        message = compose(id_, notices, self._clock.now())
        begun = [_with(n, message=id_, tries=n.tries + 1, doubtful=True) for n in notices]
        self._notices.update(begun)
        try:
            self._courier.send(message)
        except Retry as error:
            self._notices.update([self._again(n, before, error) for n, before in zip(begun, notices, strict=True)])
            return
        except Reject as error:
            self._settle(begun, "failed", str(error))
            return
        self._settle(begun, "sent", "")

    def _again(self, notice: Notice, before: Notice, error: Retry) -> Notice:
        now = self._clock.now()
        doubtful = isinstance(error, Doubtful) or before.doubtful
        if now - notice.made > GIVE_UP:
            self._account("failed", 1)
            return _with(notice, fate="failed", doubtful=doubtful, said=f"given up: {error}", settled=now)
        pause = min(_MOST_SECONDS, _LEAST_SECONDS * 2 ** min(notice.tries - 1, 20))
        pause = max(error.after or 0.0, pause * random.uniform(0.5, 1.0))  # noqa: S311 - to spread tries, not to keep a secret
        return _with(notice, doubtful=doubtful, said=str(error), due=now + round(pause * SECOND))

    def _settle(self, notices: Sequence[Notice], fate: str, said: str) -> None:
        now = self._clock.now()
        self._notices.update([_with(n, fate=fate, doubtful=False, said=said, settled=now) for n in notices])
        self._account(fate, len(notices))
        if said:
            _log.warning("notification_refused", target=self._target, notices=len(notices), problem=said)

    def _account(self, fate: str, count: int) -> None:
        self._metrics.notices.labels(self._target, fate).inc(count)


def _with(notice: Notice, **changes: Any) -> Notice:
    return msgspec.structs.replace(notice, **changes)


def _in_micros(table: pa.Table) -> pa.Table:
    """A table with its times as numbers."""
    schema = pa.schema([f.with_type(pa.int64()) if pa.types.is_timestamp(f.type) else f for f in table.schema])
    return table.cast(schema)
