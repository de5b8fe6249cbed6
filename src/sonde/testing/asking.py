"""Asking a store: what contracts and tests share."""

from typing import Any

import pyarrow as pa

from sonde.ports import Store
from sonde.question import Question
from sonde.reading import TIME


def rows_of(store: Store, question: Question) -> list[dict[str, Any]]:
    """The rows of an answer, times in microseconds."""
    rows = store.ask(question).rows
    plain = {n: rows[n].cast(pa.int64()) if rows[n].type == TIME else rows[n] for n in rows.column_names}
    return list(pa.table(plain).to_pylist())


def tidy(store: Store) -> None:
    """All housekeeping that there is."""
    while store.maintain():
        pass


def micros(column: pa.ChunkedArray) -> list[Any]:
    """The values of a column, times in microseconds."""
    return list((column.cast(pa.int64()) if column.type == TIME else column).to_pylist())
