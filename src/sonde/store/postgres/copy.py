"""Arrow columns as PostgreSQL's own bytes: rows of a binary COPY, and arrays to be unnested. Nothing goes row by row.

All is made with fields of a fixed size first; then bytes of fields that are null are left out, and texts put in between.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format

from sonde.reading import TIME

HEAD: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TAIL: Final = b"\xff\xff"
_EPOCH: Final = 946_684_800_000_000  # microseconds from 1970 to PostgreSQL's year 2000
_NULL: Final = -1  # the length that says so

Bytes = npt.NDArray[np.uint8]


class Array:
    """A column as one parameter of a statement."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


@dataclass(frozen=True, slots=True)
class _Kind:
    """How values of an Arrow type are sent: as numbers of a format, or as texts (None)."""

    format: str | None
    oid: int
    array: type[Array]
    dumper: type[Dumper]


def _kind(format: str | None, oid: int, array_oid: int) -> _Kind:
    class OfOid(Array):
        __slots__ = ()

    class OfOidDumper(Dumper):
        def dump(self, obj: Any) -> Buffer | None:
            data: bytes = obj.data
            return data

    OfOidDumper.oid, OfOidDumper.format = array_oid, Format.BINARY
    return _Kind(format, oid, OfOid, OfOidDumper)


_KINDS: Final = {
    pa.bool_(): _kind("?", 16, 1000),
    pa.int8(): _kind(">i2", 21, 1005),
    pa.int16(): _kind(">i2", 21, 1005),
    pa.int32(): _kind(">i4", 23, 1007),
    pa.int64(): _kind(">i8", 20, 1016),
    pa.float64(): _kind(">f8", 701, 1022),
    TIME: _kind(">i8", 1184, 1185),
    pa.string(): _kind(None, 25, 1009),
    pa.binary(): _kind(None, 17, 1001),
}


def register(connection: psycopg.Connection[Any]) -> None:
    """Let ``connection`` take :class:`Array` as a parameter."""
    for kind in _KINDS.values():
        connection.adapters.register_dumper(kind.array, kind.dumper)


def arrays(table: pa.Table) -> dict[str, Array]:
    """Each column as an array, by name. The table has rows."""
    return {name: _array(table[name]) for name in table.column_names}


def copy_rows(table: pa.Table) -> bytes:
    """The rows of a table whose last column is text, and only that, as a binary COPY without its head and tail. Any column
    may have nulls."""
    *names, last = table.column_names
    fields: list[tuple[str, Any]] = [("fields", ">i2")]
    for name in names:
        fields += [(f"{name} length", ">i4"), (name, _KINDS[table[name].type].format)]
    rows = np.empty(len(table), np.dtype([*fields, ("length", ">i4")]))
    rows["fields"] = len(table.column_names)
    absent: list[tuple[int, int, npt.NDArray[np.bool_]]] = []
    for name in names:
        format, at = rows.dtype.fields[name] if rows.dtype.fields else (None, 0)  # type: ignore[misc]
        assert format is not None
        values, nulls = _numbers(table[name])
        rows[name] = values
        rows[f"{name} length"] = format.itemsize
        if nulls is not None:
            rows[f"{name} length"][nulls] = _NULL
            absent.append((at, at + format.itemsize, nulls))
    lengths, texts = _texts(table[last])
    rows["length"] = lengths
    return _put_between(rows, absent, np.maximum(lengths, 0), texts).tobytes()


def _array(column: pa.ChunkedArray) -> Array:
    kind = _KINDS[column.type]
    if kind.format is None:
        lengths, texts = _texts(column)
        rows = np.empty(len(column), np.dtype([("length", ">i4")]))
        rows["length"] = lengths
        content = _put_between(rows, [], np.maximum(lengths, 0), texts)
    else:
        values, nulls = _numbers(column)
        size = np.dtype(kind.format).itemsize
        rows = np.empty(len(column), np.dtype([("length", ">i4"), ("value", kind.format)]))
        rows["length"], rows["value"] = size, values
        absent = []
        if nulls is not None:
            rows["length"][nulls] = _NULL
            absent.append((4, 4 + size, nulls))
        content = _put_between(rows, absent, None, None)
    head = np.array([1, int(column.null_count > 0), kind.oid, len(column), 1], ">i4")
    return kind.array(head.tobytes() + content.tobytes())


def _numbers(column: pa.ChunkedArray) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
    """The values of a column, anything where they are null; and where that is, if it is anywhere."""
    nulls = column.is_null().to_numpy() if column.null_count else None
    is_time = column.type == TIME
    if is_time:
        column = column.cast(pa.int64())
    if nulls is not None:
        column = column.fill_null(False if column.type == pa.bool_() else 0)
    values = column.to_numpy()
    return values - _EPOCH if is_time else values, nulls


def _texts(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.int64], Bytes]:
    """The lengths of texts in bytes, −1 for null; and the bytes of all."""
    if column.null_count == len(column):
        return np.full(len(column), _NULL, np.int64), np.empty(0, np.uint8)
    filled = column.fill_null(b"" if column.type == pa.binary() else "")
    lengths, texts = _bytes_of(filled)
    if column.type == pa.string() and not texts.all():
        # U+0000, which PostgreSQL has not: it can only come in words about something, readings with it are refused
        lengths, texts = _bytes_of(pc.replace_substring(filled, "\0", "\ufffd"))
    if column.null_count:
        lengths[column.is_null().to_numpy()] = _NULL
    return lengths, texts


def _bytes_of(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.int64], Bytes]:
    lengths: list[npt.NDArray[np.int64]] = []
    texts: list[Bytes] = []
    for chunk in column.chunks:
        if len(chunk):
            _, places, content = chunk.buffers()
            ends = np.frombuffer(places, np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
            lengths.append(np.diff(ends).astype(np.int64))
            texts.append(np.frombuffer(content or b"", np.uint8)[ends[0] : ends[-1]])
    return np.concatenate(lengths), np.concatenate(texts)


def _put_between(
    rows: npt.NDArray[Any],
    absent: Iterable[tuple[int, int, npt.NDArray[np.bool_]]],
    lengths: npt.NDArray[np.int64] | None,
    texts: Bytes | None,
) -> Bytes:
    """The bytes of ``rows`` without those (first, end, of which rows) that are ``absent``, and behind each row its text."""
    plain = rows.view(np.uint8).reshape(len(rows), rows.dtype.itemsize)
    sizes = np.full(len(rows), rows.dtype.itemsize, np.int64)
    kept = None
    for first, end, nulls in absent:
        kept = np.ones(plain.shape, np.bool_) if kept is None else kept
        kept[nulls, first:end] = False
        sizes[nulls] -= end - first
    content: Bytes = plain.ravel() if kept is None else plain[kept]
    if texts is None or lengths is None or not len(texts):
        return content
    ends = np.cumsum(sizes + lengths)
    turns = np.column_stack([sizes, lengths]).ravel()
    is_text = np.repeat(np.tile(np.array([False, True]), len(rows)), turns)
    whole: Bytes = np.empty(ends[-1], np.uint8)
    whole[is_text], whole[~is_text] = texts, content
    return whole
