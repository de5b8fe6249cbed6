"""One moment of the database: how far the log is stored there, what is not shown any more, and the selects that heed it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
from psycopg import Connection

from sonde.clock import SECOND, Micros
from sonde.cursor import Cursor
from sonde.store.postgres.columns import fetch
from sonde.store.postgres.statement import statement
from sonde.store.queries import Query

_PLACE: Final = """select 0::smallint as what, "partition"::text as name, next_offset as number
from store.progress where log = $1
union all select 1::smallint, name, (extract(epoch from before) * 1000000)::bigint from store.floors
union all select 2::smallint, '', width::bigint from store.widths
union all select 3::smallint, '', 1::bigint where exists (select from store.purged)"""
_KIND: Final = {"readings": "time", "windows": "start"}
_ROWS: Final = {
    "readings": (
        "select r.series, r.time, (r.tag & 7)::smallint as kind, r.value, r.text, (r.tag >> 3 & 7)::smallint as quality"
        " from store.readings_by_day r"
    ),
    "windows": (
        "select r.series, r.width, r.start, r.count, r.sum, r.min, r.max, r.last, r.last_time"
        " from store.windows_by_partition r"
    ),
}
_KEPT: Final = """not exists (
  select from store.purged p where p.series = r.series and p.partition = (r.tag >> 6 & 1023)
    and p.era > (r.tag >> 16 & 65535) and {moment} < p.before)"""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """``connection`` is in a transaction that sees one moment; ``floors`` say by name what is too old to be shown, ``widths``
    are those of the windows kept, in seconds, and ``purged`` says whether some rows that are there still are gone."""

    connection: Connection[Any]
    place: Cursor
    floors: Mapping[str, Micros]
    widths: frozenset[int]
    purged: bool

    @classmethod
    def begin(cls, connection: Connection[Any], log: str) -> "Snapshot":
        """The moment that a transaction sees, which has just begun."""
        rows = fetch(connection, _PLACE, (log,)).to_pylist()
        return cls(
            connection,
            Cursor(log, {int(row["name"]): row["number"] for row in rows if row["what"] == 0}),
            {row["name"]: row["number"] for row in rows if row["what"] == 1},
            frozenset(row["number"] for row in rows if row["what"] == 2),
            any(row["what"] == 3 for row in rows),
        )

    def run(self, query: Query, more: Query | None = None) -> pa.Table:
        """The rows of a query; ``more`` has values that its sources need."""
        text, values = statement(query, more.values if more else None)
        return fetch(self.connection, text, values)

    def one(self, query: Query) -> Any:
        """The only value of a query."""
        return self.run(query).column(0)[0].as_py()

    def readings(self, *where: str) -> str:
        """The select that gives the readings for which all of ``where`` holds, without those that are not shown."""
        floor = self.floors.get("readings")
        kept = [] if floor is None else [f"r.time >= {at(floor)}"]
        return self._rows("readings", [*where, *kept])

    def windows(self, width: int, *where: str) -> str:
        """The select that gives windows of a stored width."""
        floor = self.floors.get(f"windows {width}")
        kept = [f"r.width = {width}"] + ([] if floor is None else [f"r.start >= {at(floor)}"])
        return self._rows("windows", [*kept, *where])

    def _rows(self, content: str, where: Collection[str]) -> str:
        kept = [_KEPT.format(moment=f"r.{_KIND[content]}")] if self.purged else []
        conditions = " and ".join(text for text in (*where, *kept) if text)
        return f"{_ROWS[content]}{' where ' if conditions else ''}{conditions}"


def at(time: Micros) -> str:
    """A moment as a literal, so that the database knows before it plans which days it needs not look at."""
    seconds, micros = divmod(time, SECOND)
    return f"(to_timestamp({seconds}) + interval '{micros} microseconds')" if micros else f"to_timestamp({seconds})"


def binned(column: str, step: Micros) -> str:
    """The start of the aligned bucket of ``step`` microseconds that a moment lies in."""
    return f"date_bin(interval '{step // SECOND} seconds {step % SECOND} microseconds', {column}, to_timestamp(0))"
