"""Following the live feed: across lost connections and restarts of the server, each reading once."""

import random
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from sonde.client.events import Event, Gap, Message, read
from sonde.client.server import Server
from sonde.errors import Retry
from sonde.message import PROTOCOL, Subscribe
from sonde.problem import error_of
from sonde.reading import Reading

_QUIET_SECONDS: Final = 30.0  # the server says something every five
_MESSAGE_BYTES: Final = 64 << 20
_FIRST_WAIT: Final = 0.2
_LAST_WAIT: Final = 3.0
_GAPS: Final = 1000


class Follow:
    """What comes, as it comes. Iterate over it for readings, over :meth:`events` for everything; in one thread.

    A connection that is lost is made again, with the cursor: nothing is missed, nothing comes twice. ``cursor`` is the
    place behind the last message whose readings were all given out; keep it to go on there another time. ``gaps`` are the
    newest of what could not be given. It ends with :meth:`close`, or with the error that no new attempt can mend.
    """

    def __init__(self, server: Server, wanted: Subscribe, trouble: Callable[[str], None] | None = None) -> None:
        self._server = server
        self._trouble = trouble or (lambda problem: None)
        self._wanted = wanted
        self._closed = threading.Event()
        self._socket: ClientConnection | None = None
        self._asked = 0
        self.cursor = wanted.cursor or ""
        self.gaps: deque[Gap] = deque(maxlen=_GAPS)

    def __iter__(self) -> Iterator[Reading]:
        return (event for event in self.events() if isinstance(event, Reading))

    def events(self) -> Iterator[Event]:
        """Readings, gaps, corrections, alerts and what devices say, in the order in which they come."""
        wait = _FIRST_WAIT
        while not self._closed.is_set():
            try:
                with self._open() as self._socket:
                    if self._closed.is_set():  # while it was opened
                        return
                    self._subscribe(self._socket, self.cursor)
                    for event in self._listen(self._socket):
                        wait = _FIRST_WAIT
                        yield event
            except InvalidStatus as error:
                answer = error.response
                refused = error_of(answer.status_code, bytes(answer.body or b""), answer.headers.get("Retry-After"))
                if not isinstance(refused, Retry):
                    raise refused from None
                wait = max(wait, refused.after or 0.0)
                self._trouble(str(refused))
            except (OSError, ConnectionClosed, InvalidHandshake, EOFError) as error:
                if not self._closed.is_set():
                    self._trouble(f"{self._server.url} does not answer ({error})")
            self._closed.wait(wait * random.uniform(0.5, 1.0))  # noqa: S311  # no secret
            wait = min(2 * wait, _LAST_WAIT)

    def close(self) -> None:
        """End it, from any thread."""
        self._closed.set()
        if self._socket is not None:
            self._socket.close()

    def _open(self) -> ClientConnection:
        url = self._server.url
        secure: dict[str, Any] = {}
        if self._server.tls is not None:
            secure["ssl"] = self._server.tls
        socket: ClientConnection = connect(
            f"ws{url.removeprefix('http')}/ws",
            additional_headers=self._server.headers,
            subprotocols=[Subprotocol(PROTOCOL)],
            compression=None,
            max_size=_MESSAGE_BYTES,
            **secure,
        )
        return socket

    def _subscribe(self, socket: ClientConnection, cursor: str) -> None:
        self._asked += 1
        wanted = msgspec.structs.replace(self._wanted, request_id=self._asked)
        if cursor:
            wanted = msgspec.structs.replace(wanted, cursor=cursor, since=None)
        socket.send(msgspec.json.encode(wanted).decode())

    def _listen(self, socket: ClientConnection) -> Iterator[Event]:
        heard = False  # whether what was asked last was answered: before, messages are of what was asked earlier
        while True:
            try:
                message, events = read(socket.recv(timeout=_QUIET_SECONDS))
            except TimeoutError:
                return
            if message.type == "error" and message.request_id == self._asked:
                raise error_of(message.status, msgspec.json.encode({"detail": message.message}))
            if message.type == "subscribed":
                heard = message.request_id == self._asked
            if not heard or message.type in {"welcome", "pong", "error"}:
                continue
            if self._has_to_go_back(message, events):
                self._subscribe(socket, self.cursor)
                heard = False
                continue
            yield from events
            self.cursor = message.cursor or self.cursor

    def _has_to_go_back(self, message: Message, events: Any) -> bool:
        """Whether we were too slow, and what we missed is still in the log: then it is asked for again."""
        if message.type != "gap":
            return False
        (gap,) = events
        if gap.reason == "slow" and gap.first != gap.until:
            self.cursor = gap.first
            return True
        self.gaps.append(gap)
        return False
