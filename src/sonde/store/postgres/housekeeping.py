"""What keeps the database quick: tables of days made ahead and dropped, and what is hidden deleted in small bites.

Any number of processes may do it at once. A bite is one short transaction; whoever comes while one is made does nothing.
"""

from typing import Final

import structlog

from sonde.metrics import Metrics
from sonde.store.postgres.connections import Connection, Connections
from sonde.store.postgres.days import DayTables

_log = structlog.get_logger()
_LOCK: Final = 0x74696479  # of advisory locks: whoever holds it tidies
_BITE: Final = 20_000  # rows deleted at once
_SERIES: Final = 64  # purged ones looked at in a bite
_SECONDS: Final = 60.0

_OLD_WINDOWS: Final = """delete from store.windows_by_partition where ctid = any(array(
  select ctid from store.windows_by_partition where width = %s and start < %s limit %s))"""
_PURGED: Final = """with gone as (
  delete from store.{table} where ctid = any(array(
    select r.ctid
    from unnest(%(series)s::integer[], %(partition)s::integer[], %(era)s::integer[], %(before)s::timestamptz[])
      as p (series, partition, era, before)
    join store.{table} r on r.series = p.series and r.{column} < p.before and (r.tag >> 6 & 1023) = p.partition
      and (r.tag >> 16 & 65535) < p.era
    limit %(bite)s)) returning tag >> 6 & 1023 as partition),
counted as (select partition, count(*) as rows from gone group by partition),
known as (
  update store.counts c set rows = c.rows - counted.rows from counted
  where c.name = '{table}' and c.partition = counted.partition)
select coalesce(sum(rows), 0)::bigint from counted"""
_DONE: Final = """delete from store.purged p using
  unnest(%(series)s::integer[], %(partition)s::integer[], %(era)s::integer[], %(before)s::timestamptz[])
    as d (series, partition, era, before)
where (p.series, p.partition, p.era, p.before) = (d.series, d.partition, d.era, d.before)"""
_WINDOWS: Final = "windows_by_partition"


class Housekeeping:
    """The maintenance of one database, as one process does it."""

    def __init__(self, connections: Connections, tables: DayTables, metrics: Metrics) -> None:
        self._connections, self._tables, self._metrics = connections, tables, metrics
        self._purged: dict[str, list[object]] = {}  # what is being deleted, by column of the table ``purged``
        self._left: list[str] = []  # tables that may still hold some of it

    def step(self) -> bool:
        """One piece of work; whether there was any."""
        return self._tables.ahead() or self._drop() or self._clear_windows() or self._clear_purged()

    def _drop(self) -> bool:
        with self._connections.connection() as connection:
            rows = connection.execute(
                "select (extract(epoch from before) * 1000000)::bigint from store.floors where name = 'readings'"
            ).fetchall()
        dropped = self._tables.drop_below(rows[0][0]) if rows else None
        if dropped is None:
            return False
        span, count = dropped
        self._metrics.removed.labels("expired").inc(count)
        _log.info("day_table_dropped", first_day=span.first, days=span.end - span.first, rows=count)
        return True

    def _clear_windows(self) -> bool:
        with self._connections.transaction(_SECONDS) as connection:
            if not _may_tidy(connection):
                return False
            rows = connection.execute(
                "select name, width, before from store.floors where width > 0 and cleared < before order by name limit 1"
            ).fetchall()
            for name, width, before in rows:
                gone = connection.execute(_OLD_WINDOWS, (width, before, _BITE)).rowcount
                if gone < _BITE:
                    connection.execute("update store.floors set cleared = %s where name = %s", (before, name))
            return bool(rows)

    def _clear_purged(self) -> bool:
        """Delete some rows that a purge has hidden. What is begun is remembered by this process alone: another begins anew."""
        with self._connections.transaction(_SECONDS) as connection:
            if not _may_tidy(connection):
                return False
            if not self._purged and not self._begin(connection):
                return False
            if self._left:
                self._bite(connection, self._left[-1])
            else:
                connection.execute(_DONE, self._purged)
                self._purged = {}
            return True

    def _begin(self, connection: Connection) -> bool:
        columns = ("series", "partition", "era", "before")
        sql = "select series, partition, era, before::text from store.purged order by 1, 2, 3, 4 limit %s"
        rows = connection.execute(sql, (_SERIES,)).fetchall()
        if not rows:
            return False
        self._purged = {name: list(column) for name, column in zip(columns, zip(*rows, strict=True), strict=True)}
        self._left = [_WINDOWS, *(span.name for span in self._tables.look().spans)]
        return True

    def _bite(self, connection: Connection, table: str) -> None:
        sql = _PURGED.format(table=table, column="start" if table == _WINDOWS else "time")
        ((gone,),) = connection.execute(sql.encode(), {**self._purged, "bite": _BITE}).fetchall()
        if table != _WINDOWS:
            self._metrics.removed.labels("purged").inc(gone)
        if gone < _BITE:
            self._left.pop()


def _may_tidy(connection: Connection) -> bool:
    return connection.execute("select pg_try_advisory_xact_lock(%s)", (_LOCK,)).fetchall() == [(True,)]
