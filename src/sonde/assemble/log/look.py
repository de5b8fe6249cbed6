"""Looking through a log: verify, tail, export. The server may go on writing it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet

from sonde.api.columns import json_texts, objects, raw_texts, value_texts
from sonde.api.export import csv_bytes
from sonde.assemble import extras
from sonde.assemble.intake import events_of
from sonde.assemble.keys.rings import has_keys, log_ring
from sonde.assemble.places import log_path
from sonde.config import Settings
from sonde.directory import DataDirectory
from sonde.entry import EntryKind
from sonde.errors import Damaged, Invalid, KeyMissing, Problem
from sonde.frame import Frame
from sonde.log.check import FROM_THE_FIRST, Progress, Verification, Where, check, frames, in_partition, unit_of
from sonde.log.uses import KeyUse, key_uses, uses_in
from sonde.log.walk import WalkedLog, verify
from sonde.moment import format_time
from sonde.ports import Log
from sonde.reading import SCHEMA

__all__ = ["FORMS", "Export", "LogView", "Place", "Verification", "lines", "table", "unit_of"]

FORMS: Final = ("jsonl", "csv", "parquet")
_PLACE: Final = pa.schema([("partition", pa.int32()), ("offset", pa.int64()), ("source", pa.string())])
_READING: Final = [pa.field(f.name, pa.string() if pa.types.is_dictionary(f.type) else f.type) for f in SCHEMA]
EXPORTED: Final = pa.schema([*_PLACE, *_READING])
"""The columns of an export: where the log has a reading and who sent it, then the reading."""


@dataclass(frozen=True, slots=True)
class Place:
    """One frame, opened, and where it is."""

    partition: int
    offset: int
    frame: Frame


class LogView:
    """A log that is looked at and not changed, in files or in Kafka; ``close`` it. :class:`NotFound` if there is none.

    Without keys it can be verified, so far as that goes; whatever has to be opened is :class:`KeyMissing`.
    """

    def __init__(self, directory: DataDirectory, settings: Settings) -> None:
        self._directory, self._settings = directory, settings
        self._ring = log_ring(directory, settings) if has_keys(directory, settings) else None
        self._log: Log
        if settings.topic is not None:
            self._log = extras.load("sonde.assemble.shared.brokers").open_log(settings, make_it=False)
            self._where: Where = in_partition
        else:
            walked = WalkedLog(log_path(directory, settings))
            self._log, self._where = walked, walked.place

    def verify(self, progress: Progress | None) -> Verification:
        """Every frame checked; opened too if the keys are here."""
        if self._settings.topic is not None:
            return check(self._log, self._ring, progress)
        return verify(log_path(self._directory, self._settings), self._ring, progress)

    def ends(self) -> Mapping[int, tuple[int, int]]:
        """For each partition, the first offset that is kept and the one after the last."""
        return self._log.ends()

    def frames(
        self,
        start: Mapping[int, int] = FROM_THE_FIRST,
        *,
        damaged: Callable[[Damaged], None] | None = None,
        progress: Progress | None = None,
    ) -> Iterator[Place]:
        """The frames from ``start`` on, opened, partition by partition, with what other programs wrote. Damage is raised, or
        told to ``damaged`` and passed over."""
        if self._ring is None:
            raise KeyMissing(str(self._directory.keys))
        found = frames(
            self._log,
            self._ring,
            start,
            where=self._where,
            damaged=damaged,
            events=events_of(self._settings),
            progress=progress,
        )
        return (Place(*each) for each in found)

    def key_uses(self, progress: Progress | None) -> Mapping[str, KeyUse]:
        """By key name, what of the log is sealed with it; no key is needed to know."""
        if self._settings.topic is not None:
            return uses_in(self._log, progress)
        return key_uses(log_path(self._directory, self._settings), progress)

    def close(self) -> None:
        self._log.close()


def lines(place: Place) -> list[bytes]:
    """A frame as JSON lines: one a reading, and one for each entry of another kind."""
    found: list[bytes] = []
    row = 0
    batch = place.frame.body.batch
    for entry in place.frame.body.entries:
        if entry.kind == EntryKind.READINGS and batch is not None:
            found += _reading_lines(_table(place, batch.columns.slice(row, entry.rows), entry.source))
            row += entry.rows
        else:
            found.append(msgspec.json.encode(_other(place, entry.kind, entry.source, entry.payload)) + b"\n")
    return found


def table(place: Place) -> pa.Table:
    """The readings of a frame, with :data:`EXPORTED`."""
    parts = [EXPORTED.empty_table()]
    row = 0
    batch = place.frame.body.batch
    for entry in place.frame.body.entries:
        if entry.kind == EntryKind.READINGS and batch is not None:
            parts.append(_table(place, batch.columns.slice(row, entry.rows), entry.source))
            row += entry.rows
    return pa.concat_tables(parts).combine_chunks()


class Export:
    """Writes frames to a file or standard output, in one of three forms; ``readings`` counts."""

    def __init__(self, out: Any, form: str) -> None:
        if form not in FORMS:
            raise Invalid(Problem(None, "--format", f"{form!r} is none of {', '.join(FORMS)}"))
        self._out, self._form = out, form
        self._parquet = pyarrow.parquet.ParquetWriter(out, EXPORTED, compression="zstd") if form == "parquet" else None
        self._began = False
        self.readings = 0

    def write(self, place: Place) -> None:
        self.readings += place.frame.body.readings
        if self._form == "jsonl":
            self._out.write(b"".join(lines(place)))
            return
        rows = table(place)
        if self._parquet is not None:
            if rows.num_rows:
                self._parquet.write_table(rows)
        elif rows.num_rows or not self._began:
            written = csv_bytes(rows)
            self._out.write(written if not self._began else written.partition(b"\n")[2])
            self._began = True

    def close(self) -> None:
        if self._parquet is not None:
            self._parquet.close()
        elif self._form == "csv" and not self._began:
            self._out.write(csv_bytes(EXPORTED.empty_table()))


def _table(place: Place, columns: pa.RecordBatch, source: str) -> pa.Table:
    rows = columns.num_rows
    where = [
        pa.repeat(pa.scalar(place.partition, pa.int32()), rows),
        pa.repeat(pa.scalar(place.offset, pa.int64()), rows),
        pa.repeat(pa.scalar(source, pa.string()), rows),
    ]
    plain = [column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column for column in columns.columns]
    return pa.Table.from_arrays([*where, *plain], schema=EXPORTED)


def _reading_lines(rows: pa.Table) -> list[bytes]:
    texts = objects(
        {
            "partition": json_texts(rows["partition"]),
            "offset": json_texts(rows["offset"]),
            "source": json_texts(rows["source"]),
            "device": json_texts(rows["device"]),
            "metric": json_texts(rows["metric"]),
            "site": json_texts(rows["site"]),
            "zone": json_texts(rows["zone"]),
            "labels": raw_texts(rows["labels"]),
            "time": json_texts(rows["time"]),
            "value": value_texts(rows["kind"], rows["value"], rows["text"]),
            "quality": json_texts(rows["quality"]),
            "event_id": json_texts(rows["event_id"]),
        }
    )
    return [line.encode() + b"\n" for line in texts.to_pylist()]


def _other(place: Place, kind: int, source: str, payload: Any) -> dict[str, Any]:
    return {
        "partition": place.partition,
        "offset": place.offset,
        "source": source,
        "kind": EntryKind(kind).name.lower(),
        "log_time": format_time(place.frame.header.log_time),
        "payload": payload,
    }
