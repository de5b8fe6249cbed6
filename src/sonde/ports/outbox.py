"""What a node keeps: its outbox, and its book of commands."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import msgspec

from sonde.clock import Micros


class Outgoing(msgspec.Struct, frozen=True, array_like=True):
    """What waits in an outbox and travels to a sink: one entry of a stream.

    ``kind`` is an :class:`sonde.entry.EntryKind`; ``content`` is a batch (:func:`sonde.reading.encode`) or a payload in
    JSON; ``digest`` is the first 16 bytes of its SHA-256. ``count`` is the number of readings in the stream up to and
    including this one. A tombstone covers ``seq`` to ``until``; for all others ``until == seq``.
    """

    kind: int
    seq: int
    until: int
    readings: int
    count: int
    digest: bytes
    content: bytes


@dataclass(frozen=True, slots=True)
class StreamId:
    """A lane of a node, in one epoch of its outbox. The node's name comes from its credential, not from here."""

    epoch: str
    lane: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """What one lane of an outbox holds."""

    lane: int
    entries: int
    readings: int
    bytes: int
    oldest: Micros | None
    rejected: int


class Outbox(Protocol):
    """Keeps what a node has measured until a sink has it.

    Bounded by bytes: when full, the oldest of the backlog and live lanes make way and a tombstone takes their place;
    the control lane is never dropped. Survives power cuts: what ``put`` returned from is there after one.
    """

    epoch: str

    def put(self, lane: int, kind: int, content: bytes, readings: int) -> int:
        """Commit one entry to a lane; its seq."""
        ...

    def peek(self, lane: int, limit_bytes: int) -> Sequence[Outgoing]:
        """The oldest entries of a lane, at least one if there are any, up to ``limit_bytes``; they stay."""
        ...

    def confirm(self, lane: int, seq: int) -> None:
        """A sink has everything up to ``seq``: delete it."""
        ...

    def reject(self, lane: int, seq: int, reason: str) -> None:
        """Entry ``seq`` will never be taken: keep it as a dead letter, and put a tombstone in its place."""
        ...

    def retry(self) -> int:
        """Put all dead letters back at the end of their lanes; how many."""
        ...

    def waiting(self) -> Sequence[Waiting]:
        """What each lane holds."""
        ...

    def close(self) -> None: ...


class Stage(IntEnum):
    """How far a command has come on its node."""

    DELIVERED = 1  # written down
    RUNNING = 2  # it may have done something
    DONE = 3  # it will not run any more


@dataclass(frozen=True, slots=True)
class Noted:
    """A command in a node's book."""

    id: str
    device: str
    command: str


class CommandBook(Protocol):
    """What a node has written down of the commands that it was given, as durable as its outbox.

    ``book_epoch`` is new whenever something may have been forgotten, such as after damage: what was given to the book under
    another epoch never runs from this one.
    """

    @property
    def book_epoch(self) -> str: ...

    def advance(self, epoch: str, noted: Noted, stage: Stage, step: bytes) -> int | None:
        """In one commit, write down that a command has come to ``stage`` and put ``step`` into the control lane; its seq.
        None, and nothing is changed, if it had come so far before. :class:`Conflict` if ``epoch`` is not this book's any
        more, unless the command is done. :class:`Retry` if the disk is full."""
        ...

    def stage(self, id: str) -> Stage | None:
        """How far a command has come; none if the book does not know it."""
        ...

    def running(self) -> Sequence[Noted]:
        """The commands that began to run and have not come to an end."""
        ...
