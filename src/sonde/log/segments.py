"""The embedded log: a folder of segment files for each partition.

::

    log/
      lock                          held by the one program that writes
      id                            the log's id and its checksum
      lineage                       the logs that it goes on from, if it was restored
      0000/                         a partition
        00000000000000000000.seg    a segment, named by its first offset
        00000000000000000000.idx    its index, when it is sealed
        ….seg.torn-<byte>           what was cut from there after a crash
"""

import secrets
import threading
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

import structlog

from sonde.directory import FileLock
from sonde.errors import Damaged, NotFound
from sonde.log.disk import Disk, cannot_write
from sonde.log.layout import HEADER_BYTES, ID, SegmentHeader, segments_in
from sonde.log.lineage import read_lineage
from sonde.log.partition import Partition
from sonde.ports import Record

SEGMENT_BYTES: Final = 256 << 20
_DISK: Final = Disk()
_NOTHING: Final[Mapping[int, int]] = MappingProxyType({})
_events = structlog.get_logger()


class SegmentLog:
    """The port ``Log`` on files of this machine.

    ``stored`` is, by partition, the next offset that the store will read: what is torn below it is :class:`Damaged`, beyond
    it is cut and set aside. :class:`InUse` if another program writes here, :class:`Retry` if the disk cannot be written.
    """

    def __init__(
        self,
        path: Path,
        *,
        stored: Mapping[int, int] = _NOTHING,
        segment_bytes: int = SEGMENT_BYTES,
        partitions: int = 1,
        disk: Disk = _DISK,
    ) -> None:
        self._closing = threading.Lock()
        self._open = True
        try:
            disk.folder(path)
            self._lock = FileLock(path / "lock")
        except OSError as error:
            raise cannot_write(error, path) from error
        self._partitions: dict[int, Partition] = {}
        try:
            self.id = _id(path, disk)
            lineage = read_lineage(path, self.id)
            for number in sorted({*range(partitions), *partitions_in(path), *stored}):
                folder = partition_path(path, number)
                disk.folder(folder)
                self._partitions[number] = Partition(
                    folder, lineage, number, stored.get(number, 0), segment_bytes, disk
                )
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise cannot_write(error, path) from error
            raise

    def append(self, partition: int, frames: Sequence[bytes]) -> int:
        """Make ``frames`` durable; the offset of the first. :class:`Retry`, with a hint, if the disk will not take them;
        :class:`Invalid` if one is not a whole frame."""
        return self._partition(partition).append(frames)

    def read(self, partition: int, offset: int, limit_bytes: int, wait: float = 0.0) -> Sequence[Record]:
        """As the port says. ``Damaged.next_offset`` is where reading can go on; :class:`Retry` once the log is closed."""
        return self._partition(partition).read(offset, limit_bytes, wait)

    def ends(self) -> Mapping[int, tuple[int, int]]:
        return {number: partition.ends() for number, partition in self._partitions.items()}

    def cut(self, partition: int, below: int) -> None:
        self._partition(partition).cut(below)

    def sealed(self) -> list[tuple[int, int, int, int]]:
        """The segments that take no more: partition, first offset, that of the next segment, bytes with the index."""
        return [(number, *segment) for number, partition in self._partitions.items() for segment in partition.sealed()]

    def bytes(self) -> int:
        """What all segments take on the disk."""
        return sum(partition.bytes() for partition in self._partitions.values())

    def close(self) -> None:
        """Finish the append in progress and wake everyone who waits."""
        with self._closing:
            if self._open:
                self._open = False
                for partition in self._partitions.values():
                    partition.close()
                self._lock.release()

    def _partition(self, number: int) -> Partition:
        try:
            return self._partitions[number]
        except KeyError:
            raise NotFound(f"the log has no partition {number}") from None


def partition_path(path: Path, number: int) -> Path:
    return path / f"{number:04}"


def partitions_in(path: Path) -> list[int]:
    """The partitions of the log at ``path``."""
    return sorted(int(p.name) for p in path.iterdir() if p.name.isdecimal() and p.name.isascii() and p.is_dir())


def read_id(path: Path) -> str | None:
    """The id of the log at ``path``, if its file is there and whole; else as its segments say."""
    try:
        log, _, check = (path / "id").read_text("ascii").strip().partition(" ")
        if ID.fullmatch(log) and check == f"{zlib.crc32(log.encode()):08x}":
            return log
    except (FileNotFoundError, UnicodeDecodeError):
        pass
    return _id_of_segments(path)


def _id_of_segments(path: Path) -> str | None:
    for number in partitions_in(path):
        for _, segment in reversed(
            segments_in(partition_path(path, number))
        ):  # the newest has it, whatever came before
            try:
                with segment.open("rb") as file:
                    return SegmentHeader.unpack(file.read(HEADER_BYTES), str(segment)).log
            except Damaged:  # another one may be whole
                continue
    return None


def _id(path: Path, disk: Disk) -> str:
    """The id of the log, drawn if it is new. A file that was damaged or lost is written again from what segments say."""
    log = read_id(path)
    file = path / "id"
    if log is not None and id_is_whole(path):
        return log
    if log is None:
        if file.exists() or any(segments_in(partition_path(path, number)) for number in partitions_in(path)):
            raise Damaged("the id of the log cannot be read", file=str(file), offset=0, hint="Restore it from a backup")
        log = secrets.token_hex(8)
    else:
        _events.warning("log_id_restored", file=str(file), id=log)
    disk.create(file, id_file(log))
    return log


def id_is_whole(path: Path) -> bool:
    """Whether the file ``id`` of the log at ``path`` is as it was written."""
    try:
        data = (path / "id").read_bytes()
    except FileNotFoundError:
        return False
    return data == id_file(data[:16].decode("latin-1"))


def id_file(log: str) -> bytes:
    """What stands in the file ``id``."""
    return f"{log} {zlib.crc32(log.encode()):08x}\n".encode()
