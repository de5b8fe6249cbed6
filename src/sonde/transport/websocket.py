"""WebSockets (RFC 6455): the transport's end of the live feed.

What comes in is read by ``websockets``, which keeps to the standard and to the largest message. What goes out is written
as it is: frames that were made once, for many clients. A client that does not read is not waited for, and in the end cut
off.
"""

import asyncio
import socket
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final

import uvicorn
from uvicorn.protocols.utils import get_local_addr, get_remote_addr
from uvicorn.server import ServerState
from websockets.datastructures import Headers
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol

from sonde.errors import Invalid, Problem, SondeError
from sonde.message import MESSAGE_BYTES
from sonde.ports import Guest, Knock, Live
from sonde.problem import MEDIA_TYPE, ProblemAnswer, answer_problem, problem_json
from sonde.transport.secured import credential_of

_HIGH: Final = 256 << 10  # bytes that wait to be taken; then there is no room
_LOW: Final = 64 << 10
_SYSTEM: Final = 256 << 10  # of the system's buffer
_PING_SECONDS: Final = 20.0
_SILENT_SECONDS: Final = 60.0  # though it was pinged
_STALL_SECONDS: Final = 60.0
_CLOSE_SECONDS: Final = 5.0
_ONCE: Final = frozenset({"authorization", "host", "origin"})  # who asks must not depend on which of two is looked at
_LEAVE_SECONDS: Final = 0.5  # when the server stops


class WebSocket(asyncio.Protocol):
    """One connection that asked to become a WebSocket; a :class:`sonde.ports.Line` if it was let in.

    It takes over a connection from the HTTP protocol, which gives it the request again.
    """

    def __init__(
        self, config: uvicorn.Config, server_state: ServerState, app_state: dict[str, Any], *, live: Live
    ) -> None:
        self._live = live
        self._connections: set[Any] = server_state.connections
        self._loop = asyncio.get_running_loop()
        self._conn = ServerProtocol(max_size=MESSAGE_BYTES)
        self._transport: asyncio.Transport | None = None
        self._guest: Guest | None = None
        self._pieces: list[bytes] = []
        self.has_room = True
        self._ping_at = self._loop.time() + _PING_SECONDS
        self._heard = self._taken = self._loop.time()  # when something came last; when what waits became less
        self._unsent = 0
        self._close_by: float | None = None

    def send(self, frames: bytes) -> None:
        """See :meth:`sonde.ports.Line.send`."""
        if self._close_by is None and self._transport is not None:
            self._transport.write(frames)

    def close(self, code: int, reason: str) -> None:
        """See :meth:`sonde.ports.Line.close`."""
        if self._conn.state is State.OPEN:
            self._conn.send_close(code, reason)
            self._pass_on()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._connections.add(self)
        self._transport = transport
        transport.set_write_buffer_limits(high=_HIGH, low=_LOW)
        plug = transport.get_extra_info("socket")
        if plug is not None:
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SYSTEM)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._transport = None
        guest, self._guest = self._guest, None
        if guest is not None:
            guest.closed()

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        self._conn.receive_data(data)
        for event in self._conn.events_received():
            if isinstance(event, Request):
                self._enter(event)
            elif isinstance(event, Frame):
                self._take(event)
        self._pass_on()

    def eof_received(self) -> bool:
        self._conn.receive_eof()
        return False

    def pause_writing(self) -> None:
        self.has_room = False
        if self._transport is not None:
            self._transport.pause_reading()  # whoever does not listen need not talk

    def resume_writing(self) -> None:
        self.has_room = True
        if self._transport is None:
            return
        self._transport.resume_reading()
        if self._guest is not None:
            self._guest.drained()

    def overdue(self, now: float) -> None:
        """Ping a client that is quiet; cut off one that does not answer, does not read, or does not go."""
        transport = self._transport
        if transport is None:
            return
        unsent = transport.get_write_buffer_size()
        if not unsent or unsent < self._unsent:
            self._taken = now
        self._unsent = unsent
        stalls = now - self._taken > _STALL_SECONDS or now - self._heard > _SILENT_SECONDS
        if stalls or (self._close_by is not None and now >= self._close_by):
            transport.abort()
        elif now >= self._ping_at and self._conn.state is State.OPEN:
            self._ping_at = now + _PING_SECONDS
            self._conn.send_ping(b"")
            self._pass_on()

    def shutdown(self) -> None:
        """The server stops: say where to go on, and goodbye."""
        if self._guest is not None:
            self._guest.stopping()
        self.close(CloseCode.SERVICE_RESTART, "the server stops")
        if self._transport is not None:
            self._transport.close()
            self._loop.call_later(_LEAVE_SECONDS, self._transport.abort)

    def _enter(self, request: Request) -> None:
        response = self._conn.accept(request)
        if response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            try:
                guest = self._live.admit(self._knock(request))
            except SondeError as error:
                response = _refusal(answer_problem(error))
            else:
                if guest.subprotocol:
                    response.headers["Sec-WebSocket-Protocol"] = guest.subprotocol
                self._conn.send_response(response)
                self._pass_on()
                self._guest = guest
                guest.opened(self)
                return
        else:
            why = " ".join((response.body or b"").decode().split())
            response = _refusal(ProblemAnswer(response.status_code, problem_json(response.status_code, why)))
        self._conn.send_response(response)

    def _knock(self, request: Request) -> Knock:
        assert self._transport is not None
        offered: Iterable[str] = request.headers.get_all("Sec-WebSocket-Protocol")
        headers: dict[str, str] = {}
        for given, value in request.headers.raw_items():
            name = given.lower()
            if name in headers and name in _ONCE:
                raise Invalid(Problem(None, given, "it is there twice"), syntax=True)
            headers[name] = f"{headers[name]}; {value}" if name in headers else value
        client, server = get_remote_addr(self._transport), get_local_addr(self._transport)
        return Knock(
            path=request.path.partition("?")[0],
            headers=headers,
            subprotocols=[name.strip() for line in offered for name in line.split(",")],
            address=client[0] if client else "",
            server=server[0] if server else "",
            certificate=credential_of(self._transport),
        )

    def _take(self, frame: Frame) -> None:
        if frame.opcode not in {Opcode.TEXT, Opcode.BINARY, Opcode.CONT} or self._guest is None:
            return
        if frame.opcode is not Opcode.CONT:
            self._pieces = []
        self._pieces.append(bytes(frame.data))
        if frame.fin:
            data, self._pieces = b"".join(self._pieces), []
            try:
                text = data.decode()
            except UnicodeDecodeError:
                self._conn.fail(CloseCode.INVALID_DATA, "this is not UTF-8")
                return
            self._guest.received(text)

    def _pass_on(self) -> None:
        """Write what the protocol has to say; close when it is at its end."""
        transport = self._transport
        if transport is None:
            return
        for data in self._conn.data_to_send():
            if data:
                transport.write(data)
            else:
                self._end(transport)
        if self._conn.state not in {State.OPEN, State.CONNECTING}:
            self._close_soon()

    def _end(self, transport: asyncio.Transport) -> None:
        """Our side has said all. If the other still talks, a connection that is closed at once loses what we said last."""
        if transport.can_write_eof():
            transport.write_eof()
            self._close_soon()
        else:
            transport.close()

    def _close_soon(self) -> None:
        if self._close_by is None:
            self._close_by = self._loop.time() + _CLOSE_SECONDS


def _refusal(answer: ProblemAnswer) -> Response:
    headers = Headers(answer.headers)
    headers["Content-Type"] = MEDIA_TYPE
    headers["Content-Length"] = str(len(answer.content))
    headers["Connection"] = "close"
    return Response(answer.status, HTTPStatus(answer.status).phrase, headers, answer.content)
