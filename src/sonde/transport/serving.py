"""A server for an application: uvicorn, listening from the start, each connection behind the guard, plain or through TLS."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from functools import partial
from typing import Any, Final, cast

import uvicorn

from sonde.errors import Hold
from sonde.metrics import Metrics
from sonde.ports import Live
from sonde.transport.guard import Guard, GuardedProtocol
from sonde.transport.http import App
from sonde.transport.secured import Handshakes, Secured
from sonde.transport.websocket import WebSocket

_TICKS: Final = 5  # of uvicorn's tenth of a second, between two looks at the connections
_BACKLOG: Final = 1024


class Server(uvicorn.Server):
    """A server that listens already, and runs with :meth:`run_until_stopped`. It leaves signals to its caller.

    With ``tls`` it speaks TLS, and nothing else; another context may be put there at any time, for connections to come.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        listener: socket.socket,
        guard: Guard,
        tls: ssl.SSLContext | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        super().__init__(config)
        self.tls = tls
        self._listener = listener
        self._handshakes = Handshakes(guard.handshake_seconds, guard.connections, metrics or Metrics())
        self.host, self.port = listener.getsockname()[:2]

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'http' if self.tls is None else 'https'}://{host}:{self.port}"

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self.server_state.connections)

    async def run_until_stopped(self) -> None:
        """Serve until :meth:`stop`; then finish the requests under way, for as long as the guard allows."""
        await self.serve(sockets=[self._listener])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self.tls is None:
            await super().startup(sockets)
            return
        await super().startup([])
        loop = asyncio.get_running_loop()
        self.servers = [await loop.create_server(self._secured, sock=self._listener, backlog=_BACKLOG)]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._handshakes.close()
        await super().shutdown(sockets)

    def stop(self) -> None:
        """Take no more connections, and end. Safe from a signal handler and from any thread."""
        self.should_exit = True

    def connection(self) -> asyncio.Protocol:
        """A connection of this server without a socket, for tests and benchmarks."""
        if not self.config.loaded:
            self.config.load()
        made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state={}, _loop=asyncio.get_running_loop()
        )
        return made

    def _secured(self) -> Secured:
        return Secured(cast(ssl.SSLContext, self.tls), self.connection, self._handshakes)

    def close(self) -> None:
        """Stop listening, if the server never ran."""
        self._listener.close()

    async def on_tick(self, counter: int) -> bool:
        if counter % _TICKS == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                if isinstance(connection, GuardedProtocol | WebSocket):
                    connection.overdue(now)
            self._handshakes.overdue(now)
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


_GUARD: Final = Guard()


def serve(
    app: App,
    host: str,
    port: int,
    *,
    guard: Guard = _GUARD,
    tls: ssl.SSLContext | None = None,
    live: Live | None = None,
    metrics: Metrics | None = None,
    **options: Any,
) -> Server:
    """A server for ``app`` that listens at once; port 0 takes a free one. WebSockets go to ``live``. ``options`` are
    uvicorn's. :class:`Hold` if nobody can listen there."""
    config = uvicorn.Config(
        app,
        **{
            "http": partial(GuardedProtocol, guard=guard),
            "ws": "none" if live is None else partial(WebSocket, live=live),
            "lifespan": "off",
            "log_config": None,
            "access_log": False,
            "server_header": False,
            "proxy_headers": False,
            "timeout_graceful_shutdown": guard.grace_seconds,
            "backlog": _BACKLOG,
            **options,
        },
    )
    return Server(config, _listen(host, port), guard, tls, metrics)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise Hold(
            f"cannot listen at {host} port {port} ({error.strerror or error})",
            hint="Name another with --host and --port, or stop the program that is there",
        ) from None
    return listener
