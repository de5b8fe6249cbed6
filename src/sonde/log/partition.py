"""A partition of the log: a folder of segments, the last of which grows."""

import threading
import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from sonde.errors import Damaged, NotFound, Retry
from sonde.log.batch import batches, check_frames
from sonde.log.disk import Disk, cannot_write
from sonde.log.layout import SegmentHeader, segment_path, segments_in
from sonde.log.lineage import Lineage
from sonde.log.segment import MAX_FRAMES, SegmentReader
from sonde.log.tail import Tail, recover
from sonde.ports import Record

_READERS: Final = 8  # sealed segments open at a time


class Partition:
    """Appends one at a time, reads from any number of threads."""

    def __init__(
        self, folder: Path, lineage: Lineage, number: int, stored: int, segment_bytes: int, disk: Disk
    ) -> None:
        self._folder = folder
        self._lineage = lineage
        self._number = number
        self._segment_bytes = segment_bytes
        self._disk = disk
        self._writing = threading.Lock()
        self._changed = threading.Condition()  # guards all that follows
        self._closed = False
        self._readers: OrderedDict[int, SegmentReader] = OrderedDict()
        self._tail: Tail | None = None
        self._firsts = [first for first, _ in segments_in(folder)]
        self._next = 0
        self._clean()
        if self._firsts:
            last = self._firsts[-1]
            self._tail = recover(segment_path(folder, last), self._header(last), stored, disk)
            self._next = self._tail.next
        if stored > self._next:
            self.close()
            file = segment_path(folder, self._firsts[-1] if self._firsts else 0)
            raise Damaged(
                f"the log ends at offset {self._next} and the store has committed {stored}",
                file=str(file),
                offset=file.stat().st_size if file.exists() else 0,
                hint="Restore the log from a backup",
            )

    def _clean(self) -> None:
        """Remove what a crash in the middle of making or cutting a segment left behind."""
        known = set(self._firsts)
        for path in self._folder.iterdir():
            orphan = path.suffix == ".idx" and path.stem.isdigit() and int(path.stem) not in known
            if orphan or (path.name.startswith(".") and path.suffix == ".tmp"):
                path.unlink(missing_ok=True)

    def ends(self) -> tuple[int, int]:
        with self._changed:
            return (self._firsts[0] if self._firsts else 0), self._next

    def _header(self, first: int) -> SegmentHeader:
        return SegmentHeader(self._lineage.log_of(self._number, first), self._number, first)

    def append(self, frames: Sequence[bytes]) -> int:
        check_frames(frames)
        with self._writing:
            first = self._next
            for batch in batches(frames):
                tail = self._open_tail()
                tail.write(batch, self._disk)
                with self._changed:
                    tail.grow(batch)
                    self._next = tail.next
                    self._changed.notify_all()
        return first

    def _open_tail(self) -> Tail:
        """The segment to append to; a new one if the last is full, sealed or has failed."""
        with self._changed:
            if self._closed:
                raise _closed()
            tail = self._tail
        if tail is not None and tail.takes_more and tail.end < self._segment_bytes and tail.frames < MAX_FRAMES:
            return tail
        path = segment_path(self._folder, self._next)
        try:
            if tail is not None and tail.frames:
                tail.seal(self._disk)
            fresh = Tail.create(path, self._header(self._next), self._disk)
        except OSError as error:
            raise cannot_write(error, path) from error
        with self._changed:
            if tail is not None and not tail.frames:
                tail.reader.close()  # replaced
            else:
                self._firsts.append(self._next)
                if tail is not None:
                    self._keep(tail.reader)
            self._tail = fresh
        return fresh

    def read(self, offset: int, limit_bytes: int, wait: float) -> Sequence[Record]:
        deadline = time.monotonic() + wait
        while True:
            with self._changed:
                if not self._wait(offset, deadline):
                    return ()
                first, stop, reader = self._find(offset)
            reader = reader or self._load(first, stop, offset)
            if reader is None:
                continue
            try:
                if offset - first >= reader.frames:
                    raise _missing(reader.path, reader.positions[-1], stop)
                return reader.read(offset, min(stop, first + reader.frames), limit_bytes)
            finally:
                reader.close()

    def _wait(self, offset: int, deadline: float) -> bool:
        """Until there is a frame at ``offset``; whether there is. Called with the lock held."""
        if self._closed:
            raise _closed()
        while not self._closed:
            first = self._firsts[0] if self._firsts else 0
            if offset < first:
                raise NotFound(f"offset {offset} is no longer in the log", hint=f"It is kept from offset {first} on")
            if offset < self._next:
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self._changed.wait(left)
        return False

    def _find(self, offset: int) -> tuple[int, int, SegmentReader | None]:
        """The segment that holds ``offset``: its first offset, the one after its last, and its reader if it is open. Called
        with the lock held."""
        number = bisect_right(self._firsts, offset) - 1
        first = self._firsts[number]
        if number + 1 == len(self._firsts) and self._tail is not None:
            return first, self._next, self._tail.reader.hold()
        reader = self._readers.get(first)
        if reader is not None:
            self._readers.move_to_end(first)
            reader.hold()
        return first, self._firsts[number + 1], reader

    def _load(self, first: int, stop: int, offset: int) -> SegmentReader | None:
        """Open a segment; None if it was cut in the meantime."""
        path = segment_path(self._folder, first)
        try:
            reader = SegmentReader.load(path, self._header(first))
        except FileNotFoundError:
            if offset < self.ends()[0]:
                return None
            raise _missing(path, 0, stop) from None
        except Damaged as damage:
            damage.next_offset = stop
            raise
        with self._changed:
            self._keep(reader.hold())
        return reader

    def _keep(self, reader: SegmentReader) -> None:
        """Have a segment that is read at hand for the next time."""
        gone = [self._readers.pop(reader.first, None)]
        self._readers[reader.first] = reader
        if self._closed or len(self._readers) > _READERS:
            gone.append(self._readers.popitem(last=False)[1])
        for other in gone:
            if other is not None:
                other.close()

    def cut(self, below: int) -> None:
        with self._writing:
            with self._changed:
                gone = max(0, bisect_right(self._firsts, below) - 1)
                firsts, self._firsts = self._firsts[:gone], self._firsts[gone:]
                for first in firsts:
                    if reader := self._readers.pop(first, None):
                        reader.close()
            try:
                for path in (segment_path(self._folder, first) for first in firsts):
                    self._disk.remove([path, path.with_suffix(".idx")])  # durably, before the next: no hole may stay
            except OSError as error:
                raise cannot_write(error, self._folder) from error

    def sealed(self) -> list[tuple[int, int, int]]:
        """The segments but the last: first offset, that of the next segment, bytes with the index."""
        with self._changed:
            firsts = list(self._firsts)
        return [(first, after, self._bytes_of(first)) for first, after in pairwise(firsts)]

    def bytes(self) -> int:
        """What all segments take on the disk."""
        with self._changed:
            firsts = list(self._firsts)
        return sum(map(self._bytes_of, firsts))

    def _bytes_of(self, first: int) -> int:
        path = segment_path(self._folder, first)
        return sum(p.stat().st_size for p in (path, path.with_suffix(".idx")) if p.exists())

    def close(self) -> None:
        with self._writing, self._changed:
            self._closed = True
            self._changed.notify_all()
            for reader in self._readers.values():
                reader.close()
            self._readers.clear()
            if self._tail is not None:
                self._tail.reader.close()
                self._tail = None


def _closed() -> Retry:
    return Retry("the log is closed", hint="Its program is shutting down")


def _missing(path: Path, place: int, next_offset: int) -> Damaged:
    return Damaged(
        f"the frames up to offset {next_offset} are missing",
        file=str(path),
        offset=place,
        next_offset=next_offset,
        hint="Restore the file from a backup",
    )
