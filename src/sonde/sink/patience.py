"""Nobody waits for ever: answers that a slow disk does not give in time are given here."""

import asyncio
from collections import deque
from typing import Final

from sonde.errors import Retry

_LOOK_EVERY: Final = 1.0  # seconds


class Patience:
    """Ends waits after ``seconds``, with one timer for all of them. Belongs to one event loop."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waiting: deque[tuple[float, asyncio.Future[int]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, answer: "asyncio.Future[int]", loop: asyncio.AbstractEventLoop) -> None:
        """From now on ``answer`` has ``seconds`` to come."""
        self._waiting.append((loop.time() + self._seconds, answer))
        if self._timer is None:
            self._timer = loop.call_later(_LOOK_EVERY, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        while self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] <= now):
            _, answer = self._waiting.popleft()
            if not answer.done():
                answer.set_exception(
                    Retry("the disk is too slow", hint="Send again; what was written is recognised", after=5.0)
                )
        self._timer = loop.call_later(_LOOK_EVERY, self._look, loop) if self._waiting else None
