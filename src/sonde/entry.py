"""What a frame carries: entries, and the rows of all its readings in one batch.

Readings, profiles, commands, rules: whatever the store knows, it knows from entries in the log. The numbers of the
kinds are part of the format and never change their meaning.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import msgspec
import pyarrow as pa

from sonde.errors import Invalid, Problem
from sonde.reading import Batch, decode, encode

CONFIG: Final = "config"
"""The source of entries that say what the configuration says."""


class EntryKind(IntEnum):
    """What an entry is."""

    READINGS = 1  # rows of the frame's batch; no payload
    TOMBSTONE = 2  # {"until": seq, "readings": n, "reason": text}: these seqs of the stream will never come
    PROFILE = 3  # a device's profile
    COMMAND = 4  # a command accepted, or a step of one
    RULE = 5  # {"id": …, "rule": {…} or null, "who": …}: an alert rule is set, or removed
    ACKNOWLEDGEMENT = 6  # {"alert": id, "action": acknowledge | shelve, "who": …, "why": …, "until": µs of a shelf}
    PURGE = 7  # {"device": pattern or null, "metric": pattern or null, "before": µs or null, …}: sonde.removal
    COUNTERS = 8  # {"refused": {reason: readings}, …} of one source, since its last counters
    TICK = 9  # nothing but its log time
    SETTINGS = 10  # what results depend on: {"windows": [seconds], "future_limit": seconds, "partitions": n, …}
    AUDIT = 11  # {"number": n, "hash": hex}: the newest act of the audit trail, an anchor for whoever verifies it
    EXPIRY = 12  # {"what": readings | windows | alerts, "before": µs, …}: a floor rises: sonde.removal
    FINDINGS = 13  # what the owner of a rule over windows found: sonde.judgement.Findings


class Lane(IntEnum):
    """The lanes of a node; anonymous readings come in ``DIRECT``."""

    DIRECT = 0
    CONTROL = 1
    LIVE = 2
    BACKLOG = 3


class Entry(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """One thing that one source sent.

    From a node: ``(source, epoch, lane, seq)`` is its identity and ``count`` is the number of readings in that stream up
    to and including this entry. Anonymous: ``key`` is its identity (empty: it has none, each is new). ``digest`` is that
    of the content, so that the same identity with another content is seen.
    """

    kind: int
    source: str = ""
    rows: int = 0
    digest: bytes = b""
    key: bytes = b""
    lane: int = Lane.DIRECT
    epoch: str = ""
    seq: int = 0
    count: int = 0
    payload: Any = None


@dataclass(frozen=True, slots=True)
class Body:
    """The entries of a frame; the batch holds the rows of the first entry, then those of the second, and so on."""

    entries: Sequence[Entry]
    batch: Batch | None = None

    @property
    def readings(self) -> int:
        return len(self.batch) if self.batch is not None else 0


_LENGTHS: Final = struct.Struct("<II")  # of the entries (MessagePack), of the batch (0: none)
_encode_entries = msgspec.msgpack.Encoder().encode
_decode_entries = msgspec.msgpack.Decoder(list[Entry]).decode


def encode_body(body: Body) -> bytes:
    """``body`` in bytes, not compressed; the batch starts at a multiple of eight."""
    entries = _encode_entries(list(body.entries))
    batch = encode(body.batch) if body.batch is not None and len(body.batch) else b""
    padding = -(_LENGTHS.size + len(entries)) % 8
    return b"".join((_LENGTHS.pack(len(entries), len(batch)), entries, bytes(padding), batch))


def decode_entries(data: bytes | memoryview | pa.Buffer) -> list[Entry]:
    """Only the entries of the body that ``data`` holds, or :class:`Invalid`: a quarter of the time, where frames are small."""
    return _entries(memoryview(data))[0]


def _entries(view: memoryview) -> tuple[list[Entry], int, int]:
    """The entries, and the bytes that they and the batch have."""
    try:
        length, batch_length = _LENGTHS.unpack_from(view)
        entries = _decode_entries(view[_LENGTHS.size : _LENGTHS.size + length])
    except (struct.error, msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Invalid(Problem(None, "body", f"not the body of a frame ({error})"), syntax=True) from None
    return entries, length, batch_length


def decode_body(data: bytes | memoryview | pa.Buffer) -> Body:
    """The body that ``data`` holds, or :class:`Invalid`."""
    view = memoryview(data)
    entries, length, batch_length = _entries(view)
    start = _LENGTHS.size + length
    start += -start % 8
    if len(view) != start + batch_length:
        raise Invalid(
            Problem(None, "body", f"{len(view)} bytes where {start + batch_length} were announced"), syntax=True
        )
    batch = decode(view[start:]) if batch_length else None
    rows = sum(entry.rows for entry in entries)
    if rows != (len(batch) if batch is not None else 0) or any(entry.rows < 0 for entry in entries):
        raise Invalid(Problem(None, "body", f"its entries announce {rows} readings and it holds another number"))
    return Body(entries, batch)
