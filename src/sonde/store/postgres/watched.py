"""The readings that a rule looks at, for previews."""

# ruff: noqa: S608 - names of tables and columns are Sonde's own; values go as parameters

import pyarrow as pa

from sonde.errors import Invalid, Problem
from sonde.question import Watched
from sonde.store import queries
from sonde.store.alert_queries import ALL_SERIES, series_of
from sonde.store.postgres.snapshot import Snapshot
from sonde.store.queries import Query
from sonde.store.schema import SERIES


def watched(snapshot: Snapshot, question: Watched) -> pa.Table:
    """See :class:`sonde.question.Watched`. The names of the series come once, and not with every reading."""
    chosen = [one for one in series_of(snapshot.run(Query(ALL_SERIES, {}))) if question.rule.watches(one)]
    if len(chosen) > question.most_series:
        more = f"the rule watches {len(chosen):,} series, and at most {question.most_series:,} can be looked at"
        raise Invalid(Problem(None, "rule", f"{more}; narrow its patterns"))
    span = queries.span("r.time", question.since, question.until)
    readings = snapshot.readings(span.text, "r.series = any($series::int[])")
    rows = snapshot.run(
        Query(
            f"""select * from (select * from ({readings}) matching limit {question.most + 1}) r order by series, time""",
            {**span.values, "series": [series.id for series in chosen]},
        )
    )
    if len(rows) > question.most:
        raise Invalid(Problem(None, "since", f"there are more than {question.most:,} readings; choose a shorter span"))
    places = {series.id: place for place, series in enumerate(chosen)}
    names = pa.table(
        [pa.array([one[i] for one in chosen], field.type) for i, field in enumerate(SERIES)], schema=SERIES
    )
    named = names.take(pa.array([places[number] for number in rows["series"].to_pylist()], pa.int32()))
    columns = {name: rows[name] for name in ("time", "kind", "value", "text", "quality")}
    return pa.table({**{name: named[name] for name in SERIES.names}, **columns})
