"""Looking through a log: verify, tail, export. The server may go on writing it."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet

from sonde.api.columns import json_texts, objects, raw_texts, value_texts
from sonde.api.export import csv_bytes
from sonde.assemble import extras
from sonde.assemble.keys import log_ring
from sonde.assemble.places import log_path
from sonde.config import Settings
from sonde.directory import DataDirectory
from sonde.entry import EntryKind
from sonde.errors import Invalid, KeyMissing, Problem
from sonde.frame import Frame
from sonde.keyring import KeyRing
from sonde.log import walk
from sonde.log.check import check
from sonde.log.walk import Progress, Verification
from sonde.moment import format_time
from sonde.reading import SCHEMA

__all__ = ["FORMS", "Export", "Place", "Verification", "lines", "log_ends", "log_frames", "table", "verify_log"]

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


def opening_ring(directory: DataDirectory, settings: Settings) -> KeyRing:
    """The keys that open the log. :class:`KeyMissing` if there are none."""
    if not _has_keys(directory, settings):
        raise KeyMissing(str(directory.keys))
    return log_ring(directory, settings)


def verify_log(directory: DataDirectory, settings: Settings, progress: Progress | None) -> Verification:
    """Every frame checked; opened too if the keys are here."""
    ring = log_ring(directory, settings) if _has_keys(directory, settings) else None
    if settings.topic is not None:
        with closing(extras.load("sonde.assemble.brokers").open_log(settings)) as topic:
            return check(topic, ring, progress)
    return walk.verify(log_path(directory, settings), ring, progress)


def log_ends(directory: DataDirectory, settings: Settings) -> Mapping[int, tuple[int, int]]:
    """For each partition, the first offset that is kept and the one after the last."""
    return walk.ends(log_path(directory, settings))


def log_frames(directory: DataDirectory, settings: Settings, start: Mapping[int, int]) -> Iterator[Place]:
    """The frames from ``start`` on, opened, partition by partition. :class:`Damaged` where the log is damaged."""
    found = walk.frames(log_path(directory, settings), opening_ring(directory, settings), start)
    return (Place(*each) for each in found)


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


def _has_keys(directory: DataDirectory, settings: Settings) -> bool:
    return bool(settings.log.encryption_key.get_secret_value()) or directory.keys.exists()


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
        "offset": place.offset,
        "source": source,
        "kind": EntryKind(kind).name.lower(),
        "log_time": format_time(place.frame.header.log_time),
        "payload": payload,
    }
