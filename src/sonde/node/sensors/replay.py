"""Files of readings, sent again as telemetry: columns are metrics, the times in the files are kept."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sonde.clock import Clock, SystemClock
from sonde.errors import Hold
from sonde.node.sensors.replay_part import part, recut
from sonde.node.sensors.replay_table import TableFile, pieces, trimmed, typed
from sonde.node.sensors.replay_time import Moments, Times
from sonde.ports import EndOfReadings
from sonde.reading import SCHEMA, Batch, Kind, Reading

CHUNK_ROWS: Final = 1_000
MAX_SPEED: Final = float("inf")
_TICK: Final = 0.2  # seconds of replay that one chunk covers when a speed is given
_TIME_NAMES: Final = ("time", "timestamp", "ts", "ts_event", "date", "datetime", "date_time", "_time")
_NAMES: Final = {"device": ("device", "device_id"), "site": ("site", "site_id"), "zone": ("zone", "zone_id")}
_METRIC: Final = ("metric", "sensor_type")


class ReplayOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How files are read. Empty: found by the columns' names. ``speed`` is how many times faster than it was."""

    device: str = ""
    site: str = ""
    zone: str = ""
    time_column: str = ""
    time_format: str = ""  # as strptime has it, for times that are not ISO 8601
    timezone: str = ""
    metrics: tuple[str, ...] = ()
    speed: float = MAX_SPEED
    loop: bool = False


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows of the files as readings; ``first`` is the earliest moment, ``blank`` the cells without a value."""

    batch: Batch
    rows: int
    blank: int
    first: int


class ReplaySource:
    """The readings in ``files``, in chunks that depend on nothing but the files' bytes and the options.

    So the same replay, run again, is all duplicates under its ``epoch``, and one that was interrupted goes on. Files are
    taken in the order of their first times. :class:`Hold` names what is wrong with them.
    """

    def __init__(self, files: Sequence[Path], options: ReplayOptions) -> None:
        if not files:
            raise Hold("there is nothing to replay", hint="Name a CSV or Parquet file")
        if not options.speed > 0:
            raise Hold(f"a speed of {options.speed} never ends", hint="Give a number above 0, or max")
        self._options = options
        tables = [TableFile.inspect(path) for path in files]
        starts = [next(self._rows_of(table), None) for table in tables]
        order = [i for i in range(len(tables)) if starts[i] is not None]
        order.sort(key=lambda i: (_first(starts[i]), files[i].name))
        self._tables = [tables[i] for i in order]
        self.rows = sum(table.rows for table in self._tables)
        self.epoch = self._epoch()

    def chunks(self) -> Iterator[Chunk]:
        """All readings; with ``loop`` for ever, each round later than the one before by the length of the whole."""
        shift = 0
        while True:
            first = last = None
            for moments, piece, table in self._pieces():
                first = int(moments[0]) if first is None else first
                last = int(moments.max()) if last is None else max(last, int(moments.max()))
                yield from self._cut(moments + shift, piece, table)
            if not self._options.loop or first is None or last is None:
                return
            shift += last - first + max(1, (last - first) // max(1, self.rows - 1))

    def _pieces(self) -> Iterator[tuple[Moments, pa.RecordBatch, TableFile]]:
        for table in self._tables:
            for moments, piece in self._rows_of(table):
                yield moments, piece, table

    def _rows_of(self, table: TableFile) -> Iterator[tuple[Moments, pa.RecordBatch]]:
        """Pieces of exactly CHUNK_ROWS rows, but for the last, with their moments."""
        column = self._time_column(table)
        times = Times(table.path.name, self._options.timezone, self._options.time_format)
        row = 1
        for piece in recut(pieces(table.path), CHUNK_ROWS):
            yield times.moments(piece.column(column), row), piece
            row += piece.num_rows

    def _cut(self, moments: Moments, piece: pa.RecordBatch, table: TableFile) -> Iterator[Chunk]:
        """A piece as one chunk, or with a speed as one for each tick of the replay."""
        bounds = [0, len(moments)]
        if self._options.speed != MAX_SPEED:
            ticks = moments // max(1, int(self._options.speed * _TICK * 1_000_000))
            bounds[1:1] = (np.flatnonzero(np.diff(ticks)) + 1).tolist()
        for start, end in pairwise(bounds):
            yield self._chunk(moments[start:end], piece.slice(start, end - start), table)

    def _chunk(self, moments: Moments, piece: pa.RecordBatch, table: TableFile) -> Chunk:
        names = {field: self._names(field, piece) for field in _NAMES}
        parts, cells = [], 0
        for metric, column, kind in self._metrics(piece, table):
            values = typed(piece.column(column), kind)
            if kind is Kind.NUMBER:
                values = pc.if_else(pc.is_finite(values), values, None)
            there = values.is_valid()
            cells += len(values)
            parts.append(part(names, metric, moments, values, kind, there))
        table_of_parts = pa.Table.from_batches(parts, SCHEMA).unify_dictionaries().combine_chunks()
        batch = Batch(next(iter(table_of_parts.to_batches()), pa.RecordBatch.from_pylist([], SCHEMA)))
        return Chunk(batch, piece.num_rows, cells - len(batch), int(moments.min()))

    def _names(self, field: str, piece: pa.RecordBatch) -> pa.Array:
        """The device, site or zone of each row: as the options say, as the file says, or the file's name."""
        given = getattr(self._options, field)
        column = _find(piece.schema.names, _NAMES[field])
        if not given and column is not None:
            return pc.fill_null(trimmed(piece.column(column)), "" if field != "device" else "unnamed")
        fallback = self._tables_name() if field == "device" else ""
        return pa.repeat(pa.scalar(given or fallback, pa.string()), piece.num_rows)

    def _tables_name(self) -> str:
        return (
            self._tables[0].path.stem
            if len(self._tables) == 1
            else self._tables[0].path.resolve().parent.name or "replay"
        )

    def _metrics(self, piece: pa.RecordBatch, table: TableFile) -> Iterator[tuple[pa.Array, str, Kind]]:
        """The metric's name in each row, the column of its values, and what that holds."""
        long = _find(piece.schema.names, _METRIC)
        if long is not None and "value" in table.columns and not self._options.metrics:
            yield trimmed(piece.column(long)), "value", table.columns["value"]
            return
        for column in self._options.metrics or self._value_columns(table):
            kind = table.columns[column]
            if kind is not Kind.NONE:
                yield pa.repeat(pa.scalar(column, pa.string()), piece.num_rows), column, kind

    def _value_columns(self, table: TableFile) -> list[str]:
        taken = {self._time_column(table)}
        taken |= {c for c in (_find(table.columns, names) for names in _NAMES.values()) if c is not None}
        return [name for name in table.columns if name not in taken]

    def _time_column(self, table: TableFile) -> str:
        missing = [name for name in self._options.metrics if name not in table.columns]
        if missing:
            raise Hold(f"{table.path} has no column {missing[0]!r}", hint=f"It has {', '.join(table.columns)}")
        found = self._options.time_column or _find(table.columns, _TIME_NAMES)
        if found is None or found not in table.columns:
            what = f"column {found!r}" if found else "column that looks like a time"
            raise Hold(
                f"{table.path} has no {what}", hint=f"Name one with --time-column; it has {', '.join(table.columns)}"
            )
        return found

    def _epoch(self) -> str:
        digest = hashlib.sha256(msgspec.json.encode(self._options))
        for table in self._tables:
            digest.update(table.path.name.encode() + b"\0")
            with table.path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()[:16]


class ReplaySensor:
    """A :class:`ReplaySource` as a sensor: at each read, what would have come since the last one."""

    def __init__(self, source: ReplaySource, speed: float, *, clock: Clock | None = None) -> None:
        self._chunks = source.chunks()
        self._speed = speed
        self._clock = clock or SystemClock()
        self._next: Chunk | None = next(self._chunks, None)
        self._began = self._clock.monotonic()
        self._origin = self._next.first if self._next else 0

    def read(self) -> Sequence[Reading]:
        if self._next is None:
            raise EndOfReadings
        reached = self._origin + (self._clock.monotonic() - self._began) * self._speed * 1_000_000
        found: list[Reading] = []
        while self._next is not None and self._next.first <= reached and len(found) < CHUNK_ROWS:
            found += self._next.batch.readings()
            self._next = next(self._chunks, None)
        return found

    def close(self) -> None:
        self._chunks.close() if hasattr(self._chunks, "close") else None


def _find(columns: Sequence[str] | dict[str, Kind], names: Sequence[str]) -> str | None:
    """The first column that has one of these names, in any case."""
    lower = {column.lower(): column for column in columns}
    return next((lower[name] for name in names if name in lower), None)


def _first(start: tuple[Moments, pa.RecordBatch] | None) -> int:
    return int(start[0][0]) if start is not None and len(start[0]) else 0
