"""The uplink: sends what waits in an outbox, and deletes it only when a sink has confirmed it."""

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from sonde.clock import Clock, SystemClock
from sonde.entry import Lane
from sonde.metrics import Metrics
from sonde.node.backoff import Backoff
from sonde.node.lane import LaneSender
from sonde.ports import Outbox, Wire

LANES: Final = (Lane.CONTROL, Lane.LIVE, Lane.BACKLOG)
LIVE_SECONDS: Final = 2.0  # what has waited longer for its receipt is no longer live


class Uplink:
    """A thread a lane, each with one request in flight. ``start`` once, ``stop`` once.

    Nothing is ever given up: what a sink cannot take now is tried again until it can, what it will never take becomes a
    dead letter.
    """

    def __init__(
        self,
        outbox: Outbox,
        wire: Wire,
        *,
        lanes: Sequence[Lane] = LANES,
        clock: Clock | None = None,
        metrics: Metrics | None = None,
        backoff: Callable[[], Backoff] = Backoff,
        hold_seconds: float = 30.0,
    ) -> None:
        self._outbox = outbox
        self._clock = clock or SystemClock()
        self._ages: deque[tuple[int, float]] = deque()  # live entries without a receipt: seq, when committed
        counted = metrics or Metrics()
        self._senders = {
            lane: LaneSender(
                lane,
                outbox,
                wire,
                clock=self._clock,
                metrics=counted,
                backoff=backoff(),
                hold_seconds=hold_seconds,
                on_receipt=self._received,
                on_recovery=self._recovered,
            )
            for lane in lanes
        }
        self._threads = [
            threading.Thread(target=sender.run, name=f"uplink-{lane.name.lower()}", daemon=True)
            for lane, sender in self._senders.items()
        ]

    def start(self) -> None:
        if any(lane.lane == Lane.LIVE and lane.entries for lane in self._outbox.waiting()):
            self._ages.append((0, self._clock.monotonic()))
        for thread in self._threads:
            thread.start()

    def stop(self, timeout: float) -> bool:
        """Finish what is in flight, for at most ``timeout`` seconds; whether everything has stopped."""
        for sender in self._senders.values():
            sender.stop()
        deadline = self._clock.monotonic() + timeout
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - self._clock.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def lane(self) -> Lane:
        """Where a batch that is committed now belongs: live, unless live itself has to wait."""
        try:
            oldest = self._ages[0][1]
        except IndexError:
            return Lane.LIVE
        return Lane.BACKLOG if self._clock.monotonic() - oldest > LIVE_SECONDS else Lane.LIVE

    def committed(self, lane: int, seq: int) -> None:
        """An entry was put into the outbox."""
        if lane == Lane.LIVE:
            self._ages.append((seq, self._clock.monotonic()))
        self._senders[Lane(lane)].wake()

    def status(self) -> Mapping[str, str]:
        """What each lane is doing, in plain words."""
        return {lane.name.lower(): sender.state for lane, sender in self._senders.items()}

    def problems(self) -> Sequence[str]:
        """What keeps lanes from sending, each said once."""
        return tuple(dict.fromkeys(sender.problem for sender in self._senders.values() if sender.problem))

    def _received(self, lane: int, seq: int | None) -> None:
        """A lane has receipts up to ``seq``; None: nothing waits in it, or its seqs count anew."""
        if lane == Lane.LIVE:
            while self._ages and (seq is None or self._ages[0][0] <= seq):
                self._ages.popleft()

    def _recovered(self, lane: int) -> None:
        """One lane got through again: the others need not wait for their turn."""
        for other, sender in self._senders.items():
            if other != lane:
                sender.hurry()
