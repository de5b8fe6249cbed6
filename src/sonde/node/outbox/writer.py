"""The one thread that owns an outbox file. The others hand it work and wait."""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from sonde.errors import Hold

T = TypeVar("T")
_TICK: Final = 1.0  # seconds between looks at what other programs asked for


class Job:
    """Work for the owner thread; ``change`` is done inside the group's transaction, else after it."""

    __slots__ = ("change", "future", "run")

    def __init__(self, run: Callable[[], Any], *, change: bool) -> None:
        self.run = run
        self.change = change
        self.future: Future[Any] = Future()


class Writer:
    """Runs jobs in groups: those that wait at the same time share one commit, that is one fsync.

    ``group`` runs a list of jobs and settles them; it must not raise. ``tick`` is called about once a second, ``end``
    once, when everything that was handed in is done.
    """

    def __init__(
        self, group: Callable[[list[Job]], None], tick: Callable[[], None], end: Callable[[], None], limit: int
    ) -> None:
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._group, self._tick, self._end, self._limit = group, tick, end, limit
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._own, name="outbox", daemon=True)
        self._thread.start()

    def do(self, run: Callable[[], T], *, change: bool = True) -> T:
        """Hand in work and wait for its result, or its error."""
        job = Job(run, change=change)
        with self._lock:
            if self._closed:
                raise Hold("the outbox is closed")
            self._jobs.put(job)
        result: T = job.future.result()
        return result

    def close(self) -> None:
        with self._lock:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)
        self._thread.join()

    def _own(self) -> None:
        ticked = time.monotonic()
        while True:
            group, last = self._next_group()
            if group:
                self._group(group)
            if last:
                break
            if time.monotonic() - ticked >= _TICK:
                self._tick()
                ticked = time.monotonic()
        self._end()

    def _next_group(self) -> tuple[list[Job], bool]:
        """What has been handed in by now, after waiting for the first; and whether nothing more will come."""
        group: list[Job] = []
        try:
            job = self._jobs.get(timeout=_TICK)
            while job is not None:
                group.append(job)
                if len(group) >= self._limit:
                    return group, False
                job = self._jobs.get_nowait()
        except queue.Empty:
            return group, False
        return group, True
