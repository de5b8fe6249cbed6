"""Hears of commands: asks a server for tasks, one request at a time, for ever."""

import secrets
import threading
from collections.abc import Callable
from typing import Final

import structlog

from sonde.clock import Clock
from sonde.command import Poll, Task
from sonde.errors import Hold, SondeError
from sonde.node.backoff import Backoff
from sonde.ports import CommandBook, Downlink

POLL_SECONDS: Final = 20.0
_log = structlog.get_logger()


class Listener:
    """A thread that polls a downlink. ``recover`` is called first; ``take`` is given each task with the epoch that it was
    asked for under; ``declare`` is called when the server has another log than before, and so may not know this node's
    devices.

    A task that could not be taken comes again, since its answer is not counted as seen.
    """

    def __init__(
        self,
        downlink: Downlink,
        book: CommandBook,
        *,
        recover: Callable[[], None],
        take: Callable[[Task, str], None],
        declare: Callable[[], None],
        clock: Clock,
        backoff: Backoff | None = None,
        hold_seconds: float = 30.0,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self.problem = ""
        self._downlink, self._book, self._clock = downlink, book, clock
        self._recover: Callable[[], None] | None = recover
        self._take, self._declare = take, declare
        self._backoff = backoff or Backoff()
        self._hold_seconds, self._poll_seconds = hold_seconds, poll_seconds
        self._session, self._seen, self._log_id = secrets.token_hex(8), 0, ""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="downlink", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Ask no more; a task that came is not taken any more."""
        self._stopped.set()
        self._downlink.close()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._ask()
            except Hold as error:
                self._wait(error, self._hold_seconds)
            except SondeError as error:
                self._wait(error, self._backoff.next())
            except Exception as error:  # a bug must not end the thread
                if not self._stopped.is_set():
                    _log.exception("downlink_unexpected")
                    self._wait(error, self._backoff.next())

    def _ask(self) -> None:
        if self._recover is not None:
            self._recover()
            self._recover = None
        epoch = self._book.book_epoch
        answer = self._downlink.poll(Poll(epoch, self._session, self._seen), self._poll_seconds)
        if self._stopped.is_set():
            return
        if self._log_id not in {"", answer.log}:
            self._declare()
        self._log_id = answer.log
        for task in answer.tasks:
            self._take(task, epoch)
        self._seen = answer.number
        self._backoff.reset()
        if self.problem:
            _log.info("downlink_back")
            self.problem = ""

    def _wait(self, error: Exception, seconds: float) -> None:
        if self._stopped.is_set():
            return
        why = f"no commands can come: {error}"
        if why != self.problem:
            _log.warning("downlink_waits", reason=str(error))
            self.problem = why
        self._clock.wait(self._stopped, seconds)
