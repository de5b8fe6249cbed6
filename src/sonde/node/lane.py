"""One lane of the uplink: its loop, and what it does about each error."""

import threading
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from sonde.clock import Clock
from sonde.entry import EntryKind, Lane
from sonde.errors import Conflict, Hold, Reject, Retry, SondeError, TooLarge
from sonde.metrics import Metrics
from sonde.node.backoff import Backoff
from sonde.node.parcel import Parcel
from sonde.ports import Outbox, Outgoing, StreamId, Wire

_IDLE_SECONDS: Final = 1.0
_log = structlog.get_logger()


class LaneSender:
    """Sends one lane's entries in order, one request at a time, for ever.

    ``on_receipt(lane, seq)`` is called after each receipt, with None when nothing waits or the seqs count anew;
    ``on_recovery(lane)`` when a send got through after failures. ``state`` says what it is doing, ``problem`` what is in
    its way, if anything is.
    """

    def __init__(
        self,
        lane: Lane,
        outbox: Outbox,
        wire: Wire,
        *,
        clock: Clock,
        metrics: Metrics,
        backoff: Backoff,
        hold_seconds: float,
        on_receipt: Callable[[int, int | None], None],
        on_recovery: Callable[[int], None],
    ) -> None:
        self.state = "idle"
        self.problem = ""
        self._lane, self._name = lane, lane.name.lower()
        self._outbox, self._wire = outbox, wire
        self._clock, self._metrics, self._backoff = clock, metrics, backoff
        self._hold_seconds = hold_seconds
        self._on_receipt, self._on_recovery = on_receipt, on_recovery
        self._parcel = Parcel()
        self._epoch = ""
        self._stopped = threading.Event()
        self._more = threading.Event()  # something was committed
        self._hurry = threading.Event()  # another lane got through

    def wake(self) -> None:
        self._more.set()

    def hurry(self) -> None:
        self._hurry.set()

    def stop(self) -> None:
        self._stopped.set()
        self._more.set()
        self._hurry.set()

    def run(self) -> None:
        """Until :meth:`stop`."""
        while not self._stopped.is_set():
            self._more.clear()
            try:
                busy = self._send_oldest()
            except (
                Exception
            ) as error:  # a bug must not strand a lane (mistakes 1 and 3): keep everything, say it, go on
                _log.exception("uplink_unexpected", lane=self._name)
                self._wait(f"unexpected: {error!r}", None, "unexpected")
                continue
            if not busy:
                self.state = "idle"
                self._clock.wait(self._more, _IDLE_SECONDS)
        self.state = "stopped"

    def _send_oldest(self) -> bool:
        """One request and all that follows from its answer; whether there was anything to send."""
        try:
            epoch, entries = self._oldest()
            if not entries:
                self._on_receipt(self._lane, None)
                return False
            self.state = "sending"
            started = self._clock.monotonic()
            durable = self._wire.send(StreamId(epoch, self._lane), entries[0].seq - 1, entries)
            self._confirm(epoch, entries, durable)
            self._parcel.took(entries, self._clock.monotonic() - started)
            self._got_through()
        except TooLarge as error:
            self._send_less(entries, error)
        except Conflict as error:
            self._learn(epoch, entries, error)
        except Reject as error:
            self._set_aside(entries, error)
        except Retry as error:
            self._parcel.failed()
            self._wait(str(error), error.after, "retry")
        except Hold as error:
            self._hold(error)
        return True

    def _oldest(self) -> tuple[str, Sequence[Outgoing]]:
        """What to send next, and the epoch that its seqs belong to."""
        while True:
            epoch = self._outbox.epoch
            entries = self._outbox.peek(self._lane, self._parcel.bytes)
            if epoch == self._outbox.epoch:
                break
        if self._epoch not in {"", epoch}:
            self._on_receipt(self._lane, None)
        self._epoch = epoch
        return epoch, entries

    def _confirm(self, epoch: str, entries: Sequence[Outgoing], durable: int) -> None:
        if durable < entries[0].seq:
            raise Retry(f"the sink took nothing: it has {self._name} up to {durable}, and was sent {entries[0].seq}")
        if epoch != self._outbox.epoch:
            return
        self._outbox.confirm(self._lane, durable)
        taken = sum(entry.readings for entry in entries if entry.until <= durable)
        self._metrics.uplink_readings.labels(self._name).inc(taken)
        self._on_receipt(self._lane, durable)

    def _got_through(self) -> None:
        failures = self._backoff.failures
        self._backoff.reset()
        if self.problem:
            _log.info("uplink_back", lane=self._name, failures=failures)
            self.problem = ""
            self._on_recovery(self._lane)

    def _send_less(self, entries: Sequence[Outgoing], error: TooLarge) -> None:
        self._count("too_large")
        if len(entries) > 1:
            self._parcel.too_large(entries)
        else:
            self._set_aside(entries, error)

    def _learn(self, epoch: str, entries: Sequence[Outgoing], error: Conflict) -> None:
        """The sink knows better where the stream stands: a receipt was lost, or this outbox is an older copy."""
        if error.known is None or error.known < entries[0].seq:
            self._hold(error)
            return
        self._count("conflict")
        try:
            self._confirm(epoch, entries, error.known)
            self._got_through()
        except Retry as failure:
            self._wait(str(failure), failure.after, "retry")

    def _set_aside(self, entries: Sequence[Outgoing], error: Reject) -> None:
        """The sink will never take the first entry: a dead letter, and its tombstone goes on in its place."""
        first = entries[0]
        if first.kind == EntryKind.TOMBSTONE:  # nothing is left that could take its place
            self._hold(error)
            return
        try:
            self._outbox.reject(self._lane, first.seq, str(error))
        except Retry as failure:
            self._wait(str(failure), failure.after, "retry")
            return
        self._count("reject")
        self._metrics.uplink_rejected.labels(self._name).inc()
        _log.warning("uplink_rejected", lane=self._name, seq=first.seq, readings=first.readings, reason=str(error))

    def _hold(self, error: SondeError) -> None:
        """Someone must act; until then everything is kept, and tried now and then."""
        self._wait(str(error), self._hold_seconds, "hold")

    def _wait(self, why: str, at_least: float | None, reason: str) -> None:
        """``at_least`` is waited for in any case; the random part ends early when another lane gets through."""
        self._count(reason)
        if why != self.problem:
            _log.warning("uplink_waits", lane=self._name, reason=why)
            self.problem = why
        self._hurry.clear()
        self.state = f"{'on hold' if reason == 'hold' else 'waiting'}: {why}"
        if at_least is not None:
            self._clock.wait(self._stopped, at_least)
        if reason != "hold":
            self._clock.wait(self._hurry, self._backoff.next())

    def _count(self, reason: str) -> None:
        self._metrics.uplink_failures.labels(self._name, reason).inc()
