"""A place in a partition from which somebody reads: the frames from an offset on, as they come."""

import threading
from bisect import bisect_left
from collections.abc import Sequence
from operator import attrgetter

from sonde.errors import SondeError
from sonde.ports import Record

_offset = attrgetter("offset")


class Place:
    """What was fetched of one partition, in one piece: everything from ``start`` up to ``end`` is here, though offsets may
    be missing in between. What was read stays for a while, for others who come a little later. The lock of its owner, who
    fetches, guards it; ``came`` tells that something has."""

    def __init__(
        self, partition: int, offset: int, now: float, lock: threading.Lock, owner: threading.Condition
    ) -> None:
        self.partition = partition
        self.owner = owner
        self.came = threading.Condition(lock)
        self.waiting = 0  # readers
        self._begin(offset, now)

    def move(self, offset: int, now: float) -> None:
        """Begin anew elsewhere. Whoever waits here has to look again."""
        self._begin(offset, now)
        self.came.notify_all()

    def _begin(self, offset: int, now: float) -> None:
        self.start = self.end = self.read_to = offset
        self.records: list[Record] = []
        self.bytes = 0
        self.unread_bytes = 0
        self.used = now
        self.moving = True
        self.at_end = False
        self.failure: SondeError | None = None

    def has(self, offset: int) -> bool:
        """Whether reading on from ``offset`` fits what is here, or what comes next."""
        return self.failure is None and self.start <= offset <= self.end

    def add(self, record: Record) -> None:
        self.records.append(record)
        self.end = record.offset + 1
        self.bytes += len(record.frame)
        self.unread_bytes += len(record.frame)
        self.at_end = False

    def cut(self, first: int) -> None:
        """What is below an offset is no longer in the log."""
        self.start = max(self.start, min(first, self.end))

    def reach(self, end: int) -> None:
        """There is nothing more up to ``end``, where the partition ends for now."""
        self.end = max(self.end, end)
        self.at_end = True

    def take(self, offset: int, limit_bytes: int, now: float) -> Sequence[Record]:
        """The frames from ``offset`` on that are here, up to so many bytes but at least one."""
        self.used = now
        first = last = bisect_left(self.records, offset, key=_offset)
        size = 0
        while last < len(self.records):
            size += len(self.records[last].frame)
            if last > first and size > limit_bytes:
                break
            last += 1
        found = self.records[first:last]
        if found:
            for record in found:
                if record.offset >= self.read_to:
                    self.unread_bytes -= len(record.frame)
            self.read_to = max(self.read_to, found[-1].offset + 1)
        return found

    def trim(self, keep_bytes: int) -> None:
        """Let go of what was read, oldest first, until no more than so many bytes are here."""
        gone = 0
        while gone < len(self.records) and self.bytes > keep_bytes and self.records[gone].offset < self.read_to:
            self.bytes -= len(self.records[gone].frame)
            gone += 1
        if gone:
            self.start = self.records[gone - 1].offset + 1
            del self.records[:gone]
