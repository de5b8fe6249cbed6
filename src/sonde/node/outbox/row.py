"""One row of an outbox file: an entry, sealed, and what must be known of it without opening it."""

import threading
from pathlib import Path
from typing import Final, NamedTuple

from sonde.clock import Micros
from sonde.entry import Body, Entry, encode_body
from sonde.errors import Damaged, Invalid, KeyRetired
from sonde.frame import Opener, Sealer
from sonde.keyring import Keys
from sonde.node.outbox import tombstone

_PAGE: Final = 4096
_ROW: Final = 120  # bytes of a row besides its frame
_LANE_BITS: Final = 48  # an id is lane and seq in one number, so that a lane lies together


class Row(NamedTuple):
    """``seq`` counts from the beginning of the file, whatever the epoch; ``total`` is the readings up to and including
    this one; ``cost`` is what the row takes on disk."""

    lane: int
    seq: int
    until: int
    kind: int
    readings: int
    total: int
    digest: bytes
    time: Micros
    size: int  # of the content
    cost: int
    frame: bytes

    @property
    def id(self) -> int:
        return row_id(self.lane, self.seq)


def row_id(lane: int, seq: int) -> int:
    return (lane << _LANE_BITS) | seq


def seq_of(row: int) -> int:
    return row & ((1 << _LANE_BITS) - 1)


def lane_of(row: int) -> int:
    return row >> _LANE_BITS


def cost_of(frame: bytes) -> int:
    """Roughly the bytes that SQLite needs for a row with this frame."""
    size = len(frame) + _ROW
    return size if size < _PAGE // 4 else -(-size // _PAGE) * _PAGE


def seal(
    sealer: Sealer, lane: int, seq: int, until: int, kind: int, readings: int, total: int, content: bytes, now: Micros
) -> Row:
    """An entry as a row. What the columns say stands inside the seal too, so a change of either is seen."""
    digest = tombstone.digest_of(content)
    entry = Entry(kind, lane=lane, seq=seq, count=total, digest=digest, key=until.to_bytes(8, "big"), payload=content)
    frame = sealer.seal_encoded(encode_body(Body([entry])), 1, readings, now)
    return Row(lane, seq, until, kind, readings, total, digest, now, len(content), cost_of(frame), frame)


class Reader:
    """Opens rows; any thread may."""

    def __init__(self, ring: Keys, path: Path) -> None:
        self._ring = ring
        self._path = path
        self._own = threading.local()

    def content(self, row: Row) -> bytes:
        """What was put. :class:`Damaged` if the row does not hold what was written, :class:`KeyMissing`."""
        opener = getattr(self._own, "opener", None)
        if opener is None:
            opener = self._own.opener = Opener(self._ring)
        place = f"{self._path} ({tombstone.LANES[row.lane]} {row.seq})"
        try:
            frame = opener.open(row.frame, file=place)
        except (Invalid, KeyRetired, TypeError, ValueError) as error:
            raise Damaged(str(error), file=place, offset=0) from None
        entry = frame.body.entries[0]
        said = (row.lane, row.seq, row.kind, row.readings, row.total, row.digest, row.until.to_bytes(8, "big"))
        sealed = (entry.lane, entry.seq, entry.kind, frame.header.readings, entry.count, entry.digest, entry.key)
        if said != sealed or not isinstance(entry.payload, bytes) or len(entry.payload) != row.size:
            raise Damaged("a row does not say what is sealed in it", file=place, offset=0)
        return entry.payload
