"""The ways inside one program: a node with its sink and its server in the same process."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Sequence
from typing import Final

from sonde.command import Poll, Tasks
from sonde.errors import Forbidden, Hold, Retry, Unauthenticated
from sonde.ports import Credential, Dispatch, Intake, Outgoing, StreamId

_TIMEOUT: Final = 60.0


class MemoryWire:
    """A :class:`sonde.ports.Wire` to an intake that runs in ``loop``, in another thread."""

    def __init__(
        self, intake: Intake, credential: Credential, loop: asyncio.AbstractEventLoop, *, timeout: float = _TIMEOUT
    ) -> None:
        self._intake = intake
        self._credential = credential
        self._loop = loop
        self._timeout = timeout

    def send(self, stream: StreamId, confirmed: int, entries: Sequence[Outgoing]) -> int:
        taking = self._intake.uplink(self._credential, stream, confirmed, entries)
        try:
            answer = asyncio.run_coroutine_threadsafe(taking, self._loop)
        except RuntimeError as error:  # the loop is closed
            taking.close()
            raise Retry(f"the sink is not running ({error})") from None
        try:
            return answer.result(self._timeout)
        except (Unauthenticated, Forbidden) as error:
            raise Hold(error.message, hint=error.hint) from None
        except (TimeoutError, concurrent.futures.CancelledError):
            answer.cancel()
            raise Retry(f"the sink gave no answer within {self._timeout:g} s, or is stopping") from None

    def close(self) -> None:
        pass


class MemoryDownlink:
    """A :class:`sonde.ports.Downlink` to a dispatch that runs in ``loop``, in another thread."""

    def __init__(
        self, dispatch: Dispatch, credential: Credential, loop: asyncio.AbstractEventLoop, *, patience: float = 10.0
    ) -> None:
        self._dispatch = dispatch
        self._credential = credential
        self._loop = loop
        self._patience = patience
        self._lock = threading.Lock()
        self._answer: concurrent.futures.Future[Tasks] | None = None
        self._closed = False

    def poll(self, poll: Poll, wait: float) -> Tasks:
        asking = self._dispatch.poll(self._credential, poll, wait)
        with self._lock:
            try:
                if self._closed:
                    raise RuntimeError("it is closed")
                self._answer = answer = asyncio.run_coroutine_threadsafe(asking, self._loop)
            except RuntimeError as error:
                asking.close()
                raise Retry(f"the server is not running ({error})") from None
        try:
            return answer.result(wait + self._patience)
        except (Unauthenticated, Forbidden) as error:
            raise Hold(error.message, hint=error.hint) from None
        except (TimeoutError, concurrent.futures.CancelledError):
            answer.cancel()
            raise Retry("the server gave no answer, or is stopping") from None

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._answer is not None:
                self._answer.cancel()
