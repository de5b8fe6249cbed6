"""A log that takes nothing more while too little of the disk is free, and remembers what kept it from writing."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import disk_usage

from sonde.errors import Retry, SondeError
from sonde.ports import Log, Record


class ReservingLog:
    """Port ``Log`` in front of another one. ``look`` has to be called now and then."""

    def __init__(self, log: Log, path: Path, reserve: int) -> None:
        self.id = log.id
        self.free = disk_usage(path).free
        self._log, self._path, self._reserve = log, path, reserve
        self._failure = ""
        self._sparing = False
        self.written = float("-inf")  # on the monotonic clock

    def look(self) -> None:
        """See how much of the disk is free."""
        self.free = disk_usage(self._path).free

    @contextmanager
    def sparing(self) -> Iterator[None]:
        """Meanwhile a quarter of the reserve is enough: what makes room has to be written too."""
        self._sparing = True
        try:
            yield
        finally:
            self._sparing = False

    @property
    def problem(self) -> str:
        """What keeps it from writing, in plain words; empty if nothing does."""
        return self._full() or self._failure

    def append(self, partition: int, frames: Sequence[bytes]) -> int:
        if self._full() and not (self._sparing and self.free >= self._reserve // 4):
            raise Retry(self._full(), hint="Free some space; it goes on by itself", after=5.0)
        try:
            offset = self._log.append(partition, frames)
        except SondeError as error:
            self._failure = str(error)
            raise
        self._failure = ""
        self.written = time.monotonic()
        return offset

    def read(self, partition: int, offset: int, limit_bytes: int, wait: float = 0.0) -> Sequence[Record]:
        return self._log.read(partition, offset, limit_bytes, wait)

    def ends(self) -> Mapping[int, tuple[int, int]]:
        return self._log.ends()

    def cut(self, partition: int, below: int) -> None:
        self._log.cut(partition, below)

    def close(self) -> None:
        self._log.close()

    def _full(self) -> str:
        if self.free >= self._reserve:
            return ""
        return f"the disk is full: {self.free >> 20} MiB are free, and {self._reserve >> 20} MiB are kept in reserve"
