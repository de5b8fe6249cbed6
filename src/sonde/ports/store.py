"""The store, what it remembers of identities, and who watches it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from sonde.changes import Changes, State, Step
from sonde.clock import Micros
from sonde.question import Answer, Question


class Store(Protocol):
    """Readings, windows, alerts and all else that the log says, to be asked.

    One processor a partition writes, several at the same time from threads of their own; any thread may ask at any time and
    sees a whole number of commits.
    """

    def load(self, partition: int = 0) -> State:
        """What the processor of a partition needs to go on from where this store stands. Of the progress it is all that
        there is, of every partition of every log; of all else what that partition's log has said, with the numbers of
        series that its processor gave. A store of one partition may give everything it has."""
        ...

    def commit(self, changes: Changes) -> None:
        """Make ``changes`` durable, as a whole or not at all. :class:`Conflict` if the progress is not what they expect:
        another processor has taken over. :class:`Retry` if the disk is full or the database away."""
        ...

    def ask(self, question: Question) -> Answer:
        """The answer, from one snapshot. :class:`Invalid` if it cannot be asked so, :class:`Retry` if it took too long."""
        ...

    def maintain(self) -> bool:
        """One piece of housekeeping (seal, merge, checkpoint); whether there may be more. Called from a thread of its
        own; commits go on beside it."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Piece:
    """Sealed history that goes as a whole: ``content`` is readings or windows, times are inclusive."""

    content: str
    rows: int
    bytes: int
    first: Micros
    last: Micros


@dataclass(frozen=True, slots=True)
class Held:
    """What a store holds of the past: its sealed pieces, the widths of its windows in seconds, the floors in force by name
    (:mod:`sonde.removal`); by partition the offset below which no checkpoint needs the log (``safe``; none: no checkpoint
    yet); ``settled`` when nothing that is hidden still takes room; ``growing``, the bytes of readings that cannot go yet and
    count all the same."""

    pieces: Sequence[Piece] = ()
    widths: frozenset[int] = frozenset()
    floors: Mapping[str, Micros] = field(default_factory=dict)
    safe: Mapping[int, int] = field(default_factory=dict)
    settled: bool = True
    growing: int = 0


class Holdings(Protocol):
    """A store, as whoever decides what to let go sees it. What is decided goes through the log, as a floor; the store then
    lets go of it by itself."""

    def held(self) -> Held:
        """What there is, now."""
        ...

    def want_checkpoint(self) -> None:
        """A new checkpoint would let more of the log go: make one soon."""
        ...


class Claim(msgspec.Struct, frozen=True, array_like=True):
    """An identity seen at a place in the log: ``offset`` of the frame and ``position`` in it, with a digest of what it
    stands for (8 bytes). ``key`` is 16 bytes."""

    key: bytes
    offset: int
    position: int
    digest: bytes = b""


class Identities(Protocol):
    """Remembers who was first: identity → its first place in the log.

    It is a function of the log alone, so recording the same place twice changes nothing and a rebuild can use it as it
    is. Durable when ``first`` returns, before the store commits.
    """

    def first(self, partition: int, claims: Sequence[Claim], log_time: Micros) -> Sequence[Claim]:
        """For each claim, the first one ever made on its key: itself, or an earlier one."""
        ...

    def find(self, partition: int, keys: Sequence[bytes]) -> Sequence[Claim | None]:
        """For each key, the first claim on it that is remembered, or none. Changes nothing."""
        ...

    def forget(self, before: Micros, keep: int, partition: int | None = None) -> Micros:
        """Drop what is older than ``before`` and all but the newest ``keep``; the log time from which it remembers. Of one
        partition, whose time it is, if one is named; one that serves a log of one partition may do it to all."""
        ...

    def close(self) -> None: ...


class Onlooker(Protocol):
    """Told of each step of a processor once the store has it; never while a store is made again. What it does not come to
    see because the program ends is in the store all the same."""

    def committed(self, step: Step) -> None:
        """Called on the processor's thread, which waits: be brief, and raise nothing."""
        ...
