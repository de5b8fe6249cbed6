"""The live feed, and the WebSockets that it goes out on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sonde.changes import Series
from sonde.clock import Micros
from sonde.fresh import Fresh


class Feed(Protocol):
    """The log as it grows, each thing in it once: what live charts are drawn from.

    ``id`` is the log's. While somebody listens, what is new is told in order, partition by partition. What was told before
    can be read again, and is the same.
    """

    id: str

    def listen(self, tell: Callable[[Sequence[Fresh]], None] | None) -> None:
        """Tell what is new from now on, from a thread of the feed's own; none: tell nobody."""
        ...

    def read(self, partition: int, offset: int, limit_bytes: int) -> Sequence[Fresh]:
        """What was told from ``offset`` on, about so many bytes of frames; at least one. :class:`NotFound` below the first
        offset that is kept, :class:`Retry` when there is nothing to be read yet."""
        ...

    def at(self, partition: int, log_time: Micros) -> int:
        """The offset of the first frame that the sink received at or after a moment."""
        ...

    def ends(self) -> Mapping[int, tuple[int, int]]:
        """For each partition, the first offset that is kept and the next one that the log will give out."""
        ...

    def series(self, number: int) -> Series:
        """The series that has a number in :class:`sonde.fresh.Fresh`."""
        ...


class Line(Protocol):
    """A client's WebSocket. Used on the server's loop only. ``has_room`` says whether the client takes what it is sent, so that
    more may be sent."""

    has_room: bool

    def send(self, frames: bytes) -> None:
        """Send whole frames (:func:`sonde.webframe.text_frame`), unless the client has gone."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Say goodbye, with a code of RFC 6455."""
        ...


class Guest(Protocol):
    """A client that may watch the live feed; ``subprotocol`` is the one that was chosen. Called on the server's loop."""

    subprotocol: str | None

    def opened(self, line: Line) -> None: ...

    def received(self, text: str) -> None:
        """A message came, whole."""
        ...

    def drained(self) -> None:
        """The line has room again."""
        ...

    def stopping(self) -> None:
        """The server stops: the last moment to say something."""
        ...

    def closed(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Knock:
    """A request to become a WebSocket. Names of ``headers`` are in lower case; ``certificate`` is the digest of the token
    that the caller's certificate names, empty without one."""

    path: str
    headers: Mapping[str, str]
    subprotocols: Sequence[str]
    address: str
    server: str  # the address that it came to
    certificate: bytes = b""


class Live(Protocol):
    """The live feed, as a transport sees it."""

    def admit(self, knock: Knock) -> Guest:
        """Let a client in before its connection becomes a WebSocket. :class:`Unauthenticated`, :class:`Forbidden`,
        :class:`NotFound` for another path, :class:`Retry` when there are too many."""
        ...
