"""The live feed over a log in memory, on a real socket: what tests of it stand on."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator
from typing import Any, Self

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from sonde.access import Access
from sonde.api.live.entrance import Entrance
from sonde.control.memory import MemoryControl
from sonde.frame import Opener
from sonde.log.memory import MemoryLog
from sonde.metrics import Metrics
from sonde.ports import Credential
from sonde.process.following import Following
from sonde.reading import Reading
from sonde.token import Token
from sonde.transport.http import TelemetryApp
from sonde.transport.serving import Server, serve
from tests.processor_world import QuickClock, World, until

SECONDS = 30.0
ORIGIN = "https://dash.example.org"


class LiveWorld(World):
    """A log, a store, a processor (that steps when it is told to), and a server of the live feed. It may be restarted."""

    def __init__(self, partitions: int = 1, **options: Any) -> None:
        super().__init__(MemoryLog(partitions))
        self._options = options
        self.control = MemoryControl()
        self.tokens = {scope: self.make_token(scope) for scope in ("read", "ingest", "admin")}
        self.port = 0
        self.start()

    def make_token(self, scope: str, **more: Any) -> str:
        token = Token.make()
        self.control.create_token(Credential(scope, scope, frozenset({scope}), **more), token.digest)
        return token.text

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.log.close()  # whoever waits for more of it need not wait any longer
        self.stop()

    def start(self) -> None:
        processors = [self.processor, *self.processors[1:]]
        self.access = Access(self.control, QuickClock(), cache_seconds=0.0)
        self.live_metrics = Metrics()
        self.following = Following(
            self.log,
            self.store.load,
            self.identities,
            Opener(self.ring),
            stored=lambda: {number: processor.position for number, processor in enumerate(processors)},
            clock=QuickClock(),
        )
        self.entrance = Entrance(
            self.following, self.access, self.live_metrics, QuickClock(), origin=ORIGIN, **self._options
        )
        self._end = threading.Event()
        self.server = self._serve()
        self._threads = [
            threading.Thread(target=self.following.run, args=(self._end,)),
            threading.Thread(target=asyncio.run, args=(self.server.run_until_stopped(),)),
        ]
        for thread in self._threads:
            thread.start()
        until(lambda: self.server.started)

    def _serve(self) -> Server:
        server = serve(TelemetryApp(None), "127.0.0.1", self.port, live=self.entrance)  # type: ignore[arg-type]
        self.port = server.port
        return server

    def stop(self) -> None:
        self._end.set()
        self.server.stop()
        for thread in self._threads:
            thread.join(SECONDS)
            assert not thread.is_alive()

    @contextlib.contextmanager
    def plain(self, **options: Any) -> Iterator["Watcher"]:
        """A client that asks for no subprotocol."""
        with self.connect(**options) as socket:
            yield Watcher(socket)

    @contextlib.contextmanager
    def v1(self, **options: Any) -> Iterator["Watcher"]:
        """A client of ``sonde.v1``, welcomed."""
        with self.connect(protocols=["sonde.v1"], **options) as socket:
            watcher = Watcher(socket)
            assert watcher.next("welcome")["protocol"] == "sonde.v1"
            yield watcher

    def connect(
        self,
        scope: str | None = "read",
        *,
        protocols: list[str] | None = None,
        origin: str | None = None,
        path: str = "/ws",
        **options: Any,
    ) -> ClientConnection:
        headers = {"Authorization": f"Bearer {self.tokens[scope]}"} if scope else {}
        headers.update(options.pop("headers", {}))
        socket: ClientConnection = connect(
            f"ws://127.0.0.1:{self.port}{path}",
            additional_headers=headers,
            subprotocols=[Subprotocol(name) for name in protocols] if protocols else None,
            origin=Origin(origin) if origin else None,
            compression=None,
            open_timeout=SECONDS,
            ping_interval=None,
            **options,
        )
        return socket

    @property
    def viewers(self) -> int:
        return self.entrance.viewers

    @property
    def subscriptions(self) -> int:
        return self.entrance.feed._subscriptions

    @property
    def live(self) -> int:
        """How many subscriptions are up to date."""
        return sum(len(group.members) for group in self.entrance.feed._groups)


class Watcher:
    """A client, and what it was told."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.cursor = ""  # of the message that came last
        self._waiting: dict[str, list[dict[str, Any]]] = {}  # readings by subscription, not asked for yet

    def say(self, type_: str = "subscribe", **members: Any) -> None:
        self.socket.send(json.dumps({"type": type_, **members}))

    def subscribe(self, **members: Any) -> dict[str, Any]:
        """Subscribe; the answer."""
        self.say(**members)
        return self.next("subscribed")

    def next(self, *types: str) -> dict[str, Any]:
        """The next message of one of these types; all others are passed over, but for their readings."""
        while True:
            message: dict[str, Any] = json.loads(self.socket.recv(timeout=SECONDS))
            self.cursor = message.get("cursor", self.cursor)
            self._waiting.setdefault(message.get("subscription", ""), []).extend(message.get("readings", ()))
            if message["type"] in types:
                return message

    def readings(self, count: int, of: str = "") -> list[dict[str, Any]]:
        """The next so many readings of a subscription."""
        while len(self._waiting.get(of, ())) < count:
            self.next("data")
        found, self._waiting[of] = self._waiting[of][:count], self._waiting[of][count:]
        return found

    def values(self, count: int, of: str = "") -> list[Any]:
        return [reading["value"] for reading in self.readings(count, of)]

    def no_more(self) -> bool:
        """Whether all readings that came were asked for."""
        return not any(self._waiting.values())

    def closed(self) -> tuple[int, str]:
        """Wait until the server closes; its code and reason."""
        with pytest.raises(ConnectionClosed) as caught:
            self.next("nothing more")
        assert caught.value.rcvd is not None
        return caught.value.rcvd.code, caught.value.rcvd.reason


def one(value: Any, device: str = "d", metric: str = "m", **more: Any) -> Reading:
    return Reading(device=device, metric=metric, time=1_767_225_600_000_000, value=value, **more)
