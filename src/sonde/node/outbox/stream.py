"""Where one lane of an outbox stands."""

import zlib
from dataclasses import dataclass


@dataclass(slots=True)
class Lane:
    """``seq`` and ``confirmed`` count from the beginning of the file; on the wire ``base_seq`` and ``base_count`` are
    taken off, which are not 0 only after an old copy of the file was put back. What waits is counted besides."""

    lane: int
    seq: int = 0
    count: int = 0
    confirmed: int = 0
    base_seq: int = 0
    base_count: int = 0
    entries: int = 0
    readings: int = 0
    bytes: int = 0

    def checksum(self, epoch: str) -> int:
        """Over all that is kept on disk."""
        fields = (self.lane, self.seq, self.count, self.confirmed, self.base_seq, self.base_count, epoch)
        return zlib.crc32(repr(fields).encode())
