"""Reading a segment: where its frames are, and the frames."""

import os
import threading
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from sonde.errors import Damaged, Retry
from sonde.frame import HEADER_BYTES as FRAME_HEADER_BYTES
from sonde.frame import check_frame, frame_size
from sonde.log.disk import read_at
from sonde.log.layout import (
    BATCH,
    FOOTER,
    HEADER_BYTES,
    MARK_BYTES,
    Mark,
    Positions,
    SegmentHeader,
    index_checksum,
    unpack_index,
)
from sonde.ports import Record

MAX_FRAMES: Final = 1 << 17
"""A segment gets no further batch when it has this many frames, so that it is walked in a moment."""

_LOST_AT_MOST: Final = 1 << 22  # frames that a damaged mark may hide; more would not be a mark of ours
_BLOCK: Final = 4 << 20
_SMALL: Final = 8192  # bytes a frame from which on reading headers alone is cheaper than reading all


@dataclass(frozen=True, slots=True)
class Walk:
    """What a walk through a segment found: where the frames of its whole batches are, the last batch (perhaps not whole),
    how many frames come before that one, and the places where a mark should have been and is not."""

    positions: Positions
    last: tuple[int, Mark] | None
    before: int
    footer: Mark | None
    size: int
    faults: Sequence[int]

    @property
    def end(self) -> int:
        """Where the last whole batch ends."""
        return self.positions[-1]


def walk(handle: int, path: Path, header: SegmentHeader) -> Walk:
    """Go from mark to mark through a segment and find all its frames; only their headers are checked."""
    size = os.fstat(handle).st_size
    positions: Positions = array("Q")
    place, before = HEADER_BYTES, 0
    last: tuple[int, Mark] | None = None
    footer: Mark | None = None
    faults: list[int] = []
    while place < size:
        mark = Mark.unpack(read_at(handle, place, MARK_BYTES), header.seed)
        expected = header.first + len(positions)
        if mark is not None and mark.magic == FOOTER and mark.offset == expected:
            footer = mark
            break
        if mark is None or mark.magic != BATCH or mark.offset != expected:
            found = _next_mark(handle, place + 1, size, header.seed, expected)
            if found is None:
                break
            faults.append(place)
            positions.extend([place] * (found[1].offset - expected))
            place, mark = found
        last, before = (place, mark), len(positions)
        if place + MARK_BYTES + mark.number > size:
            break
        positions.extend(_starts(handle, path, place + MARK_BYTES, mark))
        place += MARK_BYTES + mark.number
    positions.append(place)
    return Walk(positions, last, before, footer, size, faults)


def _next_mark(handle: int, place: int, size: int, seed: int, expected: int) -> tuple[int, Mark] | None:
    """The next batch after damage, from ``place`` on."""
    while place < size:
        block = read_at(handle, place, _BLOCK + MARK_BYTES)
        at = block.find(BATCH)
        while 0 <= at < _BLOCK:
            mark = Mark.unpack(block[at : at + MARK_BYTES], seed)
            if mark is not None and expected <= mark.offset < expected + _LOST_AT_MOST:
                return place + at, mark
            at = block.find(BATCH, at + 1)
        place += _BLOCK
    return None


def _starts(handle: int, path: Path, place: int, mark: Mark) -> list[int]:
    """Where the frames of a batch start. All after a damaged header share its position."""
    small = mark.number < _SMALL * mark.frames
    batch = memoryview(read_at(handle, place, mark.number)) if small else None
    starts: list[int] = []
    at = 0
    while len(starts) < mark.frames:
        starts.append(place + at)
        if batch is not None:
            header: bytes | memoryview = batch[at : at + FRAME_HEADER_BYTES]
        else:
            header = read_at(handle, place + at, FRAME_HEADER_BYTES)
        try:
            at += frame_size(header, file=str(path), offset=place + at)
        except Damaged:  # whoever reads it is told
            return starts + [place + at] * (mark.frames - len(starts))
        if at >= mark.number:
            break
    return starts + [place + mark.number] * (mark.frames - len(starts))


def whole_frames(handle: int, path: Path, place: int, mark: Mark) -> list[int]:
    """Where the frames of a batch start that match their checksums, up to the first one that does not; then where the last
    of them ends."""
    batch = memoryview(read_at(handle, place + MARK_BYTES, mark.number))
    starts = [place + MARK_BYTES]
    at = 0
    with suppress(Damaged):  # the caller sees that there are fewer
        while len(starts) <= mark.frames:
            at += check_frame(batch[at:], file=str(path), offset=place + MARK_BYTES + at)
            starts.append(place + MARK_BYTES + at)
    return starts


class SegmentReader:
    """An open segment, for any number of threads. Whoever reads holds it, so that it is closed when nobody does any more:
    :meth:`close` for having made it, and for each :meth:`hold`."""

    def __init__(self, path: Path, first: int, handle: int, positions: Positions) -> None:
        self.path = path
        self.first = first
        self.handle = handle
        self.positions = positions
        self._lock = threading.Lock()
        self._holders = 1  # whoever made it

    def hold(self) -> Self:
        with self._lock:
            self._holders += 1
        return self

    def close(self) -> None:
        with self._lock:
            self._holders -= 1
            if self._holders == 0:
                os.close(self.handle)

    @classmethod
    def load(cls, path: Path, header: SegmentHeader) -> "SegmentReader":
        """The segment at ``path``, with its index if that is there and fits, else walked. ``FileNotFoundError`` if it is
        gone, :class:`Retry` if it cannot be opened now, :class:`Damaged` if it is not of this log."""
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise Retry(f"{path} cannot be opened ({error.strerror})", after=1.0) from None
        try:
            check_origin(handle, path, header)
            positions = indexed(handle, path, header) or walk(handle, path, header).positions
        except BaseException:
            os.close(handle)
            raise
        return cls(path, header.first, handle, positions)

    @property
    def frames(self) -> int:
        return len(self.positions) - 1

    def read(self, offset: int, stop: int, limit_bytes: int) -> list[Record]:
        """Frames from ``offset`` on, below ``stop``, at least one, up to ``limit_bytes``. :class:`Damaged` if the first of
        them is."""
        index = offset - self.first
        limit = bisect_right(self.positions, self.positions[index] + limit_bytes, index + 1, stop - self.first + 1)
        count = max(1, limit - 1 - index)
        data = self._bytes(index, count)
        records: list[Record] = []
        start = self.positions[index]
        for i in range(index, index + count):
            at = self.positions[i] - start
            try:
                size = check_frame(data[at:], file=str(self.path), offset=start + at)
            except Damaged as damage:
                if records:
                    break  # the next call says so
                damage.next_offset = self._after(i)
                raise
            records.append(Record(self.first + i, bytes(data[at : at + size])))
        return records

    def _bytes(self, index: int, count: int) -> memoryview:
        start, end = self.positions[index], self.positions[index + count]
        try:
            return memoryview(read_at(self.handle, start, end - start))
        except OSError as error:
            if count > 1:
                return self._bytes(index, 1)
            raise Damaged(
                f"the disk cannot read ({error.strerror})",
                file=str(self.path),
                offset=start,
                next_offset=self._after(index),
            ) from None

    def _after(self, index: int) -> int:
        """The offset of the first frame that does not share the damaged place of another."""
        after = bisect_right(self.positions, self.positions[index], index, self.frames)
        return self.first + max(after, index + 1)


def check_origin(handle: int, path: Path, header: SegmentHeader) -> None:
    """:class:`Damaged` if the segment says that it belongs elsewhere. If its header cannot be read, that says nothing: all
    that it tells is known from its name."""
    try:
        found = SegmentHeader.unpack(read_at(handle, 0, HEADER_BYTES), str(path))
    except Damaged:
        return
    if found != header:
        raise Damaged(
            f"what belongs to log {found.log}, partition {found.partition}, offset {found.first} lies",
            file=str(path),
            offset=0,
            hint="Move it away, and put back what belongs there",
        )


def indexed(handle: int, path: Path, header: SegmentHeader) -> "Positions | None":
    """The positions that the index beside a sealed segment says, if the footer agrees with it."""
    size = os.fstat(handle).st_size
    footer = Mark.unpack(read_at(handle, max(0, size - MARK_BYTES), MARK_BYTES), header.seed)
    if footer is None or footer.magic != FOOTER:
        return None
    try:
        positions = unpack_index(path.with_suffix(".idx").read_bytes(), header.first)
    except OSError:  # the segment can tell as well
        return None
    if positions is None or len(positions) != footer.frames + 1 or index_checksum(positions) != footer.number:
        return None
    return positions
