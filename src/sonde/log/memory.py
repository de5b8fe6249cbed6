"""A log in memory: the same port and the same checks, gone with the process."""

import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final

from sonde.clock import Micros
from sonde.errors import NotFound, Retry
from sonde.log.batch import check_frames
from sonde.ports import Record

LIMIT_BYTES: Final = 1 << 30


class MemoryLog:
    """The port ``Log`` in memory. Bounded: :class:`Retry` when ``limit_bytes`` of frames are kept, until some are cut."""

    def __init__(self, partitions: int = 1, *, limit_bytes: int = LIMIT_BYTES) -> None:
        self.id = secrets.token_hex(8)
        self._changed = threading.Condition()
        self._frames: dict[int, list[bytes]] = {number: [] for number in range(partitions)}
        self._firsts = dict.fromkeys(range(partitions), 0)
        self._times: dict[tuple[int, int], Micros] = {}  # of what other programs wrote, by partition and offset
        self._left = limit_bytes
        self._closed = False

    def append(self, partition: int, frames: Sequence[bytes]) -> int:
        check_frames(frames)
        return self._append(partition, frames)

    def write(self, partition: int, record: bytes, time: Micros = 0) -> int:
        """What another program does that writes into a log: anything may stand there, and came at a moment."""
        with self._changed:
            offset = self._append(partition, [record])
            self._times[partition, offset] = time
            return offset

    def _append(self, partition: int, frames: Sequence[bytes]) -> int:
        size = sum(map(len, frames))
        with self._changed:
            kept = self._of(partition)
            if size > self._left:
                raise Retry(
                    "the log in memory is full", hint="It takes more when what is stored has been cut", after=1.0
                )
            self._left -= size
            first = self._firsts[partition] + len(kept)
            kept.extend(frames)
            self._changed.notify_all()
            return first

    def read(self, partition: int, offset: int, limit_bytes: int, wait: float = 0.0) -> Sequence[Record]:
        deadline = time.monotonic() + wait
        with self._changed:
            kept = self._of(partition)
            while not self._closed:
                first = self._firsts[partition]
                if offset < first:
                    raise NotFound(
                        f"offset {offset} is no longer in the log", hint=f"It is kept from offset {first} on"
                    )
                if offset < first + len(kept):
                    return [
                        Record(at, frame, self._times.get((partition, at), 0))
                        for at, frame in _up_to(kept, offset, first, limit_bytes)
                    ]
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
        return ()

    def ends(self) -> Mapping[int, tuple[int, int]]:
        with self._changed:
            return {n: (self._firsts[n], self._firsts[n] + len(kept)) for n, kept in self._frames.items()}

    def cut(self, partition: int, below: int) -> None:
        with self._changed:
            kept = self._of(partition)
            gone = min(max(0, below - self._firsts[partition]), len(kept))
            self._left += sum(map(len, kept[:gone]))
            del kept[:gone]
            self._firsts[partition] += gone

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _of(self, partition: int) -> list[bytes]:
        if self._closed:
            raise Retry("the log is closed", hint="Its program is shutting down")
        if partition not in self._frames:
            raise NotFound(f"the log has no partition {partition}")
        return self._frames[partition]


def _up_to(kept: Sequence[bytes], offset: int, first: int, limit_bytes: int) -> list[tuple[int, bytes]]:
    records: list[tuple[int, bytes]] = []
    size = 0
    for i in range(offset - first, len(kept)):
        size += len(kept[i])
        if records and size > limit_bytes:
            break
        records.append((first + i, kept[i]))
    return records
