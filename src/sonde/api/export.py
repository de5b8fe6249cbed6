"""Rows as files that other programs open: CSV, Parquet, an Arrow stream."""

import io
from typing import Final, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from sonde.api.columns import time_texts

CSV: Final = "text/csv"
PARQUET: Final = "application/vnd.apache.parquet"
ARROW: Final = "application/vnd.apache.arrow.stream"

_FORMULA: Final = r"^[=+\-@\t\r\n]"  # what a spreadsheet would run, or take for a new cell


def csv_bytes(rows: pa.Table) -> bytes:
    """CSV (RFC 4180) with a header. Text that a spreadsheet would run as a formula gets an apostrophe before it."""
    columns = [_plain(rows[name]) for name in rows.column_names]
    out = io.BytesIO()
    pyarrow.csv.write_csv(pa.table(columns, names=rows.column_names), out)
    return out.getvalue()


def parquet_bytes(rows: pa.Table) -> bytes:
    """One Parquet file, zstd."""
    out = io.BytesIO()
    pyarrow.parquet.write_table(rows, out, compression="zstd")
    return out.getvalue()


def arrow_bytes(rows: pa.Table) -> bytes:
    """An Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    return cast(bytes, sink.getvalue().to_pybytes())


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    if pa.types.is_timestamp(column.type):
        return time_texts(column)
    if pa.types.is_dictionary(column.type):
        column = column.cast(pa.string())
    if not pa.types.is_string(column.type):
        return column
    defused = pc.binary_join_element_wise("'", column, "")
    return pc.if_else(pc.match_substring_regex(column, _FORMULA), defused, column)
