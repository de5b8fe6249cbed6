"""The wire inside one program: a node and its sink in the same process."""

import asyncio
import concurrent.futures
from collections.abc import Sequence
from typing import Final

from sonde.errors import Forbidden, Hold, Retry, Unauthenticated
from sonde.ports import Credential, Intake, Outgoing, StreamId

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
