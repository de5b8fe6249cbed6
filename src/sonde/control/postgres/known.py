"""What was looked up in the control database, for as long as nothing changes there.

A server looks at every token once a second, and its event loop must not wait for a network each time. So what was found is
kept, with the number of the state that it was found in. Every change of tokens or sessions counts that number up; a thread
looks at it twice a second, and forgets everything when it is another. So a revoked token is known no longer than that.

While the database is away nobody can revoke anything either: what is known goes on being so, for a day.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Generic, TypeVar

import structlog

from sonde.clock import Clock
from sonde.errors import Retry, SondeError

LOOK_SECONDS: Final = 0.5
_AWAY_SECONDS: Final = 86_400.0
_MOST: Final = 100_000
_ASK_SECONDS: Final = 2.0
_WORKERS: Final = 4
_log = structlog.get_logger()
T = TypeVar("T")


class Known(Generic[T]):
    """Remembers what was found by a digest. ``state`` asks the database for the number of its state; ``tidy`` is called about
    once a minute on the thread that looks. Any thread may call it."""

    def __init__(self, state: Callable[[], int], tidy: Callable[[], None], clock: Clock) -> None:
        self._ask, self._tidy, self._clock = state, tidy, clock
        self._found: dict[bytes, T] = {}
        self._state = -1
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="sonde-control-ask")
        self._problem: SondeError | None = None
        self._heard = clock.monotonic()
        self._thread = threading.Thread(target=self._run, name="sonde-control", daemon=True)
        self._thread.start()

    def get(self, digest: bytes) -> T | None:
        """What is known of ``digest``. :class:`Retry` if nothing is, and nobody can be asked just now."""
        found = self._found.get(digest)
        problem = self._problem
        if found is None and problem is not None:
            raise Retry(f"the control database cannot be asked: {problem.message}", hint=problem.hint, after=2.0)
        return found

    def ask(self, work: Callable[[], T | None]) -> T | None:
        """What ``work`` finds in the database. The caller may be an event loop: :class:`Retry` if that takes too long, and at
        once from then on until the database answers again."""
        asked = self._workers.submit(work)
        try:
            return asked.result(_ASK_SECONDS)
        except TimeoutError:
            asked.cancel()
            self._problem = Retry("it does not answer", after=2.0)
            raise Retry("the control database does not answer", hint="Is it reachable?", after=2.0) from None

    def put(self, digest: bytes, found: T, state: int) -> None:
        """Remember what was found in a state of the database."""
        with self._lock:
            if state > self._state:
                self._found.clear()
                self._state = state
            if state == self._state:
                while len(self._found) >= _MOST:
                    self._found.pop(next(iter(self._found)))
                self._found[digest] = found

    def forget(self) -> None:
        """Something was changed here."""
        with self._lock:
            self._found.clear()
            self._state += 1

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._workers.shutdown(wait=False, cancel_futures=True)

    def _run(self) -> None:
        tidied = self._clock.monotonic()
        while not self._stop.wait(LOOK_SECONDS):
            self._look()
            if self._problem is None and self._clock.monotonic() - tidied >= 60.0:
                tidied = self._clock.monotonic()
                self._try_to_tidy()

    def _look(self) -> None:
        try:
            state = self._ask()
        except SondeError as error:
            if self._problem is None:
                _log.warning("control_away", problem=str(error))
            self._problem = error
            if self._clock.monotonic() - self._heard > _AWAY_SECONDS:
                self.forget()
            return
        self._heard = self._clock.monotonic()
        if self._problem is not None:
            _log.info("control_back")
            self._problem = None
        with self._lock:
            if state != self._state:
                self._found.clear()
                self._state = state

    def _try_to_tidy(self) -> None:
        try:
            self._tidy()
        except SondeError as error:
            _log.warning("last_use_not_written", problem=str(error))
