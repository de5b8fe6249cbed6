"""Rows as commands print and write them. Times are RFC 3339 in UTC; CSV gives a spreadsheet nothing to run."""

from collections.abc import Callable, Mapping
from typing import Final

import pyarrow as pa

from sonde.api.columns import json_rows, json_texts, time_texts
from sonde.api.export import arrow_bytes, csv_bytes, parquet_bytes


def json_bytes(rows: pa.Table) -> bytes:
    """An array with an object a row."""
    if not rows.num_columns:
        return b"[]\n"
    return json_rows({name: json_texts(rows.column(i)) for i, name in enumerate(rows.column_names)}) + b"\n"


FORMATS: Final[Mapping[str, Callable[[pa.Table], bytes]]] = {
    "json": json_bytes,
    "csv": csv_bytes,
    "arrow": arrow_bytes,
    "parquet": parquet_bytes,
}
BINARY: Final = frozenset({"arrow", "parquet"})


def cells(rows: pa.Table) -> list[list[object]]:
    """The values column by column, times as text."""
    return [
        (time_texts(column) if pa.types.is_timestamp(column.type) else column).to_pylist() for column in rows.columns
    ]
