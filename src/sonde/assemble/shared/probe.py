"""Is it still there? Something elsewhere is asked again and again, so that a server knows before somebody needs it."""

import threading
import time
from collections.abc import Callable
from typing import Final

import structlog

from sonde.errors import SondeError

_log = structlog.get_logger()
_EVERY_SECONDS: Final = 1.0


class Probe:
    """Calls ``ask`` once a second on a thread of its own, from :meth:`start` to :meth:`stop`: it may hang for a while and keeps
    nobody else waiting. ``what`` names it in log lines."""

    def __init__(self, what: str, ask: Callable[[], object], *, patience: float = 3.0) -> None:
        self._what, self._ask, self._patience = what, ask, patience
        self._problem = ""
        self._asked: float | None = None  # when, as long as there is no answer
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"probe-{what}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """It may be in the middle of a question, and is not waited for."""
        self._stop.set()

    @property
    def problem(self) -> str:
        """Why it does not answer; empty if it does, or has not let us wait for long."""
        asked = self._asked
        if not self._problem and asked is not None and time.monotonic() - asked > self._patience:
            return f"the {self._what} does not answer"
        return self._problem

    def look(self) -> None:
        """Ask once."""
        self._asked = time.monotonic()
        try:
            self._ask()
        except SondeError as error:
            if not self._problem:
                _log.warning("away", what=self._what, problem=str(error))
            self._problem = str(error)
        else:
            if self._problem:
                _log.info("back", what=self._what)
            self._problem = ""
        self._asked = None

    def _run(self) -> None:
        while not self._stop.wait(_EVERY_SECONDS):
            self.look()
