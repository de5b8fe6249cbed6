"""Readings over HTTP, the sink's end: ``POST /telemetry`` (also ``/ingest``) and ``POST /uplink``, as a plain ASGI app.

It stands in front of the api's framework, because most requests come here and each costs a few microseconds only. What a
body holds is the intake's concern; here it is headers, sizes and answers.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final, TypeAlias

import structlog
from prometheus_client import Counter

from sonde.errors import Conflict, Forbidden, Invalid, Problem, Retry, SondeError, TooLarge, Unsupported
from sonde.metrics import Metrics
from sonde.ports import Credential, Intake, Telemetry
from sonde.problem import MEDIA_TYPE, answer_problem, problem_json
from sonde.transport.clocks import NodeClocks
from sonde.transport.uplink_wire import CONTENT_ENCODING, CONTENT_TYPE, LENGTH, MAX_MESSAGE_BYTES, SENT, Message, unpack

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers: TypeAlias = Mapping[bytes, bytes]
Answer: TypeAlias = tuple[int, bytes, list[tuple[bytes, bytes]]]

CERTIFICATE: Final = "sonde.certificate"
"""The extension of a scope whose ``credential`` is the digest of the token that the caller's certificate names."""
BODY_BYTES: Final = 32 << 20
ARRIVING_BYTES: Final = 256 << 20
_PAGES: Final = "Any page that this browser is shown could: make a token with sonde token create"
_HUNG_UP: Final = 499  # in metrics only: nobody is there to be answered
_SCOPE: Final = "ingest"
_HEAVY: Final = 256 << 10  # messages of nodes from so many bytes on are unpacked in a thread
_JSON: Final = (b"content-type", b"application/json")
_PROBLEM: Final = (b"content-type", MEDIA_TYPE.encode())
_CLOSE: Final = (b"connection", b"close")
_LENGTH: Final = LENGTH.lower().encode()
_SENT: Final = SENT.lower().encode()
_events = structlog.get_logger()


class _Gone(Exception):
    """The client hung up before its request was whole."""


Route: TypeAlias = Callable[["_Request"], Awaitable[Answer]]


class TelemetryApp:
    """The routes where readings come in; every other request goes to ``otherwise``.

    ``body_bytes`` bounds one body, ``arriving_bytes`` all bodies that are arriving at the same time. ``clocks`` are told
    what those of nodes show.
    """

    def __init__(
        self,
        intake: Intake,
        otherwise: App | None = None,
        *,
        body_bytes: int = BODY_BYTES,
        arriving_bytes: int = ARRIVING_BYTES,
        metrics: Metrics | None = None,
        clocks: NodeClocks | None = None,
    ) -> None:
        self._intake = intake
        self._clocks = clocks or NodeClocks()
        self._otherwise = otherwise
        self._body_bytes = body_bytes
        self._arriving_bytes = arriving_bytes
        self._arriving = 0
        self._metrics = metrics or Metrics()
        self._counters: dict[tuple[str, int], Counter] = {}
        self._routes = {"/telemetry": self._telemetry, "/ingest": self._telemetry, "/uplink": self._uplink}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._routes.get(scope["path"]) if scope["type"] == "http" else None
        if route is None:
            if self._otherwise is not None:
                await self._otherwise(scope, receive, send)
            elif scope["type"] == "http":
                await self._send(send, scope, 404, problem_json(404, "there is nothing here"), [_PROBLEM])
            return
        if scope["method"] != "POST":
            allow = [_PROBLEM, (b"allow", b"POST"), _CLOSE]
            await self._send(send, scope, 405, problem_json(405, "send readings with POST"), allow)
            return
        request = _Request(scope, receive)
        try:
            answer = await route(request)
        except SondeError as error:
            answer = self._refused(request, error)
        except _Gone:
            self._count(scope["path"], _HUNG_UP)
            return
        except asyncio.CancelledError:  # the server stops, and this took longer than it can wait
            answer = self._refused(request, Retry("the server is shutting down", hint="Send again", after=1.0))
        except Exception:
            _events.exception("request_failed", path=scope["path"])
            answer = 500, problem_json(500, "something went wrong here; the server's log says what"), [_PROBLEM, _CLOSE]
        await self._send(send, scope, *answer)

    async def _telemetry(self, request: "_Request") -> Answer:
        who, body = await self._body(request)
        get = request.headers.get
        accepted = await self._intake.telemetry(
            who,
            Telemetry(
                body,
                get(b"content-type", b"application/json").decode("latin-1"),
                get(b"content-encoding", b"").decode("latin-1"),
                _key(get(b"idempotency-key")),
            ),
        )
        return 202, b'{"status":"accepted","accepted":%d}' % accepted, [_JSON]

    async def _uplink(self, request: "_Request") -> Answer:
        who, body = await self._body(request)
        message = await self._message(request.headers, body)
        self._clocks.see(who.node, request.headers.get(_SENT, b""))
        durable = await self._intake.uplink(who, message.stream, message.confirmed, message.entries)
        return 200, b'{"durable_seq":%d}' % durable, [_JSON]

    async def _message(self, headers: Headers, body: bytes) -> Message:
        media, encoding = headers.get(b"content-type", b""), headers.get(b"content-encoding", b"")
        if media != CONTENT_TYPE.encode() or encoding != CONTENT_ENCODING.encode():
            raise Unsupported(
                f"a node sends {CONTENT_TYPE} with {CONTENT_ENCODING}", hint="Is this meant for /telemetry?"
            )
        length = headers.get(_LENGTH, b"").decode("latin-1")
        limit = min(MAX_MESSAGE_BYTES, 2 * self._body_bytes)
        if len(body) >= _HEAVY:
            return await asyncio.to_thread(unpack, body, length, limit)
        return unpack(body, length, limit)

    async def _body(self, request: "_Request") -> tuple[Credential, bytes]:
        """Who sends, and the body. It is charged before it is read; if its size is not known then, when it is."""
        size = request.announced()
        who = self._intake.admit(request.token, _SCOPE, size or 0, request.address, request.certificate)
        if b"origin" in request.headers and b"authorization" not in request.headers:
            raise Forbidden("a page in a browser cannot send readings without a token", hint=_PAGES)
        if size is not None and size > self._body_bytes:
            raise self._too_large(size)
        body, more = await request.receive()
        if more or len(body) > self._body_bytes:
            body = await self._read(request, body)
        if size is None:
            self._intake.admit(request.token, _SCOPE, len(body), request.address, request.certificate)
        return who, body

    async def _read(self, request: "_Request", piece: bytes) -> bytes:
        """The body that starts with ``piece``, to its end."""
        pieces = [piece]
        size = len(piece)
        self._arriving += size
        try:
            while not request.whole:
                if size > self._body_bytes:
                    raise self._too_large(size)
                if self._arriving > self._arriving_bytes:
                    raise Retry("too many large bodies are arriving at once", hint="Send again", after=2.0)
                piece, _ = await request.receive()
                pieces.append(piece)
                size += len(piece)
                self._arriving += len(piece)
        finally:
            self._arriving -= size
        if size > self._body_bytes:
            raise self._too_large(size)
        return b"".join(pieces)

    def _too_large(self, size: int) -> TooLarge:
        return TooLarge(f"the body has {size} bytes or more; at most {self._body_bytes} are taken", hint="Send fewer")

    def _refused(self, request: "_Request", error: SondeError) -> Answer:
        answer = answer_problem(error)
        content = answer.content
        if isinstance(error, Conflict) and request.scope["path"] == "/uplink":
            content = problem_json(answer.status, str(error), known_seq=error.known)
        headers = [_PROBLEM, *((k.lower().encode(), v.encode()) for k, v in answer.headers.items())]
        if not request.whole:  # the rest of the body is not worth reading
            headers.append(_CLOSE)
        return answer.status, content, headers

    async def _send(
        self, send: Send, scope: Scope, status: int, content: bytes, headers: list[tuple[bytes, bytes]]
    ) -> None:
        headers.append((b"content-length", b"%d" % len(content)))
        try:
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": content})
        except RuntimeError:  # the client hung up this very moment
            status = _HUNG_UP
        self._count(scope["path"], status)

    def _count(self, path: str, status: int) -> None:
        route = path if path in self._routes else "other"
        counter = self._counters.get((route, status))
        if counter is None:
            counter = self._counters[route, status] = self._metrics.requests.labels(route, str(status))
        counter.inc()


class _Request:
    """One request as it comes in."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self.headers: Headers = dict(scope["headers"])
        self.whole = False
        self._receive = receive

    @property
    def token(self) -> str | None:
        given = self.headers.get(b"authorization")
        if given is None:
            return None
        scheme, _, token = given.decode("latin-1").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""

    @property
    def certificate(self) -> bytes:
        """The digest of the token that the node's certificate names; empty without one."""
        found: bytes = self.scope.get("extensions", {}).get(CERTIFICATE, {}).get("credential", b"")
        return found

    @property
    def address(self) -> str:
        client = self.scope.get("client")
        return client[0] if client else ""

    def announced(self) -> int | None:
        """The length of the body, if a header says it; :class:`Invalid` if that is no length."""
        given = self.headers.get(b"content-length")
        if given is None:
            return None
        if not given.isdigit() or len(given) > 18:
            raise Invalid(Problem(None, "Content-Length", "it is not a number of bytes"), syntax=True)
        return int(given)

    async def receive(self) -> tuple[bytes, bool]:
        """The next piece of the body, and whether more follows."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        more = message.get("more_body", False)
        self.whole = not more
        return message.get("body", b""), more


def _key(given: bytes | None) -> str:
    """The value of ``Idempotency-Key``; one that is there and empty cannot be meant."""
    if given is None:
        return ""
    if not given:
        raise Invalid(Problem(None, "Idempotency-Key", "it is empty; leave it out, or give each request its own"))
    try:
        return given.decode()
    except UnicodeDecodeError:
        raise Invalid(Problem(None, "Idempotency-Key", "it is not UTF-8")) from None
