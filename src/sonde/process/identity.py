"""Identities in sixteen bytes: of a node's entry, of a request, of a reading with an ``event_id``.

They are kept for days, so how they are made is part of the format of the data directory.
"""

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from sonde.entry import Entry
from sonde.reading import Batch

KEY_BYTES: Final = 16
_ODD: Final = np.uint64(0x9E3779B97F4A7C15)  # spreads bits; any odd number would do


def of_entry(entry: Entry) -> bytes | None:
    """The key of an entry; none if it has no identity and is new each time.

    A node's includes the digest: what a stream lacks is known from its seqs, the key only tells a repetition from another
    content under the same seq.
    """
    if entry.epoch:
        named = [entry.source, entry.epoch, entry.lane, entry.seq, entry.kind, entry.digest]
        return hashlib.sha256(b"node\0" + msgspec.msgpack.encode(named)).digest()[:KEY_BYTES]
    if not entry.key or len(entry.key) == KEY_BYTES:
        return entry.key or None
    return hashlib.sha256(b"request\0" + entry.key).digest()[:KEY_BYTES]


@dataclass(frozen=True, slots=True)
class EventKeys:
    """The identities of the rows that have an ``event_id``: row, key, digest of what the row says."""

    rows: npt.NDArray[np.int64]
    keys: Sequence[bytes]
    digests: Sequence[bytes]


def of_events(batch: Batch, wanted: npt.NDArray[np.bool_] | None) -> EventKeys | None:
    """The identities of ``batch``'s readings with an ``event_id``, among the ``wanted``; none if there are none."""
    ids = batch.columns.column("event_id")
    if ids.null_count == len(ids):
        return None
    there = ids.is_valid().to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(there if wanted is None else there & wanted)
    if not len(rows):
        return None
    chosen = batch.columns.take(rows)
    device = chosen.column("device")
    prefixes = [b"event\0" + name.encode() + b"\0" for name in device.dictionary.to_pylist()]
    sha256 = hashlib.sha256
    keys = [
        sha256(prefixes[d] + e.encode()).digest()[:KEY_BYTES]
        for d, e in zip(device.indices.to_pylist(), chosen.column("event_id").to_pylist(), strict=True)
    ]
    said = _said(Batch(chosen)).tobytes()
    return EventKeys(rows, keys, [said[i : i + 8] for i in range(0, len(said), 8)])


def _said(batch: Batch) -> npt.NDArray[np.uint64]:
    """Eight bytes for each reading's metric and value. Its time is left out: a reading without one gets another with each
    attempt."""
    columns = batch.columns
    metric = columns.column("metric")
    names = np.array([zlib.crc32(n.encode()) for n in metric.dictionary.to_pylist()], np.uint64)
    value = columns.column("value").fill_null(0.0).to_numpy(zero_copy_only=False).astype("<f8").view("<u8")
    said: npt.NDArray[np.uint64] = names[metric.indices.to_numpy()] * _ODD + value
    said = (said ^ (said >> np.uint64(29))) * _ODD + columns.column("kind").to_numpy().astype(np.uint64)
    text = columns.column("text")
    if text.null_count < len(text):
        crcs = [0 if t is None else zlib.crc32(t.encode()) + 1 for t in text.to_pylist()]
        with_text = (said ^ (said >> np.uint64(31))) * _ODD + np.array(crcs, np.uint64)
        said = np.where(text.is_valid().to_numpy(zero_copy_only=False), with_text, said)  # whatever comes beside it
    return said.astype("<u8")
