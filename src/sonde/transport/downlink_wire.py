"""A node's downlink over HTTP: ``POST /downlink``, which the server answers when there is something to do.

One connection is kept, with one request at a time on it. It costs a node no more memory than it has anyway, passes every proxy
that ``POST /uplink`` passes, and needs no port at the edge.
"""

import contextlib
import http.client
import socket
import threading
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from sonde.clock import Clock, SystemClock
from sonde.command import Poll, Tasks
from sonde.errors import Hold, Retry, SondeError
from sonde.transport.tls import ClientTls, explain

_END_SECONDS: Final = 1.0  # for a poll to notice that it was ended
_MOST_BYTES: Final = 32 << 20
_REFUSED: Final = frozenset({401, 403, 404, 405, 421, 426})


class _Said(msgspec.Struct):
    title: str = ""
    detail: str = ""


class HttpDownlink:
    """A :class:`sonde.ports.Downlink` to the server at ``url``, with the node's ``token``.

    An answer may take ``patience`` seconds longer than it was asked to wait. ``tls`` is what it trusts and shows where the
    address is https. :class:`Hold` if the address cannot be one.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        patience: float = 10.0,
        tls: ClientTls | None = None,
        clock: Clock | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise Hold(f"{url!r} is not the address of a server", hint="Write http://host:port")
        self._where = url.rstrip("/") + "/downlink"
        self._host, self._port, self._path = parts.hostname, parts.port, parts.path.rstrip("/") + "/downlink"
        self._clock = clock or SystemClock()
        self._tls = (tls or ClientTls(clock=self._clock)) if parts.scheme == "https" else None
        self._patience = patience
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Accept": "application/json",
        }
        self._connection: http.client.HTTPConnection | None = None
        self._asking = threading.Lock()
        self._closed = False

    def poll(self, poll: Poll, wait: float) -> Tasks:
        with self._asking:
            return self._poll(poll, wait)

    def close(self) -> None:
        self._closed = True
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError, ValueError):  # it has ended already
                connection.sock.shutdown(socket.SHUT_RDWR)
        if self._asking.acquire(timeout=_END_SECONDS):
            self._drop()
            self._asking.release()

    def _poll(self, poll: Poll, wait: float) -> Tasks:
        body = msgspec.json.encode({**msgspec.structs.asdict(poll), "wait": wait})
        fresh = self._connection is None
        try:
            status, content = self._ask(body, wait)
        except (OSError, http.client.HTTPException) as error:
            self._drop()
            if fresh or isinstance(error, TimeoutError):
                raise self._away(error) from None
            try:  # a connection that was kept may have ended meanwhile
                status, content = self._ask(body, wait)
            except (OSError, http.client.HTTPException) as again:
                self._drop()
                raise self._away(again) from None
        if status != 200:
            raise self._refusal(status, content)
        try:
            return msgspec.json.decode(content, type=Tasks)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Hold(f"what answers at {self._where} is no server of Sonde", hint="Is the address right?") from None

    def _ask(self, body: bytes, wait: float) -> tuple[int, bytes]:
        if self._closed:
            raise ConnectionError("closed")
        connection = self._connection or self._connect()
        self._connection = connection
        if connection.sock is not None:
            connection.sock.settimeout(wait + self._patience)
        connection.timeout = wait + self._patience
        connection.request("POST", self._path, body, self._headers)
        answer = connection.getresponse()
        content: bytes = answer.read(_MOST_BYTES)
        if answer.length:
            raise http.client.IncompleteRead(content[:0], answer.length)
        if answer.will_close:
            self._drop()
        return answer.status, content

    def _connect(self) -> http.client.HTTPConnection:
        options: dict[str, Any] = {"timeout": self._patience}
        if self._tls is None:
            return http.client.HTTPConnection(self._host, self._port, **options)
        return http.client.HTTPSConnection(self._host, self._port, context=self._tls.context(), **options)

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _away(self, error: Exception) -> SondeError:
        explained = explain(error, self._where, self._clock) if self._tls is not None else None
        return explained or Retry(f"no answer from {self._where}: {error or type(error).__name__}")

    def _refusal(self, status: int, content: bytes) -> Hold | Retry:
        try:
            said = msgspec.json.decode(content, type=_Said)
            why = said.detail or said.title
        except (msgspec.DecodeError, UnicodeDecodeError):
            why = ""
        why = why[:500] or f"{self._where} answered {status}"
        if status in _REFUSED:
            return Hold(why, hint="Give the node another token, or the server another address")
        return Retry(why)
