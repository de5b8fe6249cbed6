"""The tables that readings lie in: one a day, for what is far from today one a month, and one a year beyond that.

They are partitions of ``store.readings_by_day``, made before the rows that need them come, each as an empty table that is
then attached: that waits for no writer and keeps none waiting. A table goes as a whole, once a floor hides all of it.
"""

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt
import psycopg
import structlog

from sonde.clock import DAY, Clock, Micros
from sonde.store.postgres.connections import Connection, Connections

_log = structlog.get_logger()
_PARENT: Final = "store.readings_by_day"
_LOCK: Final = 0x64617973  # of advisory locks: whoever holds it makes tables
_AT_ONCE: Final = 16  # tables made in one transaction: each holds locks until its end
_DAYS: Final = (750, 400)  # back from today and ahead, within which each day has a table of its own
_MONTHS: Final = (
    3653,
    3653,
)  # and each month; so clocks that are wrong never make more tables than can be locked at once
_SECONDS: Final = 60.0
_EPOCH: Final = date(1970, 1, 1)

Days = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A table's days, counted from 1970: the first, and the first that is not its own."""

    first: int
    end: int

    @property
    def name(self) -> str:
        day, length = _date(self.first), self.end - self.first
        return (
            f"readings_{day:%Y_%m_%d}"
            if length == 1
            else f"readings_{day:%Y_%m}"
            if length <= 31
            else f"readings_{day:%Y}"
        )

    @classmethod
    def of(cls, name: str) -> "Span":
        """The span of the table with this name."""
        match [int(part) for part in name.removeprefix("readings_").split("_")]:
            case [year]:
                return cls.of_year(year)
            case [year, month]:
                return cls.of_month(year, month)
            case numbers:
                return cls.of_day(_number(date(*numbers)))

    @classmethod
    def of_day(cls, day: int) -> "Span":
        return cls(day, day + 1)

    @classmethod
    def of_month(cls, year: int, month: int) -> "Span":
        following = date(year + month // 12, month % 12 + 1, 1)
        return cls(_number(date(year, month, 1)), _number(following))

    @classmethod
    def of_year(cls, year: int) -> "Span":
        return cls(_number(date(year, 1, 1)), _number(date(year + 1, 1, 1)))

    def meets(self, other: "Span") -> bool:
        """Whether they have a day in common."""
        return self.first < other.end and other.first < self.end


class Known:
    """Tables that were there at some moment, oldest first."""

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self.spans: Final = sorted(spans)
        self._firsts: Final = np.array([span.first for span in self.spans], np.int64)
        self._ends: Final = np.array([span.end for span in self.spans], np.int64)

    def missing(self, days: Days) -> Days:
        """Those of ``days`` that no table is for."""
        places = self._places(days)
        inside = places >= 0
        inside[inside] = days[inside] < self._ends[places[inside]]
        return days[~inside]

    def split(self, days: Days) -> Iterator[tuple[str, npt.NDArray[np.intp] | None]]:
        """The tables that rows of these days belong in, none of which is missing, and which rows; None: all."""
        places = self._places(days)
        if int(places.min()) == int(places.max()):
            yield self.spans[places[0]].name, None
            return
        order = np.argsort(places, kind="stable")
        found, starts = np.unique(places[order], return_index=True)
        for place, rows in zip(found.tolist(), np.split(order, starts[1:]), strict=True):
            yield self.spans[place].name, rows

    def _places(self, days: Days) -> npt.NDArray[np.intp]:
        return np.searchsorted(self._firsts, days, side="right") - 1


class DayTables:
    """Which tables there are, as far as this process knows; and the making of more."""

    def __init__(self, connections: Connections, clock: Clock) -> None:
        self._connections, self._clock = connections, clock
        self._lock = threading.Lock()
        self.known = Known()

    def cover(self, days: Days) -> Known:
        """Make sure that there is a table for each of these days; in small steps, one after another, as others may be
        writing."""
        known = self.known
        if len(known.missing(days)):
            with self._lock:
                known = self.look()
                missing = known.missing(days).tolist()
                for at in range(0, len(missing), _AT_ONCE):
                    known = self._make(missing[at : at + _AT_ONCE])
                self.known = known
        return known

    def ahead(self) -> bool:
        """Make the tables of today and the days to come; whether any was missing."""
        today = self._clock.now() // DAY
        days = np.arange(today, today + 3)
        missing = bool(len(self.known.missing(days)))
        self.cover(days)
        return missing

    def forget(self) -> None:
        """Look again before the next rows."""
        self.known = Known()

    def drop_below(self, floor: Micros) -> tuple[Span, int] | None:
        """Drop the oldest table of which all is below ``floor``, without keeping anyone waiting; which, and its rows. What a
        process that died in the middle of this left behind goes too."""
        with self._connections.connection() as connection:
            try:
                return self._drop_below(connection, floor)
            except (psycopg.errors.UndefinedTable, psycopg.errors.ObjectNotInPrerequisiteState):
                return None  # another process is at it
            finally:
                self.forget()

    def _drop_below(self, connection: Connection, floor: Micros) -> tuple[Span, int] | None:
        below = [(span, attached) for span, attached in _tables(connection) if span.end * DAY <= floor]
        if not below:
            return None
        span, attached = below[0]
        connection.execute(_text(f"set statement_timeout = '{_SECONDS:.0f}s'"))
        if attached:
            how = "finalize" if _is_detaching(connection, span) else "concurrently"
            connection.execute(_text(f"alter table {_PARENT} detach partition store.{span.name} {how}"))
        connection.execute(_text(f"drop table store.{span.name}"))
        counts = connection.execute("delete from store.counts where name = %s returning rows", (span.name,)).fetchall()
        return span, sum(rows for (rows,) in counts)

    def look(self) -> Known:
        """The tables that are there now."""
        with self._connections.connection() as connection:
            return _attached(connection)

    def _make(self, days: Iterable[int]) -> Known:
        with self._connections.transaction(_SECONDS) as connection:
            connection.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))
            there = _attached(connection)
            made: list[Span] = []
            for day in days:
                if not any(span.first <= day < span.end for span in (*there.spans, *made)):
                    span = span_for(day, self._clock.now() // DAY, [*there.spans, *made])
                    _create(connection, span)
                    made.append(span)
        if made:
            _log.info("day_tables_made", tables=len(made), first=made[0].name, last=made[-1].name)
        return Known([*there.spans, *made])


def span_for(day: int, today: int, there: Iterable[Span]) -> Span:
    """The table that is to be made for ``day``, beside those that are there."""
    at, spans = _date(day), list(there)
    for span, (back, ahead) in ((Span.of_year(at.year), _MONTHS), (Span.of_month(at.year, at.month), _DAYS)):
        near = span.meets(Span(today - back, today + ahead + 1))
        if not near and not any(span.meets(one) for one in spans):
            return span
    return Span.of_day(day)


def _create(connection: Connection, span: Span) -> None:
    table, first, end = f"store.{span.name}", _moment(span.first), _moment(span.end)
    connection.execute(
        _text(
            f"create table {table} (like {_PARENT} including all);"
            f"alter table {_PARENT} attach partition {table} for values from ('{first}') to ('{end}')"
        )
    )


def _tables(connection: Connection) -> list[tuple[Span, bool]]:
    """All tables of readings, oldest first, and whether they are attached."""
    rows = connection.execute(
        "select relname, relispartition from pg_class"
        r" where relnamespace = 'store'::regnamespace and relkind = 'r' and relname ~ '^readings_\d{4}(_\d\d(_\d\d)?)?$'"
    ).fetchall()
    return sorted((Span.of(name), attached) for name, attached in rows)


def _attached(connection: Connection) -> Known:
    return Known(span for span, attached in _tables(connection) if attached)


def _is_detaching(connection: Connection, span: Span) -> bool:
    sql = "select inhdetachpending from pg_inherits where inhrelid = %s::regclass"
    return connection.execute(sql, (f"store.{span.name}",)).fetchall() == [(True,)]


def _text(sql: str) -> bytes:
    return sql.encode()


def _moment(day: int) -> str:
    return datetime.combine(_date(day), datetime.min.time(), UTC).isoformat()


def _date(day: int) -> date:
    return _EPOCH + timedelta(days=day)


def _number(day: date) -> int:
    return (day - _EPOCH).days
