"""What the log says of commands, as far as it was read. Used on one event loop, but for what only looks."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from sonde.api.commands.owners import Owners
from sonde.api.commands.tail import News
from sonde.changes import Happened
from sonde.clock import Micros
from sonde.command import Board, Command, State, StepKind
from sonde.entry import Entry, EntryKind
from sonde.errors import Invalid, Throttled
from sonde.metrics import Metrics

OPEN_MOST: Final = 10_000
OPEN_BYTES: Final = 64 << 20  # of parameters
OPEN_A_DEVICE: Final = 100
_RECENT: Final = 500  # commands that are over, kept for whoever asks before the store has them
_STEPS: Final = 20  # of one command: the store has what came before


class Known:
    """The commands that are not over, the devices that were declared, and up to where the log was read.

    ``news`` is told of the node that an entry concerns.
    """

    def __init__(self, metrics: Metrics, news: Callable[[str], None]) -> None:
        self.owners = Owners()
        self.position = -1  # before the log was looked at
        self._board = Board()
        self._sizes: dict[str, int] = {}  # of the parameters of those that are open
        self._bytes = 0
        self._recent: OrderedDict[str, Command] = OrderedDict()
        self._steps: dict[str, deque[Happened]] = {}  # of both
        self._moved = asyncio.Event()
        self._metrics, self._news = metrics, news

    def open(self) -> Iterator[Command]:
        """The commands that are not over."""
        return iter(self._board.open.values())

    def find(self, id_: str) -> Command | None:
        """A command that is not over, or was until a short while ago."""
        return self._board.open.get(id_) or self._recent.get(id_)

    def steps_of(self, id_: str) -> Sequence[Happened]:
        """The newest steps of a command that :meth:`find` knows, as far as they came since this began."""
        return list(self._steps.get(id_, ()))

    def check_room(self, device: str) -> None:
        """:class:`Throttled` if too many commands wait already, for this device or in all."""
        waiting = [c for c in self.open() if c.state != State.UNKNOWN]
        if len(waiting) >= OPEN_MOST or self._bytes >= OPEN_BYTES:
            raise Throttled(f"{len(waiting):,} commands are under way already", hint="Wait for some", after=5.0)
        if sum(c.device == device for c in waiting) >= OPEN_A_DEVICE:
            raise Throttled(f"{OPEN_A_DEVICE} commands wait for {device[:256]!r} already", hint="Wait", after=5.0)

    async def reach(self, offset: int) -> None:
        """Wait until the frame at ``offset`` was read."""
        while self.position <= offset:
            await self._moved.wait()

    def begin(self, board: Board, owners: Owners, offset: int) -> None:
        """Begin from what a store knows at ``offset``."""
        self._board, self.owners, self.position = board, owners, offset
        self._sizes = {id_: _size(command) for id_, command in board.open.items()}
        self._bytes = sum(self._sizes.values())

    def take(self, position: int, news: Sequence[News]) -> None:
        """Go on to ``position``, before which these entries stand."""
        for log_time, entries in news:
            for entry in entries:
                if entry.kind == EntryKind.PROFILE:
                    self.owners.declare(entry.payload, entry.source)
                    self._news(entry.source)
                else:
                    self._fold(entry, log_time)
        self.position = position
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    def _fold(self, entry: Entry, log_time: Micros) -> None:
        try:
            if entry.payload["id"] in self._recent:
                return  # an acceptance that was written twice
            done = self._board.apply(entry, log_time)
        except (Invalid, TypeError, KeyError):  # the processor marks it
            return
        if done is None:
            return
        command, step = done
        if step.step != StepKind.HANDED:
            self._steps.setdefault(command.id, deque(maxlen=_STEPS)).append(Happened.of(step, log_time))
        if command.is_over:
            self._end(command)
        elif command.id not in self._sizes:
            self._sizes[command.id] = _size(command)
            self._bytes += self._sizes[command.id]
        self._metrics.commands_open.set(len(self._board.open))
        self._news(command.node or self.owners.node_of(command.device))

    def _end(self, command: Command) -> None:
        self._bytes -= self._sizes.pop(command.id, 0)
        self._recent[command.id] = command
        if len(self._recent) > _RECENT:
            self._steps.pop(self._recent.popitem(last=False)[0], None)
        self._metrics.commands.labels(command.state).inc()


def _size(command: Command) -> int:
    return len(msgspec.json.encode(command.parameters))
