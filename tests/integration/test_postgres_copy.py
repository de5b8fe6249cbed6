"""Columns as PostgreSQL's own bytes: what goes in comes out, whatever is null, long, odd or far away."""

import math
from collections.abc import Iterator
from typing import Any, Final

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sonde.reading import TIME
from sonde.store.postgres.connections import Connection, connect
from sonde.store.postgres.copy import HEAD, TAIL, arrays, copy_rows
from tests.servers.postgres import PostgresServer

pytestmark = pytest.mark.all

TYPES: Final = {
    "time": (TIME, "timestamptz", st.integers(0, 7_258_118_400_000_000)),
    "value": (pa.float64(), "float8", st.floats()),
    "series": (pa.int32(), "int4", st.integers(-(2**31), 2**31 - 1)),
    "count": (pa.int64(), "int8", st.integers(-(2**63), 2**63 - 1)),
    "lane": (pa.int16(), "int2", st.integers(-(2**15), 2**15 - 1)),
    "on": (pa.bool_(), "bool", st.booleans()),
    "text": (
        pa.string(),
        "text",
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
    ),
}
_EXAMPLES: Final = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def connection(postgres: PostgresServer) -> Iterator[Connection]:
    with postgres.database() as name, connect(postgres.url(name)) as connection:
        columns = ", ".join(f'"{name}" {sql}' for name, (_, sql, _) in TYPES.items())
        connection.execute(f"create table rows (number serial, {columns})".encode())
        yield connection


def tables() -> st.SearchStrategy[pa.Table]:
    """With nulls anywhere, in more than one chunk, and starting in the middle of one."""
    row = st.tuples(*(st.none() | values for _, _, values in TYPES.values()))
    return st.lists(st.lists(row, max_size=8), min_size=1, max_size=3).map(_table)


def _table(chunks: list[list[tuple[Any, ...]]]) -> pa.Table:
    made = []
    for rows in chunks:
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(TYPES)
        made.append(
            pa.table(
                [
                    pa.array(column, pa.int64()).cast(TIME) if kind == TIME else pa.array(column, kind)
                    for column, (kind, _, _) in zip(columns, TYPES.values(), strict=True)
                ],
                names=list(TYPES),
            )
        )
    whole = pa.concat_tables(made)
    return whole.slice(1) if len(whole) > 2 else whole


def plain(table: pa.Table) -> list[tuple[Any, ...]]:
    columns = [table[n].cast(pa.int64()) if table[n].type == TIME else table[n] for n in table.column_names]
    return [tuple(map(_comparable, row)) for row in zip(*(column.to_pylist() for column in columns), strict=True)]


def _comparable(value: Any) -> Any:
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


def _columns() -> str:
    return ", ".join(
        f'(extract(epoch from "{n}") * 1000000)::bigint' if kind == TIME else f'"{n}"'
        for n, (kind, _, _) in TYPES.items()
    )


def _rows(connection: Connection, sql: str, values: Any = None) -> list[tuple[Any, ...]]:
    rows = connection.execute(sql.encode(), values, binary=True).fetchall()
    return [tuple(map(_comparable, row)) for row in rows]


@given(tables())
@_EXAMPLES
def test_rows_that_are_copied_come_out_as_they_are(connection: Connection, table: pa.Table) -> None:
    connection.execute("truncate rows")
    names = ", ".join(f'"{name}"' for name in TYPES)
    with connection.cursor().copy(f"copy rows ({names}) from stdin (format binary)".encode()) as copy:
        copy.write(HEAD + copy_rows(table) + TAIL)
    assert _rows(connection, f"select {_columns()} from rows order by number") == plain(table)


@given(tables().filter(len))
@_EXAMPLES
def test_columns_that_are_parameters_come_out_as_they_are(connection: Connection, table: pa.Table) -> None:
    names = ", ".join(f'"{name}"' for name in TYPES)
    places = ", ".join(f"%({name})s" for name in TYPES)
    sql = f"select {_columns()} from unnest({places}) with ordinality as t ({names}, place) order by place"
    assert _rows(connection, sql, arrays(table)) == plain(table)


def test_a_character_that_the_database_has_not_becomes_another(connection: Connection) -> None:
    table = pa.table({"text": pa.array(["a\0b", None, "", "c"]), "bytes": pa.array([b"\0", None, b"", b"c"])})
    sql = "select * from unnest(%(text)s, %(bytes)s)"
    assert _rows(connection, sql, arrays(table)) == [("a\ufffdb", b"\0"), (None, None), ("", b""), ("c", b"c")]
