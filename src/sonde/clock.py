"""Two clocks: ``now`` dates events, ``monotonic`` measures waiting.

A wall clock may jump; whatever waits, times out or counts a rate uses ``monotonic``.
Both are replaceable: pass a :class:`Clock`, tests pass a simulated one.
"""

import threading
import time
from typing import Protocol

Micros = int
"""A moment: microseconds since 1970-01-01T00:00:00Z."""

SECOND: Micros = 1_000_000
DAY: Micros = 86_400 * SECOND


class Clock(Protocol):
    """What time it is, and how to wait."""

    def now(self) -> Micros:
        """The present moment, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...

    def wait(self, signal: threading.Event, seconds: float) -> bool:
        """Wait until ``signal`` is set or ``seconds`` have passed; whether it was set."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> Micros:
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        return time.monotonic()

    def wait(self, signal: threading.Event, seconds: float) -> bool:
        return signal.wait(seconds)
