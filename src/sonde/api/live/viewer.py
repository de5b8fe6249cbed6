"""One client on its WebSocket: what it says, and its subscriptions."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final

import structlog

from sonde.api.live import writer
from sonde.api.live.feed import LiveFeed
from sonde.api.live.place import Place
from sonde.api.live.room import Room
from sonde.api.live.subscription import Subscription
from sonde.api.live.wanted import PLAIN, Wanted
from sonde.clock import Micros
from sonde.cursor import Cursor
from sonde.errors import Conflict, Invalid, NotFound, Problem, Reject, SondeError
from sonde.message import PROTOCOL, Command, Ping, Subscribe, Unsubscribe, read_message, request_id_of
from sonde.moment import moment_of
from sonde.ports import Credential, Line
from sonde.problem import answer_problem

_log = structlog.get_logger()
_SUBSCRIPTIONS: Final = 64
_AT_ONCE: Final = 16  # requests of one client that take time
RunCommand = Callable[["Viewer", Command], Awaitable[Mapping[str, Any]]]


class Viewer:
    """A :class:`sonde.ports.Guest`. ``check`` looks again at who it is, and raises if it may not watch any more."""

    def __init__(
        self,
        feed: LiveFeed,
        subprotocol: str | None,
        check: Callable[[], Credential],
        address: str,
        *,
        run_command: RunCommand,
        left: Callable[["Viewer"], None],
    ) -> None:
        self.subprotocol = subprotocol
        self.check = check
        self.address = address
        self._feed = feed
        self._run_command = run_command
        self._left = left
        self._came = feed.place()
        self._plain = subprotocol != PROTOCOL
        self._subscriptions: dict[str, Subscription] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._line: Line | None = None
        self._room: Room | None = None

    def opened(self, line: Line) -> None:
        """See :meth:`sonde.ports.Guest.opened`."""
        self._line, self._room = line, Room(line)
        if self._plain:
            self._begin(PLAIN, self._came, resumed=False)
        else:
            self.say("welcome", protocol=PROTOCOL, cursor=str(self._came))

    def received(self, text: str) -> None:
        """See :meth:`sonde.ports.Guest.received`."""
        try:
            self._obey(text)
        except SondeError as error:
            self.complain(error, request_id_of(text))

    def drained(self) -> None:
        """See :meth:`sonde.ports.Guest.drained`."""
        if self._room is not None:
            self._room.drained()

    def stopping(self) -> None:
        """See :meth:`sonde.ports.Guest.stopping`."""
        if not self._plain:
            for name, subscription in self._subscriptions.items():
                self.say("cursor", subscription=name, cursor=str(self._feed.where(subscription)))

    def closed(self) -> None:
        """See :meth:`sonde.ports.Guest.closed`."""
        for subscription in self._subscriptions.values():
            self._feed.unsubscribe(subscription)
        self._subscriptions.clear()
        for task in self._tasks:
            task.cancel()
        self._left(self)

    def close(self, code: int, reason: str) -> None:
        """Send it away."""
        if self._line is not None:
            self._line.close(code, reason)

    def say(self, type_: str, **members: Any) -> None:
        """Send one message."""
        if self._room is not None:
            there = {name: value for name, value in members.items() if value is not None}
            self._room.line.send(writer.message(type_, **there))

    def complain(self, error: SondeError, request_id: Any = None) -> None:
        """Send an error, with what caused it."""
        field = error.problem.field or None if isinstance(error, Invalid) else None
        status = answer_problem(error).status
        self.say("error", status=status, message=str(error), field=field, request_id=request_id)

    def _obey(self, text: str) -> None:
        message = read_message(text)
        if isinstance(message, Ping):
            self.say("pong", request_id=message.request_id)
        elif isinstance(message, Command):
            self._start_command(message)
        elif self._plain:
            raise Conflict(f"a client has to ask for the subprotocol {PROTOCOL} to subscribe")
        elif isinstance(message, Subscribe):
            self._subscribe(message)
        else:
            self._unsubscribe(message)

    def _subscribe(self, message: Subscribe) -> None:
        if message.id not in self._subscriptions and len(self._subscriptions) >= _SUBSCRIPTIONS:
            raise Conflict(f"this client has {_SUBSCRIPTIONS} subscriptions already", hint="Unsubscribe from one")
        if message.since is not None:
            if message.cursor is not None:
                raise Invalid(Problem(None, "since", "give either a cursor or a moment"))
            self._start(self._subscribe_since(message, moment_of(message.since, self._feed.clock)), message.request_id)
            return
        place, resumed = self._from(message.cursor)
        self._begin_as(message, place, resumed=resumed)

    async def _subscribe_since(self, message: Subscribe, moment: Micros) -> None:
        place = await self._feed.place_at(moment)
        self._begin_as(message, place, resumed=True)

    def _begin_as(self, message: Subscribe, place: Place, *, resumed: bool) -> None:
        self._stop(message.id)
        self.say("subscribed", subscription=message.id, cursor=str(place), request_id=message.request_id)
        self._begin(Wanted.of(message), place, resumed=resumed)

    def _unsubscribe(self, message: Unsubscribe) -> None:
        if message.id not in self._subscriptions:
            raise NotFound(f"there is no subscription {message.id!r}")
        where = self._feed.where(self._subscriptions[message.id])
        self._stop(message.id)
        self.say("unsubscribed", subscription=message.id, cursor=str(where), request_id=message.request_id)

    def _from(self, cursor: str | None) -> tuple[Place, bool]:
        """Where to begin, and whether that is not now."""
        now = self._feed.place()
        if cursor is None:
            return now, False
        asked = Cursor.parse(cursor)
        if asked.log != now.log:
            raise Conflict(
                "this cursor is of another log", hint="Take one from a new answer; what lies between is lost"
            )
        if any(now.offsets.get(partition, -1) < offset for partition, offset in asked.offsets.items()):
            raise Invalid(Problem(None, "cursor", "it is ahead of the log; take one from a new answer"))
        return Place(now.log, {**dict.fromkeys(now.offsets, 0), **asked.offsets}, asked.within), True

    def _begin(self, wanted: Wanted, place: Place, *, resumed: bool) -> None:
        assert self._room is not None
        subscription = Subscription(wanted, self._room, place, resumed=resumed)
        self._subscriptions[wanted.id] = subscription
        self._feed.subscribe(subscription)

    def _stop(self, name: str) -> None:
        subscription = self._subscriptions.pop(name, None)
        if subscription is not None:
            self._feed.unsubscribe(subscription)

    def _start_command(self, message: Command) -> None:
        self._start(self._command(message), message.request_id)

    def _start(self, work: Coroutine[Any, Any, None], request_id: Any) -> None:
        """Do something that takes time; what goes wrong with it is said."""
        if len(self._tasks) >= _AT_ONCE:
            work.close()
            raise Conflict(f"{_AT_ONCE} requests of this client are under way", hint="Wait for their answers")
        task = asyncio.get_running_loop().create_task(self._do(work, request_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _do(self, work: Coroutine[Any, Any, None], request_id: Any) -> None:
        try:
            await work
        except SondeError as error:
            self.complain(error, request_id)
        except Exception:
            _log.exception("live_request_failed", event_name="live.request_failed")
            self.complain(Reject("something went wrong here that should not; the server's log says what"), request_id)

    async def _command(self, message: Command) -> None:
        answer = await self._run_command(self, message)
        self.say(**{"type_": "accepted", **answer, "request_id": message.request_id})
