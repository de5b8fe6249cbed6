"""Raw readings: the newest or oldest that match, and how many there are."""

# ruff: noqa: S608 - names of tables and columns are Sonde's own; values go as parameters

from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from sonde.clock import SECOND, Micros
from sonde.question import History
from sonde.store import queries
from sonde.store.postgres.snapshot import Snapshot
from sonde.store.queries import Query

_FEW: Final = 20  # series, of which each is looked up in the index by itself
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

    def total(self) -> int:
        """How many match."""
        span = queries.span("r.time", self._question.since, self._question.until)
        if self._series is None and not span.text:
            return stored(self._snapshot)
        text, values = self._matching(span)
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


def stored(snapshot: Snapshot) -> int:
    """How many readings there are."""
    return int(snapshot.one(Query(f"select count(*) from ({snapshot.readings()}) r", {})))


def _chosen(snapshot: Snapshot, question: History) -> Sequence[int] | None:
    wanted = queries.matching_series(
        device=question.device, metric=question.metric, site=question.site, zone=question.zone
    )
    if question.series is not None:
        return sorted(set(question.series))
    found: list[int] | None = snapshot.run(wanted)["id"].to_pylist() if wanted.values else None
    return found


def _bounds(snapshot: Snapshot) -> tuple[Micros, Micros] | None:
    """From a moment that no reading is older than to just after the newest."""
    text = f"select {_MICROS.format('min(time)')} as first, {_MICROS.format('max(time)')} as last from store.readings_by_day"
    ((first, last),) = zip(*(column.to_pylist() for column in snapshot.run(Query(text, {})).columns), strict=True)
    return None if first is None else (first, last + 1)
