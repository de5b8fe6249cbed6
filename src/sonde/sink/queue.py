"""What waits in line for the thread that writes it."""

import asyncio
import threading
from collections import deque
from collections.abc import Sequence

from sonde.clock import Clock
from sonde.errors import Retry
from sonde.sink.deposit import Deposit
from sonde.sink.limits import Limits
from sonde.sink.waiting import Waiting


class Queue:
    """Deposits in the order in which they came. ``wake`` is set while its thread has something to do.

    ``waiting`` bounds what waits here and in other queues together.
    """

    def __init__(self, waiting: Waiting, limits: Limits, clock: Clock) -> None:
        self.wake = threading.Event()
        self.open = True
        self._waiting = waiting
        self._limits = limits
        self._clock = clock
        self._deposits: deque[Deposit] = deque()
        self._called = False  # an event loop is going to wake its thread

    def __len__(self) -> int:
        return len(self._deposits)

    def offer(self, deposit: Deposit, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Put ``deposit`` in line; its answer comes when it is durable. :class:`Retry` if too much waits, or nothing more is
        taken. Called from ``loop``, it is committed after this turn of it, together with all else that the turn brings:
        fewer frames, and fewer hand-overs of the interpreter's lock."""
        offer_together(((self, deposit),), loop)

    def next_group(self) -> list[Deposit]:
        """What shares the next frame: at least one if any waits, and not more than a frame should hold."""
        group: list[Deposit] = []
        readings = size = 0
        with self._waiting.lock:
            while self._deposits:
                readings += self._deposits[0].readings
                size += self._deposits[0].bytes
                if group and (readings > self._limits.group_readings or size > self._limits.group_bytes):
                    break
                group.append(self._deposits.popleft())
            self._waiting.release(group)
            self._called = False
            if not self._deposits and self.open:
                self.wake.clear()
        return group

    def stop(self) -> None:
        """Take nothing more; what waits is still written."""
        with self._waiting.lock:
            self.open = False
        self.wake.set()

    def _put(self, deposit: Deposit) -> None:
        deposit.since = self._clock.monotonic()
        self._deposits.append(deposit)


def offer_together(offers: Sequence[tuple[Queue, Deposit]], loop: asyncio.AbstractEventLoop | None = None) -> None:
    """The same for deposits in several queues of one sink: all of them are put there, or none is."""
    waiting = offers[0][0]._waiting
    with waiting.lock:
        if not all(queue.open for queue, _ in offers):
            raise Retry("the sink is shutting down", hint="Send again", after=1.0)
        waiting.admit([deposit for _, deposit in offers])
        for queue, deposit in offers:
            queue._put(deposit)
    for queue, _ in offers:
        if loop is None:
            queue.wake.set()
        elif not queue._called:
            queue._called = True
            loop.call_soon(queue.wake.set)
