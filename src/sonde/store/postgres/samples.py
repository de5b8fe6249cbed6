"""A span of series as a chart draws it: the readings themselves while they are few, else buckets that keep extremes.

From a width that windows are kept for, buckets are folded from windows.
"""

# ruff: noqa: S608 - names of tables and columns are Sonde's own; values go as parameters

from typing import Final

import pyarrow as pa

from sonde.clock import SECOND, Micros
from sonde.question import Samples
from sonde.store import queries
from sonde.store.postgres.snapshot import Snapshot, binned
from sonde.store.queries import Query
from sonde.store.steps import COUNTED, OF_WORDS, ONE_WORD, folded, step_for, whole

_OURS: Final = "r.series = any($series::int[])"
_COLUMNS: Final = (
    "series, {step}::bigint as step, {time}, {count}::bigint as count, {min}, {max}, {avg}, {kind}, {text}, {q}"
)
_NO_KIND: Final = "null::smallint as kind"


def samples(snapshot: Snapshot, question: Samples) -> pa.Table:
    """The rows of :class:`sonde.question.Samples`."""
    most = question.points * len(question.series)
    span = queries.span("r.time", question.since, question.until)
    readings = snapshot.readings(span.text, _OURS)
    values = {**span.values, "series": sorted(question.series)}
    found = snapshot.one(Query(f"select count(*) from (select from ({readings}) r limit {most + 1}) few", values))
    if found <= most:
        return _readings(snapshot, readings, values)
    step = step_for(question.since, question.until, question.points)
    fitting = [width for width in snapshot.widths if step % (width * SECOND) == 0]
    if not fitting:
        return _buckets(snapshot, question, step)
    words = Query(
        f"select series from store.latest where series = any($series::int[]) and {OF_WORDS}",
        {"series": sorted(question.series)},
    )
    return folded(
        question,
        snapshot.run(words)["series"].to_pylist(),
        lambda numbers: _of_windows(snapshot, numbers, step, max(fitting)),
        lambda texts: _buckets(snapshot, texts, step),
    )


def _readings(snapshot: Snapshot, readings: str, values: dict[str, object]) -> pa.Table:
    counted = f"case when {COUNTED} then value end"
    columns = _COLUMNS.format(
        step=0, time="time", count=1, min=f"{counted} as min", max=f"{counted} as max", avg=f"{counted} as avg",
        kind="kind", text="text", q="quality",
    )  # fmt: skip
    return snapshot.run(Query(f"select {columns} from ({readings}) r order by series, time", values))


def _buckets(snapshot: Snapshot, question: Samples, step: Micros) -> pa.Table:
    span = queries.span("r.time", *whole(question, step))
    columns = _COLUMNS.format(
        step=step, time=f"{binned('time', step)} as time", count=f"count(*) filter (where {COUNTED})",
        min=f"min(value) filter (where {COUNTED}) as min", max=f"max(value) filter (where {COUNTED}) as max",
        avg=f"avg(value) filter (where {COUNTED}) as avg", kind=_NO_KIND, text=f"{ONE_WORD} as text",
        q="max(quality) as quality",
    )  # fmt: skip
    return _grouped(snapshot, columns, snapshot.readings(span.text, _OURS), question, span)


def _of_windows(snapshot: Snapshot, question: Samples, step: Micros, width: int) -> pa.Table:
    span = queries.span("r.start", *whole(question, step))
    columns = _COLUMNS.format(
        step=step, time=f"{binned('start', step)} as time", count="sum(count)", min="min(min) as min", max="max(max) as max",
        avg="sum(sum) / sum(count) as avg", kind=_NO_KIND, text="null::text as text",
        q="0::smallint as quality",
    )  # fmt: skip
    return _grouped(snapshot, columns, snapshot.windows(width, span.text, _OURS), question, span)


def _grouped(snapshot: Snapshot, columns: str, source: str, question: Samples, span: Query) -> pa.Table:
    text = f"select {columns} from ({source}) r group by series, 3 order by series, 3"
    return snapshot.run(Query(text, {**span.values, "series": sorted(question.series)}))
