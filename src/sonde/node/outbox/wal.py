"""What stands in a write-ahead log of SQLite behind the part that SQLite could read.

SQLite takes a WAL up to the first frame whose checksum is wrong and says nothing about the rest. After a power cut that is
right: the last commit was torn. After a flipped bit it loses commits that were durable, and their seqs would be given
out again. The two can look alike, so what is behind is counted here, and the outbox steps over it.

When only the program was killed and the machine went on, the shared memory file still says how much was committed, and
there is nothing to guess. The formats: https://sqlite.org/fileformat2.html#the_write_ahead_log and
https://sqlite.org/walformat.html#the_wal_index_file_format
"""

import struct
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

_HEADER: Final = struct.Struct(">IIIIIIII")  # magic, version, page size, checkpoint, salt 1, salt 2, checksum 1 and 2
_FRAME: Final = struct.Struct(">IIIIII")  # page, pages after commit (0: no commit), salt 1, salt 2, checksum 1 and 2
_INDEX: Final = struct.Struct(
    "=IIIBBHI"
)  # version, unused, changes, initialised, endian, page size, last committed frame
_INDEX_VERSION: Final = 3_007_000
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_COVERED: Final = 8  # bytes of a frame's header that its checksum covers, besides the page


def committed_frames(path: Path) -> int | None:
    """How many frames of the WAL beside the database at ``path`` were committed, if that is known for certain. To be asked
    before the database is opened; remembers by the way which boot of the machine this is."""
    mark, boot = path.with_name(path.name + ".boot"), _read(_BOOT, 64)
    same_boot = bool(boot) and _read(mark, 64) == boot
    if not same_boot:
        _write(mark, boot)
        return None
    index, header = _read(path.with_name(path.name + "-shm"), 96), _read(path.with_name(path.name + "-wal"), 32)
    if len(index) < 96 or len(header) < 32 or index[:48] != index[48:]:
        return None
    fields = _INDEX.unpack_from(index)
    if fields[0] != _INDEX_VERSION or index[32:40] != header[16:24]:
        return None
    return int(fields[6])


def _read(path: Path, size: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError:
        return b""


def _write(path: Path, data: bytes) -> None:
    """For this boot only, so without fsync; if there is no room, the next start knows a little less."""
    with suppress(OSError):
        path.touch(mode=0o600)
        path.write_bytes(data)


def unread_commits(path: Path, frames_read: int, page_bytes: int) -> int:
    """How many commits at most stand in the WAL at ``path`` behind the first ``frames_read`` frames; 0: nothing does.

    Frames of an earlier round, which a WAL keeps behind its end, carry other salts and do not count. Neither does a
    transaction that was never committed.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER.size)
            if len(head) < _HEADER.size:
                return 0
            return _count(file, _HEADER.unpack(head), frames_read, page_bytes)
    except FileNotFoundError:
        return 0


def _count(file: BinaryIO, header: tuple[int, ...], frames_read: int, page_bytes: int) -> int:
    endian, salts, sums = ">" if header[0] & 1 else "<", header[4:6], header[6:8]
    step = _FRAME.size + page_bytes
    if frames_read:
        file.seek(_HEADER.size + (frames_read - 1) * step)
        sums = _FRAME.unpack(file.read(_FRAME.size))[4:6]
    file.seek(_HEADER.size + frames_read * step)
    broken, commits = False, 0
    while len(frame := file.read(step)) == step:
        _, commit, salt_1, salt_2, *stored = _FRAME.unpack_from(frame)
        if salt_1 != salts[0] and salt_2 != salts[1]:
            break
        if not broken:
            sums = _checksum(endian, frame[:_COVERED] + frame[_FRAME.size :], sums)
            broken = sums != tuple(stored)
        commits += commit != 0
    return max(commits, 1) if broken else commits


def _checksum(endian: str, data: bytes, sums: tuple[int, ...]) -> tuple[int, int]:
    one, two = sums
    for first, second in struct.iter_unpack(endian + "II", data):
        one = (one + first + two) & 0xFFFFFFFF
        two = (two + second + one) & 0xFFFFFFFF
    return one, two
