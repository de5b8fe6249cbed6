"""Takes commands in and hands them to the nodes whose devices they are for.

What it knows, it knows from the log: it follows every entry, those that it writes itself too. So of two that hand out or
cancel the same command, the first in the log wins, whether they are two requests or two servers. Before a command leaves,
the log says to which epoch of which node it goes; it never goes to another.
"""

import asyncio
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Final

import structlog

from sonde.access import may_write
from sonde.api.commands import stored
from sonde.api.commands.known import Known
from sonde.api.commands.link import Link, Links
from sonde.api.commands.order import Order
from sonde.api.commands.overdue import overdue
from sonde.api.commands.owners import Owned, Owners
from sonde.api.commands.steps import entry_of, step, task_of
from sonde.api.commands.tail import News, Tail
from sonde.audit import act
from sonde.changes import Happened
from sonde.clock import Clock, Micros
from sonde.command import Board, Command, Poll, State, Step, StepKind, Task, Tasks, begin
from sonde.errors import Conflict, Forbidden, Invalid, NotFound, Problem, Retry, SondeError
from sonde.frame import Opener
from sonde.metrics import Metrics
from sonde.ports import AuditTrail, Credential, Journal, Log, Store
from sonde.template import checked

_AT_ONCE: Final = 100  # commands in one answer
_TICK_SECONDS: Final = 0.5
_TAIL_SECONDS: Final = 5.0
_EPOCH: Final = 64
_log = structlog.get_logger()


class Dispatcher:
    """A :class:`sonde.ports.Dispatch`. Used on one event loop, but for :meth:`start`, :meth:`stop` and what only looks."""

    def __init__(
        self,
        log: Log,
        opener: Opener,
        store: Callable[[], Store],
        journal: Journal,
        audit: AuditTrail,
        *,
        clock: Clock,
        metrics: Metrics,
        partition: int = 0,
    ) -> None:
        self._log_id, self._store, self._journal, self._audit = log.id, store, journal, audit
        self._clock, self._metrics, self._partition = clock, metrics, partition
        self._tail = Tail(log, opener, partition, begin=self._load, tell=self._heard, clock=clock)
        self._links = Links(metrics)
        self._known = Known(metrics, self._links.wake)
        self._handing: set[str] = set()
        self._keys: dict[str, asyncio.Lock] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ticking: asyncio.Task[None] | None = None
        self._stopped = False

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Follow the log. ``loop`` is where everything else is called."""
        self._loop = loop
        self._tail.start()

    def stop(self, timeout: float) -> None:
        """Take no more commands, and let the nodes that wait go."""
        self._stopped = True
        if self._loop is not None and self._loop.is_running():
            self._loop.call_soon_threadsafe(self._end)
        self._tail.stop(timeout)

    # -- what only looks, from any thread

    @property
    def problem(self) -> str:
        """What keeps commands from going anywhere, if anything does."""
        return f"commands wait: {self._tail.problem}" if self._tail.problem else ""

    def find(self, id_: str) -> Command | None:
        """A command that is not over, or was until a short while ago, as the log has it now."""
        return self._known.find(id_)

    def steps_of(self, id_: str) -> Sequence[Happened]:
        """The newest steps of a command that :meth:`find` knows, as far as they came since this server began."""
        return self._known.steps_of(id_)

    def is_online(self, device: str) -> bool:
        """Whether the node that has a device waits for commands here."""
        return self._links.is_online(self.node_of(device), self._now())

    def node_of(self, device: str) -> str:
        """The node that has a device; empty if none ever declared it."""
        return self._known.owners.node_of(device)

    def only_device_with(self, command: str) -> str:
        """The one device that understands a command; :class:`NotFound` if there is none, :class:`Invalid` if there are
        several."""
        found = self._known.owners.devices_with(command)
        if not found:
            raise NotFound(f"no device declares a command {command[:64]!r}", hint="GET /command-templates lists all")
        if len(found) > 1:
            raise Invalid(Problem(None, "device", f"{len(found)} devices have {command[:64]!r}; name one of them"))
        return found[0]

    # -- what callers ask

    async def accept(self, who: Credential, order: Order, address: str = "") -> Command:
        """Give a command: it is in the log when this returns. With ``dry_run`` it is only checked.

        :class:`Forbidden` if the caller may not command the device, :class:`NotFound` if nobody declared such a command,
        :class:`Invalid` with a problem for each wrong parameter, :class:`Conflict` if its key gave another command,
        :class:`sonde.errors.Throttled` if too many wait already, :class:`Retry`.
        """
        template = self._owned(who, order).profile.commands[order.command]
        now = self._clock.now()
        asked = Step(
            id=order.id_for(who.name),
            step=StepKind.ACCEPTED,
            device=order.device,
            command=order.command,
            time=now,
            parameters=checked(template, order.parameters),
            who=who.name,
            expires=now + order.lasts(),
        )
        if order.dry_run:
            return begin(asked, now)
        if order.idempotency_key is None:
            return await self._accept(asked, address)
        lock = self._keys.setdefault(asked.id, asyncio.Lock())
        try:
            async with lock:
                return await self._same(asked) or await self._accept(asked, address)
        finally:
            if not lock.locked():
                self._keys.pop(asked.id, None)

    async def cancel(self, who: Credential, id_: str, address: str = "") -> Command:
        """Take a command back that no node has been handed. :class:`NotFound`, :class:`Forbidden`, :class:`Conflict` if it is
        too late."""
        command = await self.known(id_)
        if command is None:
            raise NotFound(f"there is no command {id_[:64]!r}", hint="GET /commands lists all")
        _check_device(who, command.device)
        if command.state == State.QUEUED:
            now = self._clock.now()
            await self._note(now, who.name, "command.cancel", command.device, address, id=id_)
            await self._record([step(command, StepKind.CANCELLED, now, message=f"cancelled by {who.name}")])
            command = self.find(id_) or command
        if command.state != State.CANCELLED:
            raise Conflict(
                f"it is too late: the command {_in_words(command)}", hint="Only a queued one can be cancelled"
            )
        return command

    async def known(self, id_: str) -> Command | None:
        """A command, old ones too."""
        return self.find(id_) or await asyncio.to_thread(lambda: stored.find(self._store(), id_))

    # -- what nodes ask

    async def poll(self, who: Credential, poll: Poll, wait: float) -> Tasks:
        """See :meth:`sonde.ports.Dispatch.poll`."""
        if not who.node:
            raise Forbidden(
                "this token belongs to no node",
                hint="Make one that does: sonde token create NAME --scope ingest --node NODE",
            )
        if not (0 < len(poll.epoch) <= _EPOCH and 0 < len(poll.session) <= _EPOCH and poll.seen >= 0):
            raise Invalid(
                Problem(None, "epoch", "epoch and session should have 1 to 64 characters, and seen count from 0")
            )
        link, turn = self._links.enter(who.node, poll)
        try:
            return await self._wait_for_tasks(who, poll.epoch, link, turn, wait)
        finally:
            self._links.leave(link, self._now())

    async def _wait_for_tasks(self, who: Credential, epoch: str, link: Link, turn: int, wait: float) -> Tasks:
        deadline = self._now() + wait
        while True:
            link.news.clear()
            if self._stopped or link.turn != turn:
                return Tasks(link.number, self._log_id, [])
            tasks = self._tasks(who.node, epoch, link)
            if tasks:
                return Tasks(link.send([task.id for task in tasks]), self._log_id, tasks)
            if self._links.is_newest(who.node, link) and await self._hand_out(who, epoch):
                continue
            left = deadline - self._now()
            if left <= 0:
                return Tasks(link.number, self._log_id, [])
            try:
                async with asyncio.timeout(left):
                    await link.news.wait()
            except TimeoutError:
                continue

    def _tasks(self, node: str, epoch: str, link: Link) -> list[Task]:
        """What this epoch of the node was handed and has not got in its present session."""
        now = self._clock.now()
        mine = (c for c in self._known.open() if c.node == node and c.epoch == epoch and not link.has(c.id))
        return [task_of(command, now) for command in islice(mine, _AT_ONCE)]

    async def _hand_out(self, who: Credential, epoch: str) -> bool:
        """Write down that what waits for this node, and that its credential covers, goes to this epoch of it; whether there
        was anything."""
        now = self._clock.now()
        waits = (
            command
            for command in self._known.open()
            if command.state == State.QUEUED
            and command.id not in self._handing
            and now < command.expires_at
            and self.node_of(command.device) == who.node
            and may_write(who, command.device)
        )
        waiting = list(islice(waits, _AT_ONCE))
        ids = {command.id for command in waiting}
        self._handing |= ids
        try:
            await self._record([step(c, StepKind.HANDED, now, node=who.node, epoch=epoch) for c in waiting])
        finally:
            self._handing -= ids
        return bool(waiting)

    # -- the log

    async def _accept(self, asked: Step, address: str) -> Command:
        self._known.check_room(asked.device)
        await self._note(
            asked.time, asked.who, "command.send", asked.device, address, command=asked.command, id=asked.id
        )
        await self._record([asked])
        self._metrics.commands.labels(StepKind.ACCEPTED).inc()
        return self.find(asked.id) or begin(asked, asked.time)

    async def _same(self, asked: Step) -> Command | None:
        """The command that the same key gave before; :class:`Conflict` if it was another one."""
        known = await self.known(asked.id)
        if known is not None and not known.asks_for(begin(asked, asked.time)):
            raise Conflict(
                f"this idempotency key gave the command {known.command!r} to {known.device!r}",
                hint="Use another key for another command",
            )
        return known

    async def _note(self, now: Micros, who: str, what: str, on: str, address: str, **detail: str) -> None:
        await asyncio.to_thread(self._audit.write, act(now, who, what, on, address, **detail))

    async def _record(self, steps: Sequence[Step]) -> None:
        """Put steps into the log, and wait until they were read from there."""
        if not steps:
            return
        if self._stopped:
            raise Retry("the server is shutting down", hint="Send it again", after=1.0)
        offsets = await self._journal.record([entry_of(said) for said in steps], self._partition)
        try:
            async with asyncio.timeout(_TAIL_SECONDS):
                await self._known.reach(offsets.get(self._partition, -1))
        except TimeoutError:
            _log.warning("commands_behind", offset=offsets.get(self._partition), position=self._known.position)

    def _load(self) -> int:
        """In the tail's thread: begin from what the store knows; the offset up to which it does."""
        board, owners, offset = stored.beginning(self._store(), self._log_id, self._partition)
        self._call(self._begin, board, owners, offset)
        return offset

    def _heard(self, position: int, news: Sequence[News]) -> None:
        """In the tail's thread."""
        self._call(self._known.take, position, news)

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the server has ended
            return

    def _begin(self, board: Board, owners: Owners, offset: int) -> None:
        self._known.begin(board, owners, offset)
        if self._ticking is None:
            self._ticking = asyncio.get_running_loop().create_task(self._tick())
        self._links.wake_all()

    async def _tick(self) -> None:
        while not self._stopped:
            try:
                due = overdue(self._known, self._links, self._clock.now(), self._now())
                await self._record([said for said in due if said.id not in self._handing])
                self._links.tidy(self._now(), {command.id for command in self._known.open()})
            except SondeError as error:
                _log.info("commands_tick_waits", reason=str(error))
            except Exception:  # a bug must not stop the time of all commands
                _log.exception("commands_tick_failed")
            await asyncio.sleep(_TICK_SECONDS)

    # -- inside

    def _owned(self, who: Credential, order: Order) -> Owned:
        _check_device(who, order.device)
        if self._known.position < 0:
            raise Retry("commands cannot be taken yet: what devices there are is still being read", after=1.0)
        owned = self._known.owners.of(order.device)
        if owned is None:
            raise NotFound(f"no device {order.device[:256]!r} declares commands", hint="GET /devices lists all devices")
        if order.command not in owned.profile.commands:
            known = ", ".join(sorted(owned.profile.commands)[:20]) or "none"
            raise NotFound(
                f"the device {order.device[:256]!r} has no command {order.command[:256]!r}", hint=f"It has: {known}"
            )
        return owned

    def _end(self) -> None:
        self._links.wake_all()
        if self._ticking is not None:
            self._ticking.cancel()

    def _now(self) -> float:
        assert self._loop is not None
        return self._loop.time()


def _check_device(who: Credential, device: str) -> None:
    if not may_write(who, device):
        raise Forbidden(
            f"the token {who.name!r} may not command the device {device[:256]!r}",
            hint=f"It may command {', '.join(who.devices)}",
        )


def _in_words(command: Command) -> str:
    if command.state == State.HANDED:
        return f"is on its way to the node {command.node}"
    return f"has {command.state}" if command.state in {State.SUCCEEDED, State.FAILED} else f"is {command.state}"
