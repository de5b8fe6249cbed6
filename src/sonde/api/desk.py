"""Where questions are answered: a few at a time, a bounded number waiting, each timed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from sonde.errors import Retry
from sonde.metrics import Metrics
from sonde.ports import Store
from sonde.question import Answer, Question

AT_ONCE: Final = 16
WAITING: Final = 256
WAIT_SECONDS: Final = 10.0
SQL_AT_ONCE: Final = 2
SQL_WAITING: Final = 16


class Queue:
    """Lets ``at_once`` in; ``waiting`` more wait up to ``seconds``, all others are told to come back."""

    def __init__(self, at_once: int, waiting: int, seconds: float = WAIT_SECONDS) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._limit = waiting
        self._waiting = 0
        self._seconds = seconds

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn and hold it; :class:`Retry` if there are too many before."""
        await self._enter()
        try:
            yield
        finally:
            self._free.release()

    async def _enter(self) -> None:
        if self._waiting >= self._limit:
            raise Retry(f"{self._limit} questions are waiting already", hint="Ask again in a moment", after=1)
        self._waiting += 1
        try:
            async with asyncio.timeout(self._seconds):
                await self._free.acquire()
        except TimeoutError:
            raise Retry(
                f"no turn within {self._seconds:g} s: slower questions are before this one",
                hint="Ask again in a moment",
                after=1,
            ) from None
        finally:
            self._waiting -= 1


class Desk:
    """Asks whatever store is there now.

    ``store`` gives it, or raises :class:`Retry` while there is none (it is being made again from the log). None: nothing is
    asked here.
    """

    def __init__(self, store: Callable[[], Store] | None, metrics: Metrics) -> None:
        self._store = store
        self._seconds = metrics.answers
        self.questions = Queue(AT_ONCE, WAITING)
        self.sql = Queue(SQL_AT_ONCE, SQL_WAITING)

    def current(self) -> Store:
        """The store that is there now; :class:`Retry` if there is none."""
        if self._store is None:
            raise Retry("this server answers no questions", hint="Ask one that does: sonde api")
        return self._store()

    def ask(self, question: Question) -> Answer:
        """The store's answer; the errors of :meth:`sonde.ports.Store.ask`."""
        with self._seconds.time():
            return self.current().ask(question)

    def check(self) -> None:
        """The error that a question would meet, if there is no store to ask though there should be."""
        if self._store is not None:
            self._store()
