"""What a segment file looks like.

::

    segment   header (64 bytes), batches, and when it is sealed a footer
    batch     what one append made durable: a mark (24 bytes), then its frames one after another
    index     beside a sealed segment: where each of its frames starts

A batch is written and synced before the next one begins, so only the last one can be torn. Its mark says how many frames
it has, from which offset on and in how many bytes: damage inside a batch cannot change the offsets of those after it.
All numbers are little-endian; the checksums (CRC-32) of marks start from the log's id, so that bytes of another log are
not taken for a mark.
"""

import re
import struct
import zlib
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, TypeAlias

from sonde.errors import Damaged, NewerFormat

ID: Final = re.compile(r"[0-9a-f]{16}")
NAME: Final = re.compile(r"(\d{20})\.seg")
VERSION: Final = 1

_HEADER: Final = struct.Struct("<8sHHIQ16s20s")
_CHECKSUM: Final = struct.Struct("<I")
HEADER_BYTES: Final = _HEADER.size + _CHECKSUM.size
_SEGMENT: Final = b"SNDELOG\0"

_MARK: Final = struct.Struct("<4sIQI")
MARK_BYTES: Final = _MARK.size + _CHECKSUM.size
BATCH: Final = b"SNDB"
FOOTER: Final = b"SNDF"

_INDEX: Final = struct.Struct("<8sQQ")  # magic, first offset, positions
_INDEX_MAGIC: Final = b"SNDEIDX\1"


def segment_path(folder: Path, first: int) -> Path:
    """Where the segment that starts with offset ``first`` lies."""
    return folder / f"{first:020}.seg"


def segments_in(folder: Path) -> list[tuple[int, Path]]:
    """The segments in a folder, by their first offset."""
    found = ((NAME.fullmatch(path.name), path) for path in folder.iterdir())
    return sorted((int(match[1]), path) for match, path in found if match)


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """The first bytes of a segment: which log, partition and offset it belongs to."""

    log: str
    partition: int
    first: int

    @property
    def seed(self) -> int:
        """Where the checksums of the marks start from."""
        return zlib.crc32(f"{self.log}/{self.partition}".encode())

    def pack(self) -> bytes:
        fields = _HEADER.pack(_SEGMENT, VERSION, self.partition, 0, self.first, self.log.encode(), b"")
        return fields + _CHECKSUM.pack(zlib.crc32(fields))

    @classmethod
    def unpack(cls, data: bytes, file: str) -> Self:
        """The header in ``data``; :class:`Damaged` if there is none, :class:`NewerFormat`."""
        if len(data) < HEADER_BYTES or _CHECKSUM.unpack_from(data, _HEADER.size)[0] != zlib.crc32(data[: _HEADER.size]):
            raise Damaged("the header of a segment does not match its checksum", file=file, offset=0)
        magic, version, partition, _, first, log, _ = _HEADER.unpack_from(data)
        if magic != _SEGMENT or not ID.fullmatch(log.decode("latin-1")):
            raise Damaged("no segment starts here", file=file, offset=0)
        if version > VERSION:
            raise NewerFormat(f"{file} has version {version}, and this Sonde reads up to {VERSION}")
        return cls(log.decode(), partition, first)


@dataclass(frozen=True, slots=True)
class Mark:
    """Before a batch (``BATCH``): its frames, the offset of the first, its bytes without the mark.
    At the end of a sealed segment (``FOOTER``): all its frames, the offset after the last, the checksum of its index."""

    magic: bytes
    frames: int
    offset: int
    number: int

    def pack(self, seed: int) -> bytes:
        fields = _MARK.pack(self.magic, self.frames, self.offset, self.number)
        return fields + _CHECKSUM.pack(zlib.crc32(fields, seed))

    @classmethod
    def unpack(cls, data: bytes | memoryview, seed: int) -> Self | None:
        """The mark that ``data`` starts with, if it is one."""
        if len(data) < MARK_BYTES:
            return None
        magic, frames, offset, number = _MARK.unpack_from(data)
        if magic not in {BATCH, FOOTER}:
            return None
        if _CHECKSUM.unpack_from(data, _MARK.size)[0] != zlib.crc32(data[: _MARK.size], seed):
            return None
        return cls(magic, frames, offset, number)


Positions: TypeAlias = "array[int]"
"""``array("Q")``: where each frame of a segment starts, then where the last one ends. Frames that cannot be told apart
because a header is damaged share one position."""


def pack_index(first: int, positions: Positions) -> bytes:
    data = positions.tobytes()
    fields = _INDEX.pack(_INDEX_MAGIC, first, len(positions)) + data
    return fields + _CHECKSUM.pack(zlib.crc32(fields))


def unpack_index(data: bytes, first: int) -> "Positions | None":
    """The positions in ``data``, if it is the index of the segment that starts with ``first``."""
    if len(data) < _INDEX.size + _CHECKSUM.size:
        return None
    magic, found, count = _INDEX.unpack_from(data)
    if magic != _INDEX_MAGIC or found != first or len(data) != _INDEX.size + 8 * count + _CHECKSUM.size:
        return None
    if _CHECKSUM.unpack_from(data, len(data) - _CHECKSUM.size)[0] != zlib.crc32(data[: -_CHECKSUM.size]):
        return None
    return array("Q", data[_INDEX.size : -_CHECKSUM.size])


def index_checksum(positions: Positions) -> int:
    """What the footer of a segment says of its index."""
    return zlib.crc32(positions.tobytes())
