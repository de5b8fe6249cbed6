"""Raw readings, out of generations and parts: no more of them is read than a question needs."""

# ruff: noqa: S608 - names of tables and columns are Sonde's own; values go as parameters

import pyarrow as pa

from sonde.clock import SECOND, Micros
from sonde.question import History
from sonde.store import queries
from sonde.store.engine import Connection, fetch, fetch_one
from sonde.store.layout import Layout
from sonde.store.part import Part
from sonde.store.queries import Query


class RawReadings:
    """Raw readings that match a question; ``series`` None means all."""

    def __init__(self, cursor: Connection, layout: Layout, question: History, series: list[int] | None) -> None:
        self._cursor, self._layout, self._question, self._series = cursor, layout, question, series

    def stored(self) -> int:
        """How many there are, whatever is asked for."""
        (count,) = fetch_one(self._cursor, f"select {readings_count(self._layout)}")
        return int(str(count))

    def total(self) -> int:
        """How many match; whole parts are counted without being read."""
        since, until = self._question.since, self._question.until
        if self._series is None and since is None and until is None:
            return self.stored()
        parts = self._parts(since, until)
        seen = [part for part in parts if not self._layout.hidden.touches(part)]
        whole = [part for part in seen if self._series is None and part.within(since, until)]
        source, values = self._source(since, until, [part for part in parts if part not in whole])
        (counted,) = fetch_one(self._cursor, f"select count(*) from ({source})", values.values)
        return int(str(counted)) + sum(part.rows for part in whole)

    def rows(self) -> pa.Table:
        """The newest (or oldest) of them, up to the limit. Without series, looks at wider and wider spans."""
        since, until = self._question.since, self._question.until
        if self._series is not None:
            return self._rows_in(since, until)
        bounds = self._bounds()
        if bounds is None:
            return self._rows_in(since, until)
        first = bounds[0] if since is None else max(since, bounds[0])
        last = bounds[1] if until is None else min(until, bounds[1])
        span = SECOND
        while span < last - first:
            edge = (first, first + span) if self._question.oldest_first else (last - span, last)
            rows = self._rows_in(*edge)
            if len(rows) >= self._question.limit:
                return rows
            span *= 8
        return self._rows_in(since, until)

    def _bounds(self) -> tuple[Micros, Micros] | None:
        """From the oldest reading to just after the newest."""
        hot = self._layout.source("readings", parts=[])
        low, high = fetch_one(self._cursor, f"select epoch_us(min(time)), epoch_us(max(time)) from ({hot})")
        parts = self._layout.parts_of("readings")
        times = [int(str(t)) for t in (low, high) if t is not None]
        times += [t for part in parts for t in (part.min_time, part.max_time)]
        return (min(times), max(times) + 1) if times else None

    def _rows_in(self, since: Micros | None, until: Micros | None) -> pa.Table:
        source, values = self._source(since, until, self._parts(since, until))
        query = queries.history(self._question, source)
        return fetch(self._cursor, query.text, {**query.values, **values.values})

    def _parts(self, since: Micros | None, until: Micros | None) -> list[Part]:
        return [part for part in self._layout.parts_of("readings") if part.meets(since, until, self._series)]

    def _source(self, since: Micros | None, until: Micros | None, parts: list[Part]) -> tuple[str, Query]:
        span = queries.span("time", since, until)
        conditions = [span.text] if span.text else []
        if self._series is not None:
            conditions.append(queries.one_of("series", self._series))
        return self._layout.source("readings", parts=parts, where=" and ".join(conditions)), span


def readings_count(layout: Layout) -> str:
    """How many readings there are, as an expression. Parts of which nothing is hidden are not read for it."""
    touched = [part for part in layout.parts_of("readings") if layout.hidden.touches(part)]
    whole = sum(part.rows for part in layout.parts_of("readings") if part not in touched)
    return f"(select count(*) + {whole} from ({layout.source('readings', parts=touched)}))"
