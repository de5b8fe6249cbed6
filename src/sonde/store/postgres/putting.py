"""Columns into a table, with one statement."""

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from sonde.store.postgres.connections import Connection
from sonde.store.postgres.copy import arrays

Rows = list[tuple[Any, ...]]


def put(connection: Connection, sql: str, table: pa.Table, **values: object) -> Rows:
    """Execute ``sql``, in which ``{changed}`` stands for the rows of ``table`` and ``%(name)s`` for a value. What it
    returns."""
    if not len(table):
        return []
    columns = arrays(table)
    places = ", ".join(f"%(c{number})s" for number in range(len(columns)))
    names = ", ".join(f'"{name}"' for name in columns)
    changed = f"unnest({places}) as changed ({names})"
    parameters = {f"c{number}": column for number, column in enumerate(columns.values())}
    cursor = connection.execute(sql.replace("{changed}", changed).encode(), {**parameters, **values}, binary=True)
    return cursor.fetchall() if cursor.description else []


def upsert(name: str, columns: Iterable[str], keys: Iterable[str], merged: Mapping[str, str] | None = None) -> str:
    """The statement for :func:`put` that adds rows, in the order of their keys so that two never wait for each other in a
    circle. Where a row is there, columns become what ``merged`` says (``t`` is the row), the others what is new."""
    quoted = {column: f'"{column}"' for column in columns}
    key = ", ".join(quoted[k] for k in keys)
    others = [c for c in quoted if c not in set(keys)]
    new = ", ".join(f"{quoted[c]} = {(merged or {}).get(c, 'excluded.' + quoted[c])}" for c in others)
    listed = ", ".join(quoted.values())
    return (
        f"insert into store.{name} as t ({listed}) select {listed} from {{changed}} order by {key}"  # noqa: S608
        f" on conflict ({key}) do update set {new}"
    )


def insert(name: str, columns: Iterable[str]) -> str:
    """The statement for :func:`put` that adds rows."""
    listed = ", ".join(f'"{column}"' for column in columns)
    return f"insert into store.{name} ({listed}) select {listed} from {{changed}}"  # noqa: S608


def constant(table: pa.Table, name: str, value: int) -> pa.Table:
    """``table`` with one more column that holds the same number in each row."""
    return table.append_column(name, pa.array([value] * len(table), pa.int32()))
