"""The segment that grows: its last batch after a crash, its end, and how it is sealed."""

import os
from array import array
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

import structlog

from sonde.errors import Damaged
from sonde.frame import check_frame
from sonde.log.disk import Disk, cannot_write, read_at
from sonde.log.layout import (
    BATCH,
    FOOTER,
    HEADER_BYTES,
    MARK_BYTES,
    Mark,
    Positions,
    SegmentHeader,
    index_checksum,
    pack_index,
)
from sonde.log.segment import SegmentReader, Walk, check_origin, indexed, walk, whole_frames

_KEPT_BYTES: Final = 32 << 20  # of a torn tail
_KEPT_FILES: Final = 16

_events = structlog.get_logger()


class Tail:
    """The last segment of a partition. One thread at a time changes it; ``reader`` may be used beside."""

    def __init__(
        self, reader: SegmentReader, header: SegmentHeader, *, sealed: bool = False, indexed: bool = False
    ) -> None:
        self.reader = reader
        self.takes_more = not sealed
        self._header = header
        self._sealed = sealed
        self._indexed = indexed

    @classmethod
    def create(cls, path: Path, header: SegmentHeader, disk: Disk) -> "Tail":
        """An empty segment, in place of one of that name that failed before it held anything. ``OSError``."""
        disk.create(path, header.pack())
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        return cls(SegmentReader(path, header.first, handle, array("Q", [HEADER_BYTES])), header)

    @property
    def frames(self) -> int:
        return self.reader.frames

    @property
    def next(self) -> int:
        """The offset after its last frame."""
        return self._header.first + self.frames

    @property
    def end(self) -> int:
        """Where its last durable batch ends; after it, bytes mean nothing."""
        return self.reader.positions[-1]

    def write(self, frames: Sequence[bytes], disk: Disk) -> None:
        """Make one batch durable after the last; nobody can read it before :meth:`grow`. After any error this segment takes
        no more: the kernel may say that a later sync succeeded though this one's data is gone."""
        mark = Mark(BATCH, len(frames), self.next, sum(map(len, frames)))
        handle, path = self.reader.handle, self.reader.path
        try:
            disk.write(handle, path, b"".join((mark.pack(self._header.seed), *frames)), self.end)
            disk.sync(handle, path)
        except BaseException as error:
            self.takes_more = False
            with suppress(OSError):  # what is left is ignored: the next segment's first offset comes before it
                disk.truncate(handle, path, self.end)
            if isinstance(error, OSError):
                raise cannot_write(error, path) from error
            raise

    def grow(self, frames: Sequence[bytes]) -> None:
        """Let readers see the batch that was written."""
        place = self.end + MARK_BYTES
        self.reader.positions[-1] = place
        ends = array("Q")
        for frame in frames:
            place += len(frame)
            ends.append(place)
        self.reader.positions.extend(ends)

    def seal(self, disk: Disk) -> None:
        """Close it with a footer and write its index; one that failed stays as it is. ``OSError``: call again."""
        handle, path, positions = self.reader.handle, self.reader.path, self.reader.positions
        if self.takes_more:
            self.takes_more = False
            footer = Mark(FOOTER, self.frames, self.next, index_checksum(positions))
            disk.write(handle, path, footer.pack(self._header.seed), self.end)
            disk.sync(handle, path)
            self._sealed = True
        if self._sealed and not self._indexed:
            disk.create(path.with_suffix(".idx"), pack_index(self._header.first, positions))
            self._indexed = True


def recover(path: Path, header: SegmentHeader, stored: int, disk: Disk) -> Tail:
    """The last segment as a crash may have left it, ready to go on.

    What is torn is set aside in a file beside it and cut. :class:`Damaged` if the store has committed an offset of that.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise cannot_write(error, path) from error
    try:
        return _recover(handle, path, header, stored, disk)
    except BaseException as error:
        os.close(handle)
        if isinstance(error, OSError):
            raise cannot_write(error, path) from error
        raise


def _recover(handle: int, path: Path, header: SegmentHeader, stored: int, disk: Disk) -> Tail:
    check_origin(handle, path, header)
    positions = indexed(handle, path, header)
    if positions is not None:
        return Tail(SegmentReader(path, header.first, handle, positions), header, sealed=True, indexed=True)
    found = walk(handle, path, header)
    if found.footer is not None:
        return Tail(SegmentReader(path, header.first, handle, found.positions), header, sealed=True)
    if found.size < HEADER_BYTES:
        _cut(handle, path, header.first, 0, found.size, stored, disk)
        fresh = Tail.create(path, header, disk)
        os.close(handle)
        return fresh
    found = _with_unreadable_mark(handle, path, found, header)
    if _is_damaged(handle, path, found, header, stored):
        return Tail(SegmentReader(path, header.first, handle, found.positions), header, sealed=True, indexed=True)
    positions = _mended(handle, path, found, header, stored, disk)
    return Tail(SegmentReader(path, header.first, handle, positions), header)


def _with_unreadable_mark(handle: int, path: Path, found: Walk, header: SegmentHeader) -> Walk:
    """``found``, and behind its end the batch of which only the mark cannot be read. A crash tears the end of a write, not
    its start: where all frames up to the end of the file are whole, it was a mark that took harm."""
    if found.end + MARK_BYTES >= found.size or (found.last is not None and found.last[0] == found.end):
        return found
    data = memoryview(read_at(handle, found.end + MARK_BYTES, found.size))
    starts = array("Q", [found.end + MARK_BYTES])
    with suppress(Damaged):
        while starts[-1] < found.size:
            at = starts[-1] - starts[0]
            starts.append(starts[-1] + check_frame(data[at:], file=str(path), offset=starts[-1]))
    if starts[-1] != found.size:
        return found
    _events.warning("log_mark_restored", file=str(path), at=found.end, frames=len(starts) - 1)
    before = len(found.positions) - 1
    mark = Mark(BATCH, len(starts) - 1, header.first + before, len(data))
    return replace(found, positions=found.positions[:-1] + starts, last=(found.end, mark), before=before)


def _is_damaged(handle: int, path: Path, found: Walk, header: SegmentHeader, stored: int) -> bool:
    """Whether the last batch is all there, and the store has it, but does not hold what was written any more. It stays as it
    is, and keeps its offsets: nothing the store knows may be given another meaning."""
    if found.last is None:
        return False
    place, mark = found.last
    if place + MARK_BYTES + mark.number > found.size or stored < header.first + found.before + mark.frames:
        return False
    if len(whole_frames(handle, path, place, mark)) > mark.frames:
        return False
    _events.error("log_damaged", file=str(path), at=place, frames=mark.frames, stored=stored)
    return True


def _mended(handle: int, path: Path, found: Walk, header: SegmentHeader, stored: int, disk: Disk) -> Positions:
    """Keep the whole frames of the last batch, and write them once more: nobody knows whether their sync came to its end, and
    after one that failed the kernel shows bytes that are not on the disk."""
    place, starts = found.end, [found.end]
    if found.last is not None:
        place, mark = found.last
        starts = whole_frames(handle, path, place, mark)
    whole = len(starts) - 1
    end = starts[-1] if whole else place
    if end < found.size:
        _cut(handle, path, header.first + found.before + whole, end, found.size, stored, disk)
    if whole:
        data = read_at(handle, starts[0], end - starts[0])
        mark = Mark(BATCH, whole, header.first + found.before, len(data))
        disk.write(handle, path, mark.pack(header.seed) + data, place)
    if end < found.size:
        disk.truncate(handle, path, end)
    disk.sync(handle, path)
    return found.positions[: found.before] + array("Q", starts if whole else [place])


def _cut(handle: int, path: Path, offset: int, start: int, end: int, stored: int, disk: Disk) -> None:
    """Before bytes are cut, from frame ``offset`` on: see that the store needs none of them, and set them aside."""
    if stored > offset:
        raise Damaged(
            f"frame {offset} is torn, which the store has committed,",
            file=str(path),
            offset=start,
            hint="Restore the file from a backup",
        )
    _set_aside(handle, path, start, end, disk)


def _set_aside(handle: int, path: Path, start: int, end: int, disk: Disk) -> None:
    """Keep the torn bytes in a file of their own; of many such files, the newest."""
    kept = min(end - start, _KEPT_BYTES)
    torn = path.with_name(f"{path.name}.torn-{start}")
    disk.create(torn, read_at(handle, start, kept))
    older = sorted(path.parent.glob("*.torn-*"), key=lambda p: p.stat().st_mtime)[:-_KEPT_FILES]
    disk.remove(older)
    _events.warning("log_tail_cut", file=str(path), at=start, bytes=end - start, kept=kept, kept_in=str(torn))
