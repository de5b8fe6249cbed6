"""A connection that a slow, greedy or clumsy client cannot harm: uvicorn's, with the limits that it lacks.

Times are deadlines: a byte now and then does not move them. One look at all connections every half second costs less
than a timer for each request.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from sonde.problem import MEDIA_TYPE, problem_json
from sonde.transport.cycle import Cycle
from sonde.transport.http import CERTIFICATE
from sonde.transport.secured import credential_of

Waiting: TypeAlias = Literal["headers", "body", "an answer to be read", "another request"]


@dataclass(frozen=True, slots=True)
class Guard:
    """What one server takes of its clients. Times in seconds."""

    handshake_seconds: float = 10.0  # of TLS
    header_seconds: float = 10.0
    body_seconds: float = 30.0
    answer_seconds: float = 60.0
    idle_seconds: float = 75.0
    connections: int = 2_000
    headers: int = 100
    header_bytes: int = 32 << 10
    url_bytes: int = 8 << 10
    pipelined: int = 64  # requests of one connection that wait for the one before them
    grace_seconds: int = 8  # for requests under way when the server stops


class _Refused(Exception):
    """Raised through the parser, to stop it."""


class GuardedProtocol(HttpToolsProtocol):
    """One connection. ``due`` is when what it is waiting for must be there; ``waiting_for`` says what that is."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        guard: Guard,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.due: float | None = None
        self.waiting_for: Waiting = "headers"
        self._guard = guard
        self._began = False
        self._unparsed = 0  # bytes since the last request was whole
        self._refusal: tuple[int, str] | None = None
        self._running: RequestResponseCycle | None = None  # the one whose answer is next
        self._credential = b""  # of a node that showed a certificate

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._credential = credential_of(transport)
        if len(self.connections) > self._guard.connections:
            self.refuse(503, "too many connections", retry_after=5)
            return
        self._wait_for("headers", self._guard.header_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True  # the parent tells the newest request only

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self.waiting_for == "another request":
            self._wait_for("headers", self._guard.header_seconds)
        self._unparsed += len(data)
        super().data_received(data)
        if self.waiting_for == "headers" and self._unparsed > self._guard.header_bytes + self._guard.url_bytes:
            self.refuse(431, f"the headers have more than {self._guard.header_bytes} bytes")

    def eof_received(self) -> bool:  # type: ignore[override]
        """A client that has said all it will say still wants its answer."""
        asked = self.cycle is not None and not self.cycle.response_complete and not self._began
        if asked:
            self.cycle.keep_alive = False
            return True
        return False

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._credential:
            self.scope["extensions"] = {CERTIFICATE: {"credential": self._credential}}
        self._began = True
        if self.waiting_for != "headers":
            self._wait_for("headers", self._guard.header_seconds)

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > self._guard.url_bytes:
            self._stop(414, f"the URL has more than {self._guard.url_bytes} bytes")

    def on_headers_complete(self) -> None:
        headers, guard = self.headers, self._guard
        if len(self.pipeline) >= guard.pipelined:
            self._stop(429, f"more than {guard.pipelined} requests wait for the one before them")
        if len(headers) > guard.headers:
            self._stop(431, f"there are more than {guard.headers} headers")
        if sum(len(name) + len(value) for name, value in headers) > guard.header_bytes:
            self._stop(431, f"the headers have more than {guard.header_bytes} bytes")
        self._wait_for("body", guard.body_seconds)
        super().on_headers_complete()
        if self.cycle is not None:
            self.cycle.__class__ = Cycle  # the parent makes them; it has not started yet

    def on_message_complete(self) -> None:
        self.due = None
        self._began = False
        self._unparsed = 0
        super().on_message_complete()
        if self.cycle is not None and self.cycle.response_complete:  # it was answered before it was whole
            self._wait_for("another request", self._guard.idle_seconds)

    def on_response_complete(self) -> None:
        """As its parent does, without a timer for each response."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:  # nothing more is read before the last of them is answered
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
            return
        self.flow.resume_reading()
        if not self._began:
            self._wait_for("another request", self._guard.idle_seconds)

    def overdue(self, now: float) -> None:
        """Close the connection if it has kept us waiting for too long."""
        if self.due is None or now < self.due or self.transport is None:
            return
        if self.waiting_for == "an answer to be read" or self.transport.is_closing():
            self.transport.abort()
        elif self.waiting_for == "another request" or not (self._unparsed or self._began):
            self.transport.close()
        else:
            self.refuse(408, f"the {self.waiting_for} took too long to arrive")

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over, unless an earlier request of it has no answer yet: that one would be written between."""
        if self._running is not None and not self._running.response_complete:
            self.refuse(400, "a request waits for its answer; a WebSocket needs a connection of its own")
            return
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        status, why = self._refusal or (400, "this is not HTTP/1.1 as it should be")
        self.refuse(status, why)

    def refuse(self, status: int, why: str, *, retry_after: int | None = None) -> None:
        """Answer without asking the app, and close. If earlier requests have no answer yet this one gets none: it would be
        taken for theirs. They get theirs first."""
        if self._leave_to_earlier():
            return
        answered = self.waiting_for == "body" and self.cycle is not None and self.cycle.response_started
        content = problem_json(status, why)
        retry = b"retry-after: %d\r\n" % retry_after if retry_after is not None else b""
        head = b"content-type: %s\r\ncontent-length: %d\r\n%sconnection: close\r\n\r\n"
        if not answered:
            self.transport.write(STATUS_LINE[status] + head % (MEDIA_TYPE.encode(), len(content), retry) + content)
        self._wait_for("an answer to be read", self._guard.answer_seconds)
        self.transport.close()

    def _leave_to_earlier(self) -> bool:
        """If requests before the one that is refused wait for their answers, close after the last of those."""
        if self.waiting_for != "headers" and self.pipeline:
            self.pipeline.popleft()  # it is the one that is refused
        elif self.waiting_for != "headers":
            return False
        last = self.pipeline[0][0] if self.pipeline else self._running
        if last is None or last.response_complete:
            return False
        last.keep_alive = False
        self.flow.pause_reading()
        self.due = None
        return True

    def pause_writing(self) -> None:
        super().pause_writing()
        self._wait_for("an answer to be read", self._guard.answer_seconds)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.waiting_for == "an answer to be read" and not self.transport.is_closing():
            self.due = None

    def _wait_for(self, what: Waiting, seconds: float) -> None:
        self.waiting_for = what
        self.due = self.loop.time() + seconds

    def _stop(self, status: int, why: str) -> None:
        self._refusal = status, why
        raise _Refused
