"""Parts: sealed Parquet files, sorted, that anything can open.

A part is written under a temporary name, synced and renamed, and is nobody's until the database lists it: a crash in
between leaves a stray file, which the next start removes.
"""

# ruff: noqa: S608 - names of tables and columns are Sonde's own; values go as parameters

import hashlib
import os
import secrets
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sonde.changes import READINGS, WINDOWS
from sonde.clock import DAY
from sonde.errors import Damaged
from sonde.files import sync_directory
from sonde.reading import NAMES, TIME
from sonde.store.engine import Connection, fetch
from sonde.store.hidden import Hidden, Purged
from sonde.store.layout import FIELDS, Layout
from sonde.store.part import Content, Part
from sonde.store.schema import PARTS, columns_of
from sonde.store.views import LAST_OF

ROW_GROUP: Final = 65_536
CHUNK: Final = 500_000  # rows sorted at once
SPARSE: Final = 100_000  # adjacent days share a part up to so many rows
LARGEST: Final = 8_000_000  # rows; larger parts are not merged again
FAN_IN: Final = 4  # parts of one size that make a merge

_NAME = pa.dictionary(pa.int32(), pa.string())
SCHEMAS: Final = {
    "readings": pa.schema([*READINGS, *((name, _NAME) for name in NAMES)]),
    "windows": pa.schema([*WINDOWS, ("gen", pa.int32()), *((name, _NAME) for name in NAMES)]),
}
_ORDER: Final = {"readings": "series, time", "windows": "width, series, start"}
_DELTA: Final = {"readings": ("series", "time"), "windows": ("series", "start", "last_time", "count", "width")}
_MOMENT: Final = {"readings": "time", "windows": "start"}


@dataclass(frozen=True, slots=True)
class Origin:
    """The stretch of the log that rows came from, and the parts that a merge supersedes."""

    first_offset: int
    next_offset: int
    supersedes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Series ``first`` to ``last``, of one ``width`` if it is of windows."""

    width: int
    first: int
    last: int


class Writer:
    """Writes rows that a select gives as parts of one folder.

    ``series`` has the names of all series, with ``id`` ascending from 0 or with gaps.
    """

    def __init__(self, folder: Path, cursor: Connection, series: pa.Table) -> None:
        self._folder, self._cursor = folder, cursor
        ids = series["id"].to_numpy()
        self._row_of = np.full(int(ids.max()) + 1 if len(ids) else 0, -1, np.int32)
        self._row_of[ids] = np.arange(len(ids), dtype=np.int32)
        self._names: list[tuple[pa.Array, pa.Array]] = []
        for name in NAMES:
            encoded = series[name].combine_chunks().dictionary_encode()
            self._names.append((encoded.indices, encoded.dictionary))

    def write(self, content: Content, source: str, origin: Origin) -> list[Part]:
        """Parts with all rows of ``source``, one a day; sparse days share one."""
        moment = _MOMENT[content]
        days = fetch(
            self._cursor,
            f"select epoch_us({moment}) // {DAY} as day, count(*) as rows from ({source}) group by 1 order by 1",
        )
        spans = spans_of(list(zip(days["day"].to_pylist(), days["rows"].to_pylist(), strict=True)))
        whole = len(spans) == 1
        written = []
        for first, last in spans:
            where = (
                ""
                if whole
                else (
                    f"where {moment} >= make_timestamptz({first * DAY}) and {moment} < make_timestamptz({(last + 1) * DAY})"
                )
            )
            written.append(self._write_one(content, f"select * from ({source}) {where}", origin, first))
        if written:
            sync_directory(self._folder)
        return written

    def merge(self, content: Content, source: str, origin: Origin, day: int) -> Part:
        """One part with all rows of ``source``; windows that are in several of them become one row."""
        part = self._write_one(content, _merged(source) if content == "windows" else source, origin, day)
        sync_directory(self._folder)
        return part

    def _write_one(self, content: Content, source: str, origin: Origin, day: int) -> Part:
        date = np.datetime64(day, "D")
        name = f"{content}-{date}-{origin.first_offset}-{origin.next_offset}-{secrets.token_hex(4)}.parquet"
        temporary = self._folder / f".{name}.tmp"
        try:
            bounds = self._write_rows(content, source, origin, temporary)
            size, checksum = _sync_and_sum(temporary)
            temporary.rename(self._folder / name)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return Part(
            name,
            content,
            *bounds[:1],
            size,
            checksum,
            *bounds[1:],
            origin.first_offset,
            origin.next_offset,
            origin.supersedes,
        )

    def _write_rows(self, content: Content, source: str, origin: Origin, path: Path) -> tuple[int, int, int, int, int]:
        """Write the rows in order; how many, the first and last time, the least and greatest series."""
        schema, moment = SCHEMAS[content], _MOMENT[content]
        about = {
            "sonde": msgspec.json.encode(
                {"supersedes": origin.supersedes, "offsets": [origin.first_offset, origin.next_offset]}
            ).decode()
        }
        plain = _DELTA[content]
        rows, times, series = 0, [], []
        with pq.ParquetWriter(
            path,
            schema.with_metadata(about),
            compression="zstd",
            use_dictionary=[name for name in schema.names if name not in plain],
            column_encoding=dict.fromkeys(plain, "DELTA_BINARY_PACKED"),
            write_page_checksum=True,
            data_page_version="2.0",
        ) as writer:
            for chunk in self._chunks(content, source):
                table = self._named(self._sorted(content, source, chunk), schema)
                writer.write_table(table, row_group_size=ROW_GROUP)
                rows += len(table)
                stamps = table[moment].cast(pa.int64()).to_numpy()
                times += [int(stamps.min()), int(stamps.max())]
                series += [chunk.first, chunk.last]
        return rows, min(times), max(times), min(series), max(series)

    def _chunks(self, content: Content, source: str) -> Iterator[_Chunk]:
        """Stretches of series of about :data:`CHUNK` rows each, so that a sort is small."""
        width = "width" if content == "windows" else "0"
        counted = fetch(
            self._cursor,
            f"select {width} as width, series, count(*) as rows from ({source}) group by 1, 2 order by 1, 2",
        )
        open_chunk: _Chunk | None = None
        size = 0
        for w, series, rows in zip(*(counted[c].to_pylist() for c in ("width", "series", "rows")), strict=True):
            if open_chunk is not None and (w != open_chunk.width or size + rows > CHUNK):
                yield open_chunk
                open_chunk = None
            size = rows if open_chunk is None else size + rows
            open_chunk = _Chunk(w, series if open_chunk is None else open_chunk.first, series)
        if open_chunk is not None:
            yield open_chunk

    def _sorted(self, content: Content, source: str, chunk: _Chunk) -> pa.Table:
        of_width = f" and width = {chunk.width}" if content == "windows" else ""
        gen = ", gen" if content == "windows" else ""
        return fetch(
            self._cursor,
            f"select {FIELDS[content]}{gen} from ({source}) where series between {chunk.first} and {chunk.last}{of_width}"
            f" order by {_ORDER[content]}",
        )

    def _named(self, table: pa.Table, schema: pa.Schema) -> pa.Table:
        """``table`` with the names of its series, so that a part can be read alone."""
        at = pa.array(self._row_of[table["series"].to_numpy()])
        names = [pa.DictionaryArray.from_arrays(indices.take(at), words) for indices, words in self._names]
        return pa.table([*(table[name] for name in schema.names[: -len(NAMES)]), *names], schema=schema)


def _merged(source: str) -> str:
    rank = "epoch_us(last_time)::hugeint * 4294967296 + gen"
    return f"""select series, width, start, sum(count)::bigint as count, sum(sum) as sum, min(min) as min, max(max) as max,
      {LAST_OF} as last, max(last_time) as last_time, arg_max(gen, {rank}) as gen
      from ({source}) group by series, width, start"""


def spans_of(days: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """First and last day of each part, for days (ascending) with their numbers of rows.

    A day has a part of its own, but days that together have few rows share one: within a month, or any number of days
    if they are very few rows, so that one reading a year does not make a file a year.
    """
    spans: list[list[int]] = []
    held = 0
    for day, rows in days:
        few = held + rows <= SPARSE
        if spans and few and (day - spans[-1][0] < 31 or held + rows <= SPARSE // 10):
            spans[-1][1] = day
            held += rows
        else:
            spans.append([day, day])
            held = rows
    return [(first, last) for first, last in spans]


def choose_merge(parts: Iterable[Part]) -> list[Part]:
    """Parts worth merging: at least :data:`FAN_IN` of one content, one day and one size; of sparse ones, of one month."""
    groups: dict[tuple[str, int, int], list[Part]] = defaultdict(list)
    for part in parts:
        if part.rows < LARGEST:
            tier = max(0, (part.rows // SPARSE).bit_length() + 1) // 2
            day = part.min_time // DAY
            groups[part.content, tier, day if tier else day // 30].append(part)
    chosen: list[Part] = []
    rows = 0
    for part in max(groups.values(), key=len, default=[]):
        if len(chosen) < FAN_IN * 4 and rows + part.rows <= LARGEST * 2:
            chosen.append(part)
            rows += part.rows
    return chosen if len(chosen) >= FAN_IN else []


def check_size(folder: Path, part: Part) -> None:
    """:class:`Damaged` unless the file of ``part`` is there and as long as it was."""
    path = folder / part.name
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise Damaged("a part is missing", file=str(path), offset=0, hint="Rebuild the store from the log") from None
    if size != part.bytes:
        raise Damaged(
            f"a part has {size} bytes and was written with {part.bytes}",
            file=str(path),
            offset=min(size, part.bytes),
            hint="Rebuild the store from the log",
        )


def check_content(folder: Path, part: Part) -> None:
    """:class:`Damaged` unless the file of ``part`` holds, to the byte, what was written."""
    check_size(folder, part)
    with (folder / part.name).open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    if checksum != part.checksum:
        raise Damaged(
            "a part does not hold what was written to it",
            file=str(folder / part.name),
            offset=0,
            hint="Rebuild the store from the log",
        )


def list_parts(cursor: Connection, parts: Iterable[Part]) -> None:
    """Put parts into the table ``parts``: from the end of the transaction on, they count."""
    rows = [
        {**{name: getattr(p, name) for name in PARTS.names}, "supersedes": msgspec.json.encode(p.supersedes).decode()}
        for p in parts
    ]
    if rows:
        cursor.register("listed", pa.Table.from_pylist(rows, PARTS))
        cursor.execute("insert into store.parts select * from listed")
        cursor.unregister("listed")


def parts_in(table: pa.Table) -> tuple[Part, ...]:
    """The parts that rows of the table ``parts`` list."""
    plain = pa.table({n: table[n].cast(pa.int64()) if table[n].type == TIME else table[n] for n in table.schema.names})
    return tuple(
        Part(**{**row, "supersedes": tuple(msgspec.json.decode(row["supersedes"]))}) for row in plain.to_pylist()
    )


def read_layout(cursor: Connection, folder: Path | None) -> Layout:
    """Where everything lies, as ``cursor`` sees it."""
    version = cursor.execute("select version from store.layout").fetchall()[0][0]
    generations = cursor.execute("select content, number from store.generations order by number").fetchall()
    return Layout(
        version=version,
        readings=tuple(number for content, number in generations if content == "readings"),
        windows=tuple(number for content, number in generations if content == "windows"),
        parts=parts_in(fetch(cursor, f"select {columns_of(PARTS)} from store.parts order by min_time, name")),
        folder=folder,
        hidden=read_hidden(cursor),
    )


def read_hidden(cursor: Connection) -> Hidden:
    """What is not shown any more, as ``cursor`` sees it."""
    floors = cursor.execute("select name, body from store.definitions where kind = 'floor'").fetchall()
    purges = fetch(
        cursor, "select number, place, epoch_us(before) as before, everything from store.purges order by number"
    )
    return Hidden(
        {name: msgspec.json.decode(body)["before"] for name, body in floors},
        tuple(Purged(**row) for row in purges.to_pylist()),
    )


def remove_strays(folder: Path, known: Iterable[str]) -> list[str]:
    """Delete the files in ``folder`` that are none of ``known``; their names."""
    keep = set(known)
    strays = sorted(path.name for path in folder.iterdir() if path.name not in keep)
    for name in strays:
        (folder / name).unlink(missing_ok=True)
    return strays


def _sync_and_sum(path: Path) -> tuple[int, str]:
    """Make a file durable; its size and SHA-256."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
        return os.fstat(file.fileno()).st_size, checksum
