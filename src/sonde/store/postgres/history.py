"""Raw readings: the newest or oldest that match, and how many there are."""

# ruff: noqa: S608 - names of tables and columns are Sonde's own; values go as parameters

from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from sonde.clock import DAY, SECOND, Micros
from sonde.question import History
from sonde.store import queries
from sonde.store.postgres.days import Span
from sonde.store.postgres.snapshot import Snapshot
from sonde.store.queries import Query

_FEW: Final = 20  # series, of which each is looked up in the index by itself
_END: Final = 253_402_300_799 * SECOND  # year 9999
_MICROS: Final = "(extract(epoch from {}) * 1000000)::bigint"


class Past:
    """What a question finds; ``series`` None means all."""

    def __init__(self, snapshot: Snapshot, question: History) -> None:
        self._snapshot, self._question = snapshot, question
        self._series = _chosen(snapshot, question)

    def rows(self) -> pa.Table:
        """The newest (or oldest) of them, up to the limit. Of many series, looks at wider and wider spans."""
        since, until = self._question.since, self._question.until
        if self._series is not None and len(self._series) <= _FEW:
            return self._few()
        bounds = _bounds(self._snapshot)
        if bounds is None:
            return self._rows_in(since, until)
        first, newest, last = bounds
        first = first if since is None else max(since, first)
        last = last if until is None else min(until, last)
        span = SECOND
        while span < last - first:
            rows = self._rows_in(
                *((first, first + span) if self._question.oldest_first else (min(newest, last) - span, last))
            )
            if len(rows) >= self._question.limit:
                return rows
            span *= 8
        return self._rows_in(since, until)

    def total(self) -> int:
        """How many match."""
        question = self._question
        if self._series is None:
            return counted(self._snapshot, question.since, question.until)
        text, values = self._matching(queries.span("r.time", question.since, question.until))
        return int(self._snapshot.one(Query(f"select count(*) from ({text}) matching", values)))

    def _few(self) -> pa.Table:
        """Each series by itself: its newest readings are the end of its stretch of the index."""
        question = self._question
        span = queries.span("r.time", question.since, question.until)
        order = "asc" if question.oldest_first else "desc"
        one = self._snapshot.readings("r.series = chosen.id", span.text) + f" order by r.time {order} limit $limit"
        source = f"select one.* from unnest($series::int[]) chosen(id) cross join lateral ({one}) one"
        return self._snapshot.run(
            queries.history(question, source), Query("", {**span.values, "series": list(self._series or ())})
        )

    def _rows_in(self, since: Micros | None, until: Micros | None) -> pa.Table:
        text, values = self._matching(queries.span("r.time", since, until))
        return self._snapshot.run(queries.history(self._question, text), Query("", values))

    def _matching(self, span: Query) -> tuple[str, dict[str, object]]:
        if self._series is None:
            return self._snapshot.readings(span.text), dict(span.values)
        text = self._snapshot.readings(span.text, "r.series = any($series::int[])")
        return text, {**span.values, "series": list(self._series)}


def counted(snapshot: Snapshot, since: Micros | None = None, until: Micros | None = None) -> int:
    """How many readings there are in a span. Tables that are shown whole are not read for it."""
    first, end = max(since or 0, snapshot.floors.get("readings", 0)), _END if until is None else until
    if snapshot.purged:
        return _count(snapshot, first, end)
    found = 0
    for span, rows in _tables(snapshot):
        if first <= span.first * DAY and span.end * DAY <= end:
            found += rows
        elif span.first * DAY < end and first < span.end * DAY:
            found += _count(snapshot, max(first, span.first * DAY), min(end, span.end * DAY))
    return found


def _count(snapshot: Snapshot, since: Micros, until: Micros) -> int:
    span = queries.span("r.time", since, until)
    return int(snapshot.one(Query(f"select count(*) from ({snapshot.readings(span.text)}) r", span.values)))


def _tables(snapshot: Snapshot) -> list[tuple[Span, int]]:
    """The tables that readings lie in, and how many rows each has."""
    text = "select name, sum(rows)::bigint as rows from store.counts group by name having sum(rows) > 0 order by name"
    rows = snapshot.run(Query(text, {}))
    return [
        (Span.of(name), count) for name, count in zip(rows["name"].to_pylist(), rows["rows"].to_pylist(), strict=True)
    ]


def _chosen(snapshot: Snapshot, question: History) -> Sequence[int] | None:
    wanted = queries.matching_series(
        device=question.device, metric=question.metric, site=question.site, zone=question.zone
    )
    if question.series is not None:
        return sorted(set(question.series))
    found: list[int] | None = snapshot.run(wanted)["id"].to_pylist() if wanted.values else None
    return found


def _bounds(snapshot: Snapshot) -> tuple[Micros, Micros, Micros] | None:
    """A moment that no reading is older than, one near the newest, and one that none is newer than."""
    spans = [span for span, _ in _tables(snapshot)]
    if not spans:
        return None
    last = max(span.end for span in spans) * DAY
    text = f"select {_MICROS.format('max(log_time)')} as newest from store.progress where log = $log"
    heard = snapshot.one(Query(text, {"log": snapshot.place.log}))
    return min(span.first for span in spans) * DAY, min(last, heard or last), last
