"""Where TLS begins: connections are accepted here, and only those that have shaken hands go on to the guard.

An event loop's own server would not do: what hangs in a handshake escapes its caller's limits, its certificate cannot be
replaced, and whoever speaks plain HTTP is cut off without a word.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Final

import structlog

from sonde.certificate import credential_in
from sonde.metrics import Metrics
from sonde.problem import MEDIA_TYPE, problem_json

_log = structlog.get_logger()
_AT_ONCE: Final = 128  # connections accepted before others get their turn
_NO_HANDLES_SECONDS: Final = 1.0
_GOODBYE_SECONDS: Final = 5.0  # for the other side's end of TLS
_SAY_EVERY: Final = 60.0  # seconds between two log lines about the same kind of trouble
_LINGER_BYTES: Final = 1 << 20
_PLAIN: Final = problem_json(426, "this port speaks TLS; write https:// in the address, or turn TLS off: [tls] enabled")
_TURNED_AWAY: Final = (
    b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: TLS/1.2\r\nConnection: Upgrade, close\r\n"
    b"Content-Type: %s\r\nContent-Length: %d\r\n\r\n%s" % (MEDIA_TYPE.encode(), len(_PLAIN), _PLAIN)
)


def credential_of(transport: asyncio.BaseTransport) -> bytes:
    """The digest of the token that the other side's certificate names; empty without one."""
    secured = transport.get_extra_info("ssl_object")
    shown = secured.getpeercert() if secured is not None else None
    return credential_in(shown.get("subjectAltName", ())) if shown else b""


class Handshakes:
    """Accepts what comes to ``listener`` until :meth:`close`, and gives it to a protocol of ``make`` when it has shaken hands.

    ``context`` is asked for each connection. A handshake has ``seconds``; ``most`` are under way at the same time, more are
    turned away unheard.
    """

    def __init__(
        self,
        listener: socket.socket,
        context: Callable[[], ssl.SSLContext],
        make: Callable[[], asyncio.Protocol],
        *,
        seconds: float,
        most: int,
        metrics: Metrics,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener, self._context, self._make = listener, context, make
        self._seconds, self._most = seconds, most
        self._metrics = metrics
        self._under_way: set[asyncio.Task[None]] = set()
        self._said: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}
        self._closed = False
        self._listen()

    def close(self) -> None:
        """Take no more; what is in a handshake is dropped."""
        self._closed = True
        self._loop.remove_reader(self._listener.fileno())
        for task in self._under_way:
            task.cancel()

    async def wait_closed(self) -> None:
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _listen(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, (address, *_) = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no file handles are left: look again when some may be
                self._loop.remove_reader(self._listener.fileno())
                self._loop.call_later(_NO_HANDLES_SECONDS, self._listen)
                self._tell("too_many", "", str(error))
                return
            connection.setblocking(False)
            if len(self._under_way) >= self._most:
                connection.close()
                self._tell("too_many", address, f"{self._most} handshakes are under way")
                continue
            task = self._loop.create_task(self._admit(connection, address))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _admit(self, connection: socket.socket, address: str) -> None:
        deadline = self._loop.time() + self._seconds
        try:
            async with asyncio.timeout_at(deadline):
                first = await self._first_byte(connection)
                if first.isalpha():
                    self._tell("plain", address, "plain HTTP was spoken at a port for TLS")
                    await self._turn_away(connection)
        except TimeoutError:
            first = b""
        except OSError:
            first = b""
        except BaseException:
            connection.close()
            raise
        if not first or first.isalpha():
            connection.close()
            return
        await self._shake_hands(connection, address, deadline)

    async def _shake_hands(self, connection: socket.socket, address: str, deadline: float) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._make,
                connection,
                ssl=self._context(),
                ssl_handshake_timeout=max(0.001, deadline - self._loop.time()),
                ssl_shutdown_timeout=_GOODBYE_SECONDS,
            )
        except ssl.SSLCertVerificationError as error:
            self._tell("certificate", address, f"a certificate that is not taken: {error.verify_message}")
        except ssl.SSLError as error:
            self._tell("handshake", address, str(getattr(error, "reason", None) or error))
        except OSError as error:
            late = self._loop.time() >= deadline
            self._tell("timeout" if late else "handshake", address, "took too long" if late else str(error))

    async def _first_byte(self, connection: socket.socket) -> bytes:
        """What comes first, left where it is; empty if nothing ever will."""
        ready = self._loop.create_future()
        handle = connection.fileno()
        self._loop.add_reader(handle, _set, ready)
        try:
            await ready
        finally:
            self._loop.remove_reader(handle)
        return connection.recv(1, socket.MSG_PEEK)

    async def _turn_away(self, connection: socket.socket) -> None:
        """Answer so that a client of plain HTTP understands, and let it finish: else the answer might be lost."""
        connection.send(_TURNED_AWAY)
        connection.shutdown(socket.SHUT_WR)
        received = 0
        while received < _LINGER_BYTES and (piece := await self._loop.sock_recv(connection, 1 << 16)):
            received += len(piece)

    def _tell(self, reason: str, address: str, problem: str) -> None:
        """Count it, and say it now and then: anyone can make it happen as often as they like."""
        self._metrics.tls_refused.labels(reason).inc()
        now = self._loop.time()
        if now - self._said.get(reason, -_SAY_EVERY) < _SAY_EVERY:
            self._unsaid[reason] = self._unsaid.get(reason, 0) + 1
            return
        self._said[reason] = now
        more = {"unsaid": unsaid} if (unsaid := self._unsaid.pop(reason, 0)) else {}
        _log.warning("tls_refused", reason=reason, address=address, problem=problem, **more)


def _set(ready: "asyncio.Future[None]") -> None:
    with contextlib.suppress(asyncio.InvalidStateError):
        ready.set_result(None)
