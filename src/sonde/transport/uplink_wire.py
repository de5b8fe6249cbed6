"""The node's wire over HTTP: the message of ``POST /uplink``, which both ends share, and the node's end of it.

The body is MessagePack, compressed whole into one standard zstd frame (RFC 8878) under the content type
``application/vnd.sonde.uplink`` with ``Content-Encoding: zstd``; the header ``Sonde-Length`` says how many bytes it is
when decompressed. The answer is JSON: ``{"durable_seq": n}``, or ``{"known_seq": n}`` with 409.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, Final

import msgspec
import pyarrow as pa
import urllib3

from sonde.clock import SECOND, Clock, SystemClock
from sonde.errors import Conflict, Hold, Invalid, Problem, Reject, Retry, TooLarge
from sonde.ports import Outgoing, StreamId
from sonde.transport.tls import ClientTls, explain

CONTENT_TYPE: Final = "application/vnd.sonde.uplink"
CONTENT_ENCODING: Final = "zstd"
LENGTH: Final = "Sonde-Length"
SENT: Final = "Sonde-Sent"
"""When the node sent it by its own clock, in microseconds: a sink sees whose clock is wrong."""
MAX_MESSAGE_BYTES: Final = 32 << 20
"""What a message may be at most when decompressed, unless a sink sets less."""


class Message(msgspec.Struct, frozen=True):
    """Consecutive entries of one lane of a node; ``confirmed`` is the seq up to which it holds receipts."""

    epoch: str
    lane: int
    confirmed: int
    entries: list[Outgoing]

    @property
    def stream(self) -> StreamId:
        return StreamId(self.epoch, self.lane)


class Durable(msgspec.Struct, frozen=True):
    """A receipt: the stream is durable up to this seq."""

    durable_seq: int


class Known(msgspec.Struct, frozen=True):
    """With 409: the seq up to which the sink knows the stream."""

    known_seq: int


_ZSTD: Final = pa.Codec("zstd", compression_level=1)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


def pack(stream: StreamId, confirmed: int, entries: Sequence[Outgoing]) -> tuple[bytes, int]:
    """The body of a request, and its length when decompressed."""
    message = _encode(Message(stream.epoch, stream.lane, confirmed, list(entries)))
    return _ZSTD.compress(message, asbytes=True), len(message)


def unpack(body: bytes | memoryview, length: str | int | None, limit: int = MAX_MESSAGE_BYTES) -> Message:
    """What a request says. ``length`` is its header ``Sonde-Length``.

    :class:`TooLarge` above ``limit`` bytes, :class:`Invalid` if it is no message or its entries do not follow each other.
    """
    try:
        size = int(length or "")
    except ValueError:
        raise _invalid(f"the header {LENGTH} should say the length of the message, and says {length!r}") from None
    if size > limit:
        raise TooLarge(f"the message has {size} bytes; the limit is {limit}", hint="Send fewer entries")
    try:
        message = _decode(memoryview(_ZSTD.decompress(body, decompressed_size=size)) if size > 0 else b"")
    except (OSError, pa.ArrowException, ValueError, msgspec.DecodeError) as error:
        raise _invalid(f"not a message of a node ({error})") from None
    _check(message)
    return message


def _check(message: Message) -> None:
    if not message.entries:
        raise _invalid("a message without entries")
    if not 0 < len(message.epoch) <= 32 or message.confirmed < 0:
        raise _invalid("the epoch or the confirmed seq is not one")
    expected = message.entries[0].seq
    for entry in message.entries:
        if entry.seq != expected or entry.seq < 1 or not entry.seq <= entry.until < 1 << 48:
            raise _invalid(f"entry {entry.seq} to {entry.until} stands where {expected} should follow")
        if entry.readings < 0 or entry.count < entry.readings or len(entry.digest) != 16:
            raise _invalid(f"entry {entry.seq} has counts or a digest that cannot be")
        expected = entry.until + 1


def _invalid(what: str) -> Invalid:
    return Invalid(Problem(None, "body", what), syntax=True)


_CHUNK: Final = 64 << 10  # each is sent within the connect timeout, so a slow link is no error
_MAX_ANSWER: Final = 64 << 10
_MAX_RETRY_AFTER: Final = 3600.0
_RETRY: Final = frozenset({408, 429, 502, 503, 504})
_THE_WAY: Final = frozenset({404, 405, 406, 407, 410, 411, 412, 421, 425, 426, 428, 431, 451})


class HttpWire:
    """A :class:`sonde.ports.Wire` to the sink at ``url``.

    ``token`` is the node's credential. Waits ``connect_timeout`` seconds for a connection and for each piece of a request
    to be taken, and ``timeout`` seconds for the answer. ``tls`` is what it trusts and shows where the address is https;
    None: the authorities of the system. :class:`Hold` if the address cannot be one.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        timeout: float = 30.0,
        connect_timeout: float = 10.0,
        tls: ClientTls | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._timeout = timeout
        self._waits = urllib3.Timeout(connect=connect_timeout, read=timeout)
        self._where = url.rstrip("/") + "/uplink"
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": CONTENT_TYPE,
            "Content-Encoding": CONTENT_ENCODING,
            "Accept": "application/json",
        }
        try:
            parts = urllib3.util.parse_url(self._where)
            if parts.scheme not in {"http", "https"} or not parts.host:
                raise urllib3.exceptions.LocationParseError(url)
            self._tls = (tls or ClientTls(clock=self._clock)) if parts.scheme == "https" else None
            self._context = self._tls.context() if self._tls else None
            self._pool = self._made_pool()
        except urllib3.exceptions.HTTPError:
            raise Hold(f"{url!r} is not the address of a sink", hint="Write http://host:port") from None
        self._path = parts.request_uri
        self._changing = threading.Lock()

    def send(self, stream: StreamId, confirmed: int, entries: Sequence[Outgoing]) -> int:
        body, length = pack(stream, confirmed, entries)
        status, headers, answer = self._post(body, length)
        if status == 200:
            try:
                return msgspec.json.decode(answer, type=Durable).durable_seq
            except (msgspec.DecodeError, UnicodeDecodeError):
                raise Hold(f"what answers at {self._where} is not a sink", hint="Is the address right?") from None
        raise self._error(status, headers, answer)

    def close(self) -> None:
        self._pool.close()

    def _made_pool(self) -> urllib3.HTTPConnectionPool:
        options: dict[str, Any] = {"maxsize": 3, "block": False}
        if self._context is not None:
            options |= {
                "ssl_context": self._context,
                "assert_hostname": None if self._context.check_hostname else False,
            }
        return urllib3.connection_from_url(self._where, **options)

    def _current(self) -> urllib3.HTTPConnectionPool:
        """The connections; new ones if what they trust or show has changed."""
        if self._tls is None:
            return self._pool
        with self._changing:
            context = self._tls.context()
            if context is not self._context:
                self._context, old = context, self._pool
                self._pool = self._made_pool()
                old.close()  # those at work end by themselves
            return self._pool

    def _post(self, body: bytes, length: int) -> tuple[int, urllib3.HTTPHeaderDict, bytes]:
        headers = {**self._headers, "Content-Length": str(len(body)), LENGTH: str(length)}
        headers[SENT] = str(self._clock.now())
        try:
            response = self._current().urlopen(
                "POST",
                self._path,
                body=_pieces(body),
                headers=headers,
                retries=False,
                redirect=False,
                timeout=self._waits,
                preload_content=False,
            )
            try:
                answer = self._read(response)
            except BaseException:
                response.close()
                raise
            response.release_conn()
            return response.status, response.headers, answer
        except (urllib3.exceptions.HTTPError, OSError) as error:
            explained = explain(error, self._where, self._clock) if self._tls is not None else None
            raise explained or Retry(f"no answer from {self._where}: {_cause(error)}") from None

    def _read(self, response: urllib3.BaseHTTPResponse) -> bytes:
        """The answer: not longer than it may be, not slower than the timeout as a whole."""
        deadline = time.monotonic() + self._timeout
        answer = b""
        while piece := response.read1(_CHUNK):
            answer += piece
            if len(answer) > _MAX_ANSWER:
                raise urllib3.exceptions.ResponseError("an answer without end")
            if time.monotonic() > deadline:
                raise urllib3.exceptions.TimeoutError("an answer that takes too long")
        return answer

    def _error(self, status: int, headers: urllib3.HTTPHeaderDict, answer: bytes) -> Exception:
        """The error that an answer stands for: what to do about it, not what it is called."""
        said = _detail(answer) or f"{self._where} answered {status}"
        if status in _RETRY:
            return Retry(said, after=self._after(headers.get("Retry-After")))
        if status in {401, 403}:
            return Hold(said, hint="Give the node another token, or the token its rights")
        if status == 413:
            return TooLarge(said)
        if status == 409:
            return Conflict(said, known=_known(answer))
        if 400 <= status < 500 and status not in _THE_WAY:
            return Reject(said)
        return Hold(f"{said} ({status})", hint=f"Is a sink at {self._where}? Everything is kept until it is")

    def _after(self, text: str | None) -> float | None:
        """The seconds of a ``Retry-After``, which is a number or a date."""
        if text is None:
            return None
        try:
            seconds = float(text) if text.strip().isdigit() else self._until(text)
        except (ValueError, TypeError, OverflowError):
            return None
        return min(max(0.0, seconds), _MAX_RETRY_AFTER)

    def _until(self, date: str) -> float:
        return parsedate_to_datetime(date).timestamp() - self._clock.now() / SECOND


def _pieces(body: bytes) -> Iterator[bytes]:
    return (body[start : start + _CHUNK] for start in range(0, len(body), _CHUNK))


def _cause(error: BaseException) -> str:
    """The innermost reason, without the connection objects that urllib3 puts in front of it."""
    text = str(error.args[-1] if error.args and isinstance(error.args[-1], BaseException) else error)
    return text.split(": ", 1)[-1] if text.startswith("<") else text


class _Said(msgspec.Struct):
    title: str = ""
    detail: str = ""


def _detail(answer: bytes) -> str:
    try:
        said = msgspec.json.decode(answer, type=_Said)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return (said.detail or said.title)[:500]


def _known(answer: bytes) -> int | None:
    try:
        return msgspec.json.decode(answer, type=Known).known_seq
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
