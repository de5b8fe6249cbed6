"""Copying a log for a backup while another program writes it, and letting the copy go on as a log of its own."""

import os
import secrets
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from sonde.errors import Damaged, NewerFormat
from sonde.log.disk import Disk
from sonde.log.layout import HEADER_BYTES, SegmentHeader, segment_path, segments_in
from sonde.log.lineage import FILE as LINEAGE
from sonde.log.lineage import Lineage, read_lineage
from sonde.log.look import Look
from sonde.log.segment import walk, whole_frames
from sonde.log.segments import id_file, partition_path, partitions_in, read_id
from sonde.log.tail import Tail, recover

_DISK: Final = Disk()
_LOOKS: Final = 8
_LOOK_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Piece:
    """A file of a log to copy: its path below the log, how many bytes from the start (None: all of a file that will not
    change any more), and if it is a segment its partition, its first offset, and that of the next segment if there is one."""

    path: str
    bytes: int | None = None
    partition: int = -1
    first: int = 0
    following: int | None = None
    left_out: int = 0  # bytes after the last whole batch that stay as they are: torn, or damaged

    @property
    def is_segment(self) -> bool:
        return self.partition >= 0


def pieces(path: Path) -> list[Piece]:
    """What makes the log at ``path`` as it is now: whole batches, up to the last one. Needs no lock. A segment may be cut
    before it is copied: then begin anew. :class:`Damaged` if not even the id can be read."""
    lineage = lineage_of(path)
    found = [Piece("id")] + ([Piece(LINEAGE)] if lineage.ancestors else [])
    for number in partitions_in(path):
        segments = segments_in(partition_path(path, number))
        for (first, file), (following, _) in pairwise(segments):
            name = f"{number:04}/{file.name}"
            found.append(Piece(name, None, number, first, following))
            if file.with_suffix(".idx").exists():
                found.append(Piece(name.removesuffix(".seg") + ".idx"))
        for first, file in segments[-1:]:
            size, left_out = _whole_part(file, SegmentHeader(lineage.log_of(number, first), number, first))
            if size > HEADER_BYTES or left_out:
                found.append(Piece(f"{number:04}/{file.name}", size, number, first, left_out=left_out))
    return found


@dataclass(frozen=True, slots=True)
class Copied:
    """What is in a copied segment: the offset after its last frame, the keys that its frames need, and what is damaged."""

    next: int
    keys: frozenset[str]
    damage: tuple[str, ...]


def look_at(file: Path, piece: Piece, lineage: Lineage) -> Copied:
    """What the copy ``file`` of a segment holds; every frame's checksum is checked."""
    keys, damage = set(), []
    look = Look(
        file, SegmentHeader(lineage.log_of(piece.partition, piece.first), piece.partition, piece.first), piece.following
    )
    try:
        damage += [f"{piece.path} at byte {place}: {what}" for other, place, what in look.damage if other == file]
        for record in look.frames():
            if isinstance(record, Damaged):
                damage.append(f"{piece.path} at byte {record.offset}: {record.message}")
        for header in look.headers():
            if not isinstance(header, Damaged | NewerFormat) and header.codec:
                keys.add(header.key)
        return Copied(look.next, frozenset(keys), tuple(damage))
    finally:
        look.close()


def lineage_of(path: Path) -> Lineage:
    """The lineage of the log at ``path``; :class:`Damaged` if its id cannot be read."""
    log = read_id(path)
    if log is None:
        raise Damaged(
            "the id of the log cannot be read", file=str(path / "id"), offset=0, hint="Restore it from a backup"
        )
    return read_lineage(path, log)


def go_on_anew(path: Path, disk: Disk = _DISK) -> tuple[str, str]:
    """Let the copy of a log at ``path`` go on under a new id, from where it ends; the id before, and the new one. What comes
    now may differ from what came after the copy was made, so no cursor of the one may be taken for one of the other."""
    before = lineage_of(path)
    new, ends = secrets.token_hex(8), {}
    for number in partitions_in(path):
        folder = partition_path(path, number)
        ends[number] = _close_last(folder, number, before, disk)
        Tail.create(segment_path(folder, ends[number]), SegmentHeader(new, number, ends[number]), disk).reader.close()
    disk.create(path / LINEAGE, before.followed_by(new, ends).file())
    disk.create(path / "id", id_file(new))
    return before.id, new


def _close_last(folder: Path, number: int, lineage: Lineage, disk: Disk) -> int:
    """Seal the last segment of a partition; the offset after it."""
    segments = segments_in(folder)
    if not segments:
        return 0
    first, file = segments[-1]
    tail = recover(file, SegmentHeader(lineage.log_of(number, first), number, first), 0, disk)
    try:
        if tail.frames:
            tail.seal(disk)
        return tail.next
    finally:
        tail.reader.close()


def _whole_part(file: Path, header: SegmentHeader) -> tuple[int, int]:
    """Up to where the last segment holds whole batches, and how many bytes follow that do not become one."""
    for _ in range(_LOOKS):
        whole = _whole_bytes(file, header)
        left = file.stat().st_size - whole
        if not left:
            break
        time.sleep(_LOOK_SECONDS)  # somebody is just writing a batch
    return whole, max(0, left)


def _whole_bytes(file: Path, header: SegmentHeader) -> int:
    """Up to where the last segment holds whole batches: one that is just being written is not all there."""
    handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = walk(handle, file, header)
        if found.footer is not None:
            return found.size
        if found.last is not None and found.last[0] < found.end:
            place, mark = found.last
            if len(whole_frames(handle, file, place, mark)) <= mark.frames:
                return place
        return found.end
    finally:
        os.close(handle)
