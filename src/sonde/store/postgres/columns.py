"""What PostgreSQL answers, as Arrow columns: fetched in binary, taken apart by the driver's own code, a column at a time."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from psycopg import Connection, RawCursor
from psycopg.adapt import AdaptersMap
from psycopg.pq import Format
from psycopg.types.numeric import Int8BinaryLoader

from sonde.reading import TIME

_EPOCH: Final = pa.scalar(946_684_800_000_000, pa.int64())  # PostgreSQL counts from 2000
_FOREVER: Final = pa.array([2**63 - 1, -(2**63)], pa.int64())
_TIMESTAMP, _TIMESTAMPTZ, _NUMERIC = 1114, 1184, 1700
_TYPES: Final[Mapping[int, pa.DataType]] = {
    16: pa.bool_(),
    20: pa.int64(),
    21: pa.int16(),
    23: pa.int32(),
    25: pa.string(),
    700: pa.float32(),
    701: pa.float64(),
    1042: pa.string(),
    1043: pa.string(),
    1082: pa.date32(),
    _TIMESTAMP: pa.timestamp("us"),
    _TIMESTAMPTZ: TIME,
}
SHOWN: Final = frozenset({*_TYPES, _NUMERIC})
"""The types (by PostgreSQL's number) that :func:`column_of` has a column for; others have to be cast to text."""
_TINY: Final = frozenset({"kind", "quality"})  # as they are everywhere else


def cursor_of(connection: Connection[Any]) -> RawCursor[tuple[Any, ...]]:
    """A cursor for statements with ``$1``, whose answers are binary and whose times are numbers."""
    cursor = RawCursor(connection)
    _let_times_be(cursor.adapters)
    cursor.format = Format.BINARY
    return cursor


def fetch(connection: Connection[Any], text: str, values: Sequence[object] = ()) -> pa.Table:
    """The rows of one select."""
    with cursor_of(connection) as cursor:
        cursor.execute(text.encode(), list(values), binary=True)
        assert cursor.description is not None, "a select has columns"
        described = [(column.name, column.type_code) for column in cursor.description]
        return table_of(described, cursor.fetchall())


def table_of(described: Sequence[tuple[str, int]], rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    """Rows in columns; ``described`` names each column and its type."""
    values: Iterable[Sequence[Any]] = zip(*rows, strict=True) if rows else [()] * len(described)
    columns = [column_of(name, oid, column) for (name, oid), column in zip(described, values, strict=True)]
    return pa.Table.from_arrays(columns, names=[name for name, _ in described])


def column_of(name: str, oid: int, values: Sequence[Any]) -> pa.Array:
    """One column."""
    if oid in _TIMES:
        return _TIMES[oid](values)
    if oid == _NUMERIC:
        return _numbers(values)
    if name in _TINY and oid in {20, 21, 23}:
        return pa.array(values, pa.int8())
    return pa.array(values, _TYPES[oid])


def _times(values: Sequence[int | None]) -> pa.Array:
    """What has no end becomes null."""
    since = pa.array(values, pa.int64())
    if pc.any(pc.is_in(since, _FOREVER)).as_py():
        since = pc.if_else(pc.is_in(since, _FOREVER), pa.scalar(None, pa.int64()), since)
    return pc.add(since, _EPOCH)


_TIMES: Final[Mapping[int, Callable[[Sequence[int | None]], pa.Array]]] = {
    _TIMESTAMP: lambda values: _times(values).cast(pa.timestamp("us")),
    _TIMESTAMPTZ: lambda values: _times(values).cast(TIME),
}


def _numbers(values: Sequence[Any]) -> pa.Array:
    """Decimals: whole ones as integers, others as they are; what fits in no decimal of Arrow's as floats."""
    known = [value for value in values if value is not None]
    if all(value.is_finite() and value == value.to_integral_value() and abs(value) < 2**63 for value in known):
        return pa.array([None if value is None else int(value) for value in values], pa.int64())
    try:
        return pa.array(values)
    except pa.ArrowException:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())


def _let_times_be(adapters: AdaptersMap) -> None:
    for name in ("timestamp", "timestamptz"):
        adapters.register_loader(name, Int8BinaryLoader)
