"""A span of series as a chart draws it: the readings themselves while they are few, else buckets that keep extremes.

From a width that windows are kept for, buckets are folded from windows.
"""

# ruff: noqa: S608 - names of tables and columns are Sonde's own; values go as parameters

from collections.abc import Collection
from typing import Final

import pyarrow as pa

from sonde.clock import SECOND, Micros
from sonde.question import Samples
from sonde.store import queries
from sonde.store.engine import Connection, fetch
from sonde.store.layout import Layout
from sonde.store.part import Content
from sonde.store.steps import COUNTED, OF_WORDS, ONE_WORD, folded, step_for, whole

_COLUMNS: Final = (
    "series, {step}::bigint as step, {time}, {count}::bigint as count, {min}, {max}, {avg}, {kind}, {text}, {q}"
)


def ask_samples(cursor: Connection, layout: Layout, question: Samples, widths: Collection[int]) -> pa.Table:
    """The rows of :class:`sonde.question.Samples`; ``widths`` are those of the windows kept, in seconds."""
    readings = _readings(cursor, layout, question)
    if readings is not None:
        return readings
    step = step_for(question.since, question.until, question.points)
    fitting = [width for width in widths if step % (width * SECOND) == 0]
    if not fitting:
        return _buckets(cursor, layout, question, step)
    words = fetch(
        cursor, f"select series from store.latest where {queries.one_of('series', question.series)} and {OF_WORDS}"
    )
    return folded(
        question,
        words["series"].to_pylist(),
        lambda numbers: _of_windows(cursor, layout, numbers, step, max(fitting)),
        lambda texts: _buckets(cursor, layout, texts, step),
    )


def _readings(cursor: Connection, layout: Layout, question: Samples) -> pa.Table | None:
    """The readings as they came, or nothing if they are too many."""
    most = question.points * len(question.series)
    source, values = _source(layout, "readings", "time", question, question.since, question.until)
    counted = f"case when {COUNTED} then value end"
    columns = _COLUMNS.format(
        step=0, time="time", count=1, min=f"{counted} as min", max=f"{counted} as max", avg=f"{counted} as avg",
        kind="kind", text="text", q="quality",
    )  # fmt: skip
    few = f"select {columns} from (select * from ({source}) r limit {most + 1}) few order by series, time"
    rows = fetch(cursor, few, values)
    return rows if len(rows) <= most else None


def _buckets(cursor: Connection, layout: Layout, question: Samples, step: Micros) -> pa.Table:
    since, until = whole(question, step)
    source, values = _source(layout, "readings", "time", question, since, until)
    columns = _COLUMNS.format(
        step=step, time="make_timestamptz(bucket) as time", count=f"count(*) filter ({COUNTED})",
        min=f"min(value) filter ({COUNTED}) as min", max=f"max(value) filter ({COUNTED}) as max",
        avg=f"avg(value) filter ({COUNTED}) as avg", kind="null::tinyint as kind", text=f"{ONE_WORD} as text",
        q="max(quality) as quality",
    )  # fmt: skip
    at = f"(select *, epoch_us(time) // {step} * {step} as bucket from ({source}) r) placed"
    return fetch(cursor, f"select {columns} from {at} group by series, bucket order by series, bucket", values)


def _of_windows(cursor: Connection, layout: Layout, question: Samples, step: Micros, width: int) -> pa.Table:
    since, until = whole(question, step)
    source, values = _source(layout, "windows", "start", question, since, until, f"width = {width}")
    columns = _COLUMNS.format(
        step=step, time="make_timestamptz(bucket) as time", count="sum(count)", min="min(min) as min", max="max(max) as max",
        avg="sum(sum) / sum(count) as avg", kind="null::tinyint as kind", text="null::varchar as text",
        q="0::tinyint as quality",
    )  # fmt: skip
    at = f"(select *, epoch_us(start) // {step} * {step} as bucket from ({source}) w) placed"
    return fetch(cursor, f"select {columns} from {at} group by series, bucket order by series, bucket", values)


def _source(
    layout: Layout, content: Content, column: str, question: Samples, since: Micros, until: Micros, also: str = "true"
) -> tuple[str, dict[str, object]]:
    span = queries.span(column, since, until)
    series = sorted(question.series)
    parts = [part for part in layout.parts_of(content) if part.meets(since, until, series)]
    where = f"{span.text} and {queries.one_of('series', series)} and {also}"
    return layout.source(content, parts=parts, where=where), dict(span.values)
