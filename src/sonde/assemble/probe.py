"""Is it still there? Something elsewhere is asked again and again, so that a server knows before somebody needs it."""

import threading
from collections.abc import Callable
from typing import Final

import structlog

from sonde.errors import SondeError

_log = structlog.get_logger()
_EVERY_SECONDS: Final = 1.0


class Probe:
    """Calls ``ask`` once a second on a thread of its own, from :meth:`start` to :meth:`stop`: it may hang for a while and keeps
    nobody else waiting. ``what`` names it in log lines. ``problem`` is why it does not answer; empty if it does."""

    def __init__(self, what: str, ask: Callable[[], object]) -> None:
        self.problem = ""
        self._what, self._ask = what, ask
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"probe-{what}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """It may be in the middle of a question, and is not waited for."""
        self._stop.set()

    def look(self) -> None:
        """Ask once."""
        try:
            self._ask()
        except SondeError as error:
            if not self.problem:
                _log.warning("away", what=self._what, problem=str(error))
            self.problem = str(error)
        else:
            if self.problem:
                _log.info("back", what=self._what)
            self.problem = ""

    def _run(self) -> None:
        while not self._stop.wait(_EVERY_SECONDS):
            self.look()
