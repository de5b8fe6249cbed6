"""The HTTP server in a thread of its own."""

import asyncio
import ssl
import threading
from typing import Final

import structlog
import uvloop

from sonde.config.sections import Server as ServerSettings
from sonde.errors import Hold
from sonde.metrics import Metrics
from sonde.ports import Live
from sonde.transport.guard import Guard
from sonde.transport.http import App
from sonde.transport.serving import serve

_log = structlog.get_logger()
GRACE_SECONDS: Final = 4
_START_SECONDS: Final = 10.0
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104  # where it can be reached from here


class Listening:
    """Listens from the start; serves from :meth:`start` to :meth:`stop`. ``loop`` is where requests run."""

    def __init__(
        self,
        app: App,
        settings: ServerSettings,
        live: Live | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        handshake_seconds: float = 10.0,
        metrics: Metrics | None = None,
    ) -> None:
        guard = Guard(
            handshake_seconds=handshake_seconds,
            header_seconds=settings.header_timeout,
            body_seconds=settings.body_timeout,
            connections=settings.max_connections,
            grace_seconds=GRACE_SECONDS,
        )
        self.loop = uvloop.new_event_loop()
        self._server = serve(app, settings.host, settings.port, guard=guard, tls=tls, live=live, metrics=metrics)
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)
        self.failure: BaseException | None = None

    @property
    def url(self) -> str:
        """Where this machine reaches it."""
        server = self._server
        return server.url.replace(server.host, _EVERYWHERE[server.host]) if server.host in _EVERYWHERE else server.url

    @property
    def connections(self) -> int:
        return self._server.connections

    def show(self, tls: ssl.SSLContext) -> None:
        """From now on, to connections that come."""
        self._server.tls = tls

    def start(self) -> None:
        """Returns when requests are answered."""
        self._thread.start()
        deadline = threading.Event()
        for _ in range(int(_START_SECONDS / 0.005)):
            if self._server.started:
                return
            if self.failure is not None or not self._thread.is_alive():
                break
            deadline.wait(0.005)
        raise Hold(f"the server at {self._server.url} did not start ({self.failure or 'no answer'})")

    def stop(self, seconds: float) -> bool:
        """Take no more connections and answer what is under way; whether that was done in time."""
        self._server.stop()
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(self._server.run_until_stopped())
        except BaseException as error:
            _log.exception("server_failed")
            self.failure = error
        finally:
            self.loop.close()
