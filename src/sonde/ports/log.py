"""The log, and what lies beside it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import msgspec

from sonde.clock import Micros
from sonde.entry import Body, Entry
from sonde.errors import SondeError


@dataclass(frozen=True, slots=True)
class Record:
    """A frame in a log, or what another program wrote there. ``time`` is when the log says that it came; 0: it says nothing."""

    offset: int
    frame: bytes
    time: Micros = 0


ReadEvents = Callable[[bytes, Micros], Body]
"""What another program wrote into the log, and when it came, as a body; :class:`sonde.errors.Reject` if it means nothing."""


class Log(Protocol):
    """The truth: frames in order, partition by partition, from offset 0. One writer.

    ``id`` is drawn when the log is made and never changes. A frame that ``append`` returned from survives a power cut;
    after an error of the disk or broker nothing is promised of that call's frames, and the next call may succeed.
    """

    id: str

    def append(self, partition: int, frames: Sequence[bytes]) -> int:
        """Make ``frames`` durable; the offset of the first. :class:`Retry` if the disk is full or the broker away."""
        ...

    def read(self, partition: int, offset: int, limit_bytes: int, wait: float = 0.0) -> Sequence[Record]:
        """Durable frames from ``offset`` on: at least one if there is one, up to ``limit_bytes``; none after waiting
        ``wait`` seconds at the end. :class:`Damaged` where the log does not hold what was written;
        :class:`NotFound` below the first offset that is kept."""
        ...

    def ends(self) -> Mapping[int, tuple[int, int]]:
        """For each partition, the first offset that is kept and the next one to be given out."""
        ...

    def cut(self, partition: int, below: int) -> None:
        """Frames below an offset are no longer needed; whole segments of them go."""
        ...

    def close(self) -> None: ...


class Journal(Protocol):
    """The way into the log for what is no reading: rules, acknowledgements, commands, purges."""

    async def record(self, entries: Sequence[Entry], partition: int | None = None) -> Mapping[int, int]:
        """Make ``entries`` durable in one partition; in every one if none is named. For each of them, the offset of their
        frame: an answer whose cursor is beyond it knows of them. :class:`Retry`."""
        ...


@runtime_checkable
class AppendsTogether(Protocol):
    """A log may have this too, if partitions that are written at the same moment wait for one another no longer than for
    one of them."""

    def append_together(self, frames: Mapping[int, bytes]) -> Mapping[int, int | SondeError]:
        """Make a frame durable in each of several partitions: its offset, or what :meth:`Log.append` would raise."""
        ...


class DeadLetter(msgspec.Struct, frozen=True):
    """A frame of a log, or what another program wrote there, that could not be read: where it stood, why, when it was
    noticed."""

    partition: int
    offset: int
    reason: str  # poison | damaged
    why: str
    noticed: Micros
    frame: bytes

    @property
    def name(self) -> str:
        """What people call it by: ``PARTITION:OFFSET``."""
        return f"{self.partition}:{self.offset}"


class DeadLetters(Protocol):
    """Keeps what a processor could not read, beside one log, until somebody has mended what was wrong.

    ``put`` comes before the processor passes over; after a crash in between it comes again, and is the same letter: partition
    and offset name it. One that was taken back never comes again under that name.
    """

    def put(self, letter: DeadLetter) -> None:
        """Keep ``letter``, durably. :class:`Retry` if that cannot be now: then nothing may be passed over."""
        ...

    def letters(self, limit: int) -> Sequence[DeadLetter]:
        """The letters that wait, those that were put first come first, each once."""
        ...

    def take_back(self, letter: DeadLetter) -> int:
        """Append its frame to its partition of the log again, then let go of the letter; the offset. After a crash in
        between it can be taken back again: what is read twice is stored once. :class:`Retry`."""
        ...

    def close(self) -> None: ...


class Membership(Protocol):
    """A place among the processors that share the partitions of a log out.

    It only says who should do the work. What protects it is the store, which takes a step from where it stands and from
    nowhere else: for a while two may think that a partition is theirs.
    """

    def partitions(self) -> frozenset[int]:
        """The partitions that are this one's now; maybe none. Called often, at least every few seconds: whoever does not is
        taken for gone, and the others get what it had. :class:`Retry` when nobody can say."""
        ...

    def close(self) -> None:
        """Leave: the others get what this one had."""
        ...
