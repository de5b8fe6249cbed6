"""The tables of an embedded store. They live in the schema ``store`` and may change with :data:`VERSION`.

Readings and windows lie in *generations* (``store.hot_<n>``, ``store.windows_<n>``) until they are sealed into parts.
Windows are additive, so several rows of one window, in several places, together are the window.
"""

# ruff: noqa: S608 - names of tables and columns are Sonde's own; values go as parameters

from collections.abc import Iterable, Mapping
from typing import Any, Final

import pyarrow as pa

from sonde.changes import LATEST, READINGS, WINDOWS
from sonde.reading import TIME
from sonde.store.views import create_views

VERSION: Final = 3

SERIES: Final = pa.schema(
    [("id", pa.int32()), *((n, pa.string()) for n in ("device", "metric", "site", "zone", "labels"))]
)
ALERTS: Final = pa.schema(
    [
        ("id", pa.string()),
        ("rule", pa.string()),
        ("series", pa.int32()),
        ("type", pa.string()),
        ("severity", pa.string()),
        ("state", pa.string()),
        ("threshold", pa.float64()),
        ("since", TIME),
        ("value", pa.float64()),
        ("peak", pa.float64()),
        ("fired_at", TIME),
        ("resolved_at", TIME),
        ("retroactive", pa.bool_()),
        ("message", pa.string()),
        ("shelved_until", TIME),
        ("metric", pa.string()),  # of an alert over a zone or a site, like the next two
        ("site", pa.string()),
        ("zone", pa.string()),
    ]
)
ALERT_EVENTS: Final = pa.schema(
    [
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("log_time", TIME),
        ("alert", pa.string()),
        ("event", pa.string()),
        ("time", TIME),
        ("who", pa.string()),
        ("why", pa.string()),
        ("until", TIME),
    ]
)
CORRECTIONS: Final = pa.schema(
    [
        ("rule", pa.string()),
        ("series", pa.int32()),
        ("start", TIME),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
    ]
)
STREAMS: Final = pa.schema(
    [
        ("source", pa.string()),
        ("epoch", pa.string()),
        ("lane", pa.int16()),
        ("seq", pa.int64()),
        ("count", pa.int64()),
        ("holes", pa.string()),  # JSON: [[first, last, readings, µs of the first reading after them, if known], …]
        ("before", pa.string()),  # JSON: for each hole, the readings before it
    ]
)
COUNTS: Final = ("declared", "stored", "duplicate", "refused", "set_aside", "lost", "conflicting", "late")
LEDGER: Final = pa.schema([("source", pa.string()), ("lane", pa.int16()), *((name, pa.int64()) for name in COUNTS)])
MARKS: Final = pa.schema(
    [
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("entry", pa.int32()),
        ("source", pa.string()),
        ("lane", pa.int16()),
        ("epoch", pa.string()),
        ("reason", pa.string()),
        ("first_seq", pa.int64()),
        ("last_seq", pa.int64()),
        ("readings", pa.int64()),
        ("noticed", TIME),
        ("detail", pa.string()),
    ]
)
DEFINITIONS: Final = pa.schema(
    [
        ("kind", pa.string()),
        ("name", pa.string()),
        ("body", pa.string()),
        ("log_time", TIME),
        ("source", pa.string()),  # the node that declared a profile; whence a rule came
        ("who", pa.string()),
    ]
)
COMMANDS: Final = pa.schema(
    [
        ("id", pa.string()),
        ("device", pa.string()),
        ("command", pa.string()),
        ("parameters", pa.string()),  # JSON
        ("who", pa.string()),
        ("state", pa.string()),
        ("accepted_at", TIME),
        ("expires_at", TIME),
        ("node", pa.string()),
        ("epoch", pa.string()),
        ("handed_at", TIME),
        ("delivered_at", TIME),
        ("started_at", TIME),
        ("finished_at", TIME),
        ("changed_at", TIME),
        ("message", pa.string()),
        ("progress", pa.float64()),
        ("details", pa.string()),  # JSON
    ]
)
HAPPENED: Final = pa.schema(
    [
        ("id", pa.string()),
        ("device", pa.string()),
        ("command", pa.string()),
        ("step", pa.string()),
        ("time", TIME),
        ("message", pa.string()),
        ("progress", pa.float64()),
        ("details", pa.string()),  # JSON
    ]
)
"""The steps of commands."""
PROGRESS: Final = pa.schema(
    [
        ("log", pa.string()),
        ("partition", pa.int32()),
        ("next_offset", pa.int64()),
        ("log_time", TIME),
        ("heard_since", TIME),
    ]
)
NEWEST: Final = pa.schema([("series", pa.int32()), ("width", pa.int32()), ("start", TIME)])
"""For each series and width, the newest window that a sealed generation held."""
PARTS: Final = pa.schema(
    [
        ("name", pa.string()),
        ("content", pa.string()),  # readings | windows
        ("rows", pa.int64()),
        ("bytes", pa.int64()),
        ("checksum", pa.string()),  # SHA-256 of the file
        ("min_time", TIME),
        ("max_time", TIME),
        ("min_series", pa.int32()),
        ("max_series", pa.int32()),
        ("first_offset", pa.int64()),
        ("next_offset", pa.int64()),
        ("supersedes", pa.string()),  # JSON: names of the parts whose rows it holds
    ]
)
PURGES: Final = pa.schema(
    [
        ("number", pa.int32()),
        ("place", pa.int64()),  # parts whose log ends here or before may hold what is purged
        ("before", TIME),  # null: all of it
        ("everything", pa.bool_()),  # else the series that the table purged names
    ]
)
"""Purges whose rows may still lie in parts."""
PURGED: Final = pa.schema([("number", pa.int32()), ("series", pa.int32())])

KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "series": ("id",),
    "latest": ("series",),
    "newest": ("series", "width"),
    "alerts": ("id",),
    "alert_events": (),
    "corrections": ("rule", "series", "partition"),
    "streams": ("source", "epoch", "lane"),
    "ledger": ("source", "lane"),
    "marks": (),
    "definitions": ("kind", "name"),
    "commands": ("id",),
    "happened": (),
    "progress": ("log", "partition"),
    "parts": ("name",),
    "purges": (),
    "purged": (),
}
TABLES: Final[Mapping[str, pa.Schema]] = {
    "series": SERIES,
    "latest": LATEST,
    "newest": NEWEST,
    "alerts": ALERTS,
    "alert_events": ALERT_EVENTS,
    "corrections": CORRECTIONS,
    "streams": STREAMS,
    "ledger": LEDGER,
    "marks": MARKS,
    "definitions": DEFINITIONS,
    "commands": COMMANDS,
    "happened": HAPPENED,
    "progress": PROGRESS,
    "parts": PARTS,
    "purges": PURGES,
    "purged": PURGED,
}
STATE: Final = tuple(name for name in TABLES if name not in {"parts", "purges", "purged"})
"""The tables that a checkpoint holds as they are."""

_TYPES: Final[Mapping[pa.DataType, str]] = {
    pa.int8(): "tinyint",
    pa.int16(): "smallint",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.float64(): "double",
    pa.bool_(): "boolean",
    pa.string(): "varchar",
    TIME: "timestamptz",
}


def columns_of(schema: pa.Schema) -> str:
    """The names of ``schema``, quoted, as a select list."""
    return ", ".join(f'"{name}"' for name in schema.names)


def create_table(name: str, schema: pa.Schema, key: Iterable[str] = ()) -> str:
    """The statement that makes a table with the columns of an Arrow schema."""
    columns = [f'"{field.name}" {_TYPES[field.type]}' for field in schema]
    keys = ", ".join(f'"{k}"' for k in key)
    return f"create table {name} ({', '.join([*columns, *([f'primary key ({keys})'] if keys else [])])})"


def create_all() -> str:
    """The statements that make an empty store, but for its generations and the views over them."""
    tables = [create_table(f"store.{name}", schema, KEYS[name]) for name, schema in TABLES.items()]
    return ";\n".join(
        [
            "create schema store",
            "create table store.meta (version integer, folder varchar)",  # where the views look for parts
            f"insert into store.meta values ({VERSION}, '')",
            "create table store.layout (version bigint)",
            "insert into store.layout values (0)",
            "create table store.generations (content varchar, number integer, first_offset bigint)",
            *tables,
            *create_views(),
        ]
    )


def generation(content: str, number: int) -> str:
    """The table of a generation of ``readings`` or ``windows``."""
    return f"store.{'hot' if content == 'readings' else 'windows'}_{number}"


def create_generation(content: str, number: int, offset: int) -> str:
    """The statements that make a generation, which begins at ``offset`` of the log, and list it."""
    schema, key = (READINGS, ()) if content == "readings" else (WINDOWS, ("series", "width", "start"))
    table = create_table(generation(content, number), schema, key)
    return f"{table}; insert into store.generations values ('{content}', {number}, {offset})"


def table_of(schema: pa.Schema, rows: Iterable[Any]) -> pa.Table:
    """Rows with attributes named as the columns of ``schema``, in columns."""
    kept = list(rows)
    return pa.table([pa.array([getattr(row, f.name) for row in kept], f.type) for f in schema], schema=schema)
