"""A frame of one log, as it goes into the partitions of another: where each entry belongs (:mod:`sonde.routing`), and how it is
known again when it comes twice."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from sonde.entry import Body, Entry, EntryKind
from sonde.errors import Invalid
from sonde.judgement import parse
from sonde.process.identity import KEY_BYTES
from sonde.reading import Batch
from sonde.routing import CONTROL, homes_of, partition_of_lane, split
from sonde.sink.streams import copies

_EVERYWHERE: Final = frozenset(
    {EntryKind.RULE, EntryKind.ACKNOWLEDGEMENT, EntryKind.PURGE, EntryKind.SETTINGS, EntryKind.EXPIRY}
)
_LEFT_OUT: Final = frozenset({EntryKind.TICK, EntryKind.AUDIT})
"""Ticks; and anchors of an audit trail, which servers write anew for the trail that they have."""

_PLACES: Final[dict[str, Any]] = {"offsets": {}, "settled": []}
"""What findings say of places in their log. Without it, the owner of their rule looks once more at what late data changed."""


class Spread:
    """Spreads the frames of the log with an id over so many partitions. The log's time is left to whoever copies it."""

    def __init__(self, log: str, partitions: int) -> None:
        self._log, self._partitions = log.encode(), partitions

    def bodies(self, offset: int, body: Body) -> Mapping[int, Body]:
        """What of the frame at ``offset`` goes into which partition, in its order."""
        entries: dict[int, list[Entry]] = {}
        batches: dict[int, list[Batch]] = {}
        row = 0
        for position, entry in enumerate(body.entries):
            rows = body.batch.slice(row, entry.rows) if body.batch is not None and entry.rows else None
            row += entry.rows
            if entry.kind in _LEFT_OUT or _is_unnamed(entry):
                continue
            for partition, part, batch in self._parts(self._known_again(entry, offset, position), rows):
                entries.setdefault(partition, []).append(part)
                if batch is not None:
                    batches.setdefault(partition, []).append(batch)
        return {
            partition: Body(found, Batch.concat(batches[partition]) if partition in batches else None)
            for partition, found in entries.items()
        }

    def _parts(self, entry: Entry, rows: Batch | None) -> Iterator[tuple[int, Entry, Batch | None]]:
        """Where an entry goes, and what of it."""
        if entry.epoch:
            yield partition_of_lane(entry.source, entry.lane, self._partitions), entry, rows
            if entry.kind == EntryKind.PROFILE and isinstance(entry.payload, dict) and "device" in entry.payload:
                for partition, copied in copies(entry.source, [entry], self._partitions).items():
                    yield from ((partition, copy, None) for copy in copied)
        elif entry.kind in _EVERYWHERE:
            for partition in range(self._partitions):
                yield partition, entry, None
        elif rows is not None:
            for partition, part in split(rows, homes_of(rows, self._partitions)).items():
                yield partition, msgspec.structs.replace(entry, rows=len(part)), part
        else:
            yield CONTROL, entry, None

    def _known_again(self, entry: Entry, offset: int, position: int) -> Entry:
        """An entry that has no identity gets one from its place: copied twice, it counts once."""
        if entry.epoch or entry.key:
            return entry
        place = b" %d %d" % (offset, position)
        key = hashlib.sha256(b"copy\0" + self._log + place).digest()[:KEY_BYTES]
        payload = {**entry.payload, **_PLACES} if entry.kind == EntryKind.FINDINGS else entry.payload
        return msgspec.structs.replace(entry, key=key, payload=payload)


def _is_unnamed(entry: Entry) -> bool:
    """Whether an entry holds findings about series that it does not name: elsewhere they have other numbers. The owner of the
    rule finds the same again."""
    if entry.kind != EntryKind.FINDINGS:
        return False
    try:
        findings = parse(entry.payload)
    except Invalid:
        return True  # nobody could ever enter them
    named = {-1, *(series.id for series in findings.series)}
    return any(found.alert.series not in named for found in findings.found)
