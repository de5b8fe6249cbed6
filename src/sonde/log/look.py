"""A segment as it stands on disk, looked at without the lock while a writer may be at work."""

import os
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from sonde.errors import Damaged, NewerFormat
from sonde.frame import HEADER_BYTES as FRAME_HEADER_BYTES
from sonde.frame import Header, frame_size, read_header
from sonde.log.disk import read_at
from sonde.log.layout import HEADER_BYTES, MARK_BYTES, SegmentHeader
from sonde.log.segment import SegmentReader, Walk, indexed, walk, whole_frames
from sonde.ports import Record

_STEP_BYTES: Final = 4 << 20


class Look:
    """One segment: how many ``frames`` it has, ``torn`` bytes after them (place and number), ``damage`` outside of frames.

    ``following`` is the first offset of the next segment; what stands beyond that was never confirmed.
    """

    def __init__(self, path: Path, header: SegmentHeader, following: int | None) -> None:
        """``FileNotFoundError`` if it was cut in the meantime."""
        self.path = path
        self.first = header.first
        self.torn: tuple[int, int] | None = None
        self.damage: list[tuple[Path, int, str]] = []
        self._following = following
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._reader = SegmentReader(path, header.first, handle, array("Q", [HEADER_BYTES]))
        try:
            self._check_header(handle, header)
            found = walk(handle, path, header)
            self.size = found.size
            self._reader.positions = found.positions
            self.damage += [(path, place, "no batch starts here") for place in found.faults]
            self._check_end(handle, header, found)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._reader.close()

    @property
    def next(self) -> int:
        """The offset after its last frame."""
        end = self.first + self._reader.frames
        return end if self._following is None else min(end, self._following)

    @property
    def reach(self) -> int:
        """The offset after all that this segment should have: what is asked beyond it is in another one."""
        return self.next if self._following is None else self._following

    def place(self, offset: int) -> int:
        """The byte at which a frame starts."""
        return self._reader.positions[offset - self.first]

    def headers(self) -> Iterator[Header | Damaged | NewerFormat]:
        """The header of every frame, or what is wrong with it; their bodies are not looked at."""
        for offset in range(self.first, self.next):
            place = self.place(offset)
            data = read_at(self._reader.handle, place, FRAME_HEADER_BYTES)
            try:
                yield read_header(data, file=str(self.path), offset=place)
            except (Damaged, NewerFormat) as error:
                yield error

    def read(self, offset: int, limit_bytes: int) -> Sequence[Record]:
        """Frames from ``offset`` on, at least one if there is one; :class:`Damaged` where they are not what was written."""
        if offset < self.next:
            return self._reader.read(offset, self.next, limit_bytes)
        if offset < self.reach:
            what = f"the frames {self.next} to {self.reach - 1} are missing"
            end = self._reader.positions[-1]
            raise Damaged(what, file=str(self.path), offset=end, next_offset=self.reach)
        return ()

    def frames(self) -> Iterator[Record | Damaged]:
        """Every frame, or what is wrong in its place."""
        offset = self.first
        while offset < self.reach:
            try:
                records = self.read(offset, _STEP_BYTES)
            except Damaged as damage:
                yield damage
                offset = damage.next_offset or self.reach
            else:
                yield from records
                offset += len(records)

    def _check_header(self, handle: int, header: SegmentHeader) -> None:
        try:
            if SegmentHeader.unpack(read_at(handle, 0, HEADER_BYTES), str(self.path)) != header:
                self.damage.append((self.path, 0, "the segment belongs to another place or another log"))
        except Damaged as damage:
            self.damage.append((self.path, damage.offset, damage.message))

    def _check_end(self, handle: int, header: SegmentHeader, found: Walk) -> None:
        left = max(0, found.size - found.end)
        if found.footer is not None:
            if left != MARK_BYTES:
                self.damage.append((self.path, found.end + MARK_BYTES, "something follows the end of the segment"))
            index = self.path.with_suffix(".idx")
            if index.exists() and indexed(handle, self.path, header) is None:
                self.damage.append((index, 0, "it is not the index of its segment"))
        elif left == MARK_BYTES and self._following == self.first + self._reader.frames:
            self.damage.append((self.path, found.end, "the footer of the segment does not match its checksum"))
        elif left and found.last is not None and found.last[0] == found.end:  # a batch that is not all there
            starts = whole_frames(handle, self.path, *found.last)
            self._reader.positions = found.positions[: found.before] + array("Q", starts)
            end = starts[-1] if len(starts) > 1 else found.end
            self.torn = (end, found.size - end) if end < found.size else None
        elif left and _frame_at(handle, found.end + MARK_BYTES):  # a crash tears the end of a write, not its start
            self.damage.append((self.path, found.end, "no batch starts here"))
        elif left:
            self.torn = found.end, left


def _frame_at(handle: int, place: int) -> bool:
    try:
        frame_size(read_at(handle, place, FRAME_HEADER_BYTES))
    except Damaged:
        return False
    return True
