"""How the log touches a disk: the few calls that may fail, each of them durable when the log says so.

Tests put another one in its place that records every call, or fails when told to.
"""

import errno
import os
from pathlib import Path
from typing import Final

from sonde.errors import Retry
from sonde.files import sync_directory, write_file


class Disk:
    """The machine's disk."""

    def folder(self, path: Path) -> None:
        """Make a folder, durably, unless it is there."""
        if not path.is_dir():
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            sync_directory(path.parent)

    def create(self, path: Path, data: bytes) -> None:
        """A new file with ``data``, whole and durable, in place of an old one of that name."""
        write_file(path, data, mode=0o600)

    def write(self, handle: int, path: Path, data: bytes, position: int) -> None:
        """Put all of ``data`` at ``position``; not durable before :meth:`sync`."""
        view = memoryview(data)
        while view:
            written = os.pwrite(handle, view, position)
            view = view[written:]
            position += written

    def sync(self, handle: int, path: Path) -> None:
        os.fdatasync(handle)

    def truncate(self, handle: int, path: Path, size: int) -> None:
        """Cut the file after ``size`` bytes; not durable before :meth:`sync`."""
        os.ftruncate(handle, size)

    def remove(self, paths: list[Path]) -> None:
        """Delete files of one directory, in this order."""
        for path in paths:
            path.unlink(missing_ok=True)
        if paths:
            sync_directory(paths[0].parent)


_HINTS: Final = {
    errno.ENOSPC: "Free some space on that disk; writing goes on by itself",
    errno.EDQUOT: "Raise the quota or free some space; writing goes on by itself",
    errno.EFBIG: "Raise the limit on the size of files, or make segments smaller",
    errno.EROFS: "Make the file system writable again; the kernel's log says why it is not",
    errno.EIO: "Check the disk and the kernel's log; the next attempt writes to a new file",
    errno.EMFILE: "Raise the limit on open files",
    errno.ENFILE: "Raise the limit on open files of this machine",
    errno.EACCES: "Let this user write there",
}


def cannot_write(error: OSError, path: Path) -> Retry:
    """What a failed call of the disk means for whoever appends: not now, and why."""
    reason = error.strerror or str(error)
    hint = _HINTS.get(error.errno or 0, "Look after the disk; writing goes on by itself")
    return Retry(f"the log cannot be written ({reason}) at {path}", hint=hint, after=1.0)


def read_at(handle: int, position: int, size: int) -> bytes:
    """``size`` bytes from ``position``, or fewer where the file ends."""
    data = os.pread(handle, size, position)
    if len(data) == size or not data:
        return data
    parts = [data]
    got = len(data)
    while got < size and (data := os.pread(handle, size - got, position + got)):
        parts.append(data)
        got += len(data)
    return b"".join(parts)
