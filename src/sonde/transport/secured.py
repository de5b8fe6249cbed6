"""TLS between a connection and the protocol that speaks over it.

The event loop's own would not do: what hangs in a handshake escapes its caller's limits, a certificate cannot be replaced
while it listens, whoever speaks plain HTTP is cut off without a word, and a closed connection is read from until the other
side agrees that it is closed.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias, cast

import structlog

from sonde.certificate import credential_in
from sonde.metrics import Metrics
from sonde.problem import MEDIA_TYPE, problem_json

Stage: TypeAlias = Literal["beginning", "handshake", "open", "turned away", "ended"]

_log = structlog.get_logger()
_PIECE: Final = 256 << 10
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
    """Those under way, at most ``most``, each for at most ``seconds``; and what became of the others that failed."""

    def __init__(self, seconds: float, most: int, metrics: Metrics) -> None:
        self.seconds, self.most = seconds, most
        self.under_way: set[Secured] = set()
        self._metrics = metrics
        self._said: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}

    def overdue(self, now: float) -> None:
        """Close those that have kept us waiting for too long."""
        for connection in list(self.under_way):
            connection.overdue(now)

    def close(self) -> None:
        for connection in list(self.under_way):
            connection.abort()

    def tell(self, reason: str, address: str, problem: str, now: float) -> None:
        """Count it, and say it now and then: anyone can make it happen as often as they like."""
        self._metrics.tls_refused.labels(reason).inc()
        if now - self._said.get(reason, -_SAY_EVERY) < _SAY_EVERY:
            self._unsaid[reason] = self._unsaid.get(reason, 0) + 1
            return
        self._said[reason] = now
        more = {"unsaid": unsaid} if (unsaid := self._unsaid.pop(reason, 0)) else {}
        _log.warning("tls_refused", reason=reason, address=address, problem=problem, **more)


class Secured(asyncio.Protocol):
    """One connection: TLS outside, the protocol that ``make`` gives inside, from the end of the handshake on."""

    def __init__(self, context: ssl.SSLContext, make: Callable[[], asyncio.Protocol], handshakes: Handshakes) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._context, self._make, self._handshakes = context, make, handshakes
        self._loop = asyncio.get_running_loop()
        self._stage: Stage = "beginning"
        self._paused = self._over = False
        self._discarded = 0
        self.inside: asyncio.Protocol | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = cast(asyncio.Transport, transport)
        self._due = self._loop.time() + self._handshakes.seconds
        if len(self._handshakes.under_way) >= self._handshakes.most:
            self._tell("too_many", f"{self._handshakes.most} handshakes are under way")
            self.abort()
            return
        self._handshakes.under_way.add(self)

    def data_received(self, data: bytes) -> None:
        if self._stage == "beginning":
            self._begin(data)
        if self._stage == "turned away":
            self._discarded += len(data)
            if self._discarded > _LINGER_BYTES:
                self.abort()
            return
        if self._stage == "ended":
            return
        self._incoming.write(data)
        if self._stage == "handshake":
            self._shake_hands()
        if self._stage == "open":
            self._read()

    def eof_received(self) -> bool:
        """Whether this side stays: as the protocol inside wants it."""
        if self._stage == "handshake":
            self._tell("handshake", "the other side hung up")
        elif self._stage == "open" and not self._over:
            self._end_inside()
        return self._stage == "open"

    def connection_lost(self, exc: Exception | None) -> None:
        self._handshakes.under_way.discard(self)
        self._stage = "ended"
        if self.inside is not None:
            self.inside.connection_lost(exc)

    def pause_writing(self) -> None:
        if self.inside is not None:
            self.inside.pause_writing()

    def resume_writing(self) -> None:
        if self.inside is not None:
            self.inside.resume_writing()

    def overdue(self, now: float) -> None:
        """Close it if its handshake takes too long."""
        if now >= self._due:
            if self._stage == "handshake":
                self._tell("timeout", "the handshake took too long")
            self.abort()

    # what the protocol inside asks for

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._stage != "open":
            return
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._tls.write(rest) :]
        except ssl.SSLError as error:
            self._fail(error)
        self._flush()

    def close(self) -> None:
        """Say goodbye, send what is left, and wait for nobody."""
        if self._stage == "open":
            self._stage = "ended"
            try:
                self._tls.unwrap()
            except ssl.SSLError:  # the other side's goodbye is not here yet
                self._flush()
        self._raw.close()

    def abort(self) -> None:
        self._stage = "ended"
        self._raw.abort()

    def pause(self) -> None:
        self._paused = True
        self._raw.pause_reading()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            self._raw.resume_reading()
            self._loop.call_soon(self._read)

    def info(self, name: str, default: Any) -> Any:
        ours = {"ssl_object": self._tls, "sslcontext": self._context}
        return ours[name] if name in ours else self._raw.get_extra_info(name, default)

    @property
    def raw(self) -> asyncio.Transport:
        return self._raw

    @property
    def closing(self) -> bool:
        return self._stage == "ended" or self._raw.is_closing()

    @property
    def paused(self) -> bool:
        return self._paused

    def _begin(self, data: bytes) -> None:
        """HTTP begins with a letter, TLS does not."""
        if not data[:1].isalpha():
            self._stage = "handshake"
            return
        self._stage = "turned away"
        self._tell("plain", "plain HTTP was spoken at a port for TLS")
        self._raw.write(_TURNED_AWAY)
        self._raw.write_eof()  # closed when the other side has finished: it might miss the answer else

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLCertVerificationError as error:
            self._refuse("certificate", f"a certificate that is not taken: {error.verify_message}")
            return
        except ssl.SSLError as error:
            self._refuse("handshake", str(error.reason or error))
            return
        self._flush()
        self._handshakes.under_way.discard(self)
        self._stage = "open"
        self.inside = self._make()
        self.inside.connection_made(Inside(self))

    def _refuse(self, reason: str, problem: str) -> None:
        """The alert that tells the other side why is sent first."""
        self._tell(reason, problem)
        self._flush()
        self._stage = "ended"
        self._raw.close()

    def _read(self) -> None:
        pieces: list[bytes] = []
        while self._stage == "open" and not self._paused:
            try:
                pieces.append(self._tls.read(_PIECE))
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:  # goodbye
                self._over = True
                break
            except ssl.SSLError as error:
                self._fail(error)
                break
            if not pieces[-1]:
                self._over = True
                break
        self._flush()
        data = b"".join(pieces)
        if data and self.inside is not None:
            self.inside.data_received(data)
        if self._over:
            self._end_inside()

    def _end_inside(self) -> None:
        self._over = True
        if self.inside is not None and self._stage == "open" and not self.inside.eof_received():
            self.close()

    def _fail(self, error: ssl.SSLError) -> None:
        """Something came that is no TLS, or was changed on its way."""
        self._tell("broken", str(error.reason or error))
        self._flush()
        self.abort()

    def _flush(self) -> None:
        if self._outgoing.pending and not self._raw.is_closing():
            self._raw.write(self._outgoing.read())

    def _tell(self, reason: str, problem: str) -> None:
        address = (self._raw.get_extra_info("peername") or ("",))[0]
        self._handshakes.tell(reason, address, problem, self._loop.time())


class Inside(asyncio.Transport):
    """What the protocol inside has for a transport."""

    def __init__(self, secured: Secured) -> None:
        super().__init__()
        self._secured = secured

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._secured.info(name, default)

    def is_closing(self) -> bool:
        return self._secured.closing

    def close(self) -> None:
        self._secured.close()

    def abort(self) -> None:
        self._secured.abort()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._secured.inside = cast(asyncio.Protocol, protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return cast(asyncio.BaseProtocol, self._secured.inside)

    def is_reading(self) -> bool:
        return not self._secured.paused

    def pause_reading(self) -> None:
        self._secured.pause()

    def resume_reading(self) -> None:
        self._secured.resume()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._secured.write(data)

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return self._secured.raw.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._secured.raw.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._secured.raw.set_write_buffer_limits(high, low)
