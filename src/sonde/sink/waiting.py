"""What waits for the disk, or the broker: bounded for all partitions of a sink together."""

import threading
from collections.abc import Sequence

from sonde.errors import Retry
from sonde.sink.deposit import Deposit
from sonde.sink.limits import Limits


class Waiting:
    """Counts requests and their bytes. ``lock`` guards it, and the queues of all that share it."""

    def __init__(self, limits: Limits) -> None:
        self.lock = threading.Lock()
        self._limits = limits
        self._bytes = 0
        self._requests = 0

    def admit(self, deposits: Sequence[Deposit]) -> None:
        """Take all of ``deposits`` in, or none: :class:`Retry`. To be called with the lock."""
        size = sum(d.bytes for d in deposits)
        full = self._requests and self._bytes + size > self._limits.waiting_bytes
        if full or self._requests + len(deposits) > max(self._limits.waiting_requests, len(deposits)):
            raise Retry("too much waits for the disk", hint="Send again after Retry-After", after=1.0)
        self._bytes += size
        self._requests += len(deposits)

    def release(self, deposits: Sequence[Deposit]) -> None:
        """``deposits`` wait no longer. To be called with the lock."""
        self._bytes -= sum(d.bytes for d in deposits)
        self._requests -= len(deposits)
