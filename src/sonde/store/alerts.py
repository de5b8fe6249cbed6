"""What is asked about rules and alerts: by the owner of rules over windows, by whoever tells people, by previews."""

# ruff: noqa: S608 - names of tables and columns are Sonde's own; values go as parameters

from collections.abc import Collection, Mapping, Sequence

import pyarrow as pa

from sonde.changes import Series
from sonde.clock import SECOND, Micros
from sonde.errors import Invalid, Problem
from sonde.question import AlertQuestion, Folded, Watched
from sonde.rule import Rule
from sonde.store import queries
from sonde.store.alert_queries import ALL_SERIES, GROUPS, alert_query, key_of, names_of, series_of
from sonde.store.engine import Connection, fetch
from sonde.store.layout import Layout
from sonde.store.part import Content
from sonde.store.schema import SERIES


def ask_about_alerts(cursor: Connection, layout: Layout, question: AlertQuestion, widths: Collection[int]) -> pa.Table:
    """The rows of an answer; ``widths`` are those of the windows kept, in seconds."""
    match question:
        case Folded():
            return _folded(cursor, layout, question, widths)
        case Watched():
            return _readings(cursor, layout, question)
        case _:
            query = alert_query(question)
            return fetch(cursor, query.text, query.values)


def _watched(cursor: Connection, rule: Rule) -> list[Series]:
    """The series that a rule watches."""
    return [one for one in series_of(fetch(cursor, ALL_SERIES)) if rule.watches(one)]


def _folded(cursor: Connection, layout: Layout, question: Folded, widths: Collection[int]) -> pa.Table:
    rule = question.rule
    width = rule.window or 0
    stored, step = queries.fitting_width(width, widths), width * SECOND
    keys = GROUPS[rule.across]
    chosen = _watched(cursor, rule)
    if question.series is not None:
        wanted = {key_of(series, keys) for series in chosen if series.id in question.series}
        chosen = [series for series in chosen if key_of(series, keys) in wanted]
    source, values = _source(layout, "windows", "start", chosen, (question.since, question.until), f"width = {stored}")
    start = "w.start" if stored == width else f"make_timestamptz(epoch_us(w.start) // {step} * {step})"
    return fetch(
        cursor,
        f"""select {names_of(keys)}, {start} as start, sum(w.count)::bigint as count, sum(w.sum) as sum, min(w.min) as min,
          max(w.max) as max, arg_max(w.last, epoch_us(w.last_time)::hugeint * 4294967296 + w.gen) as last
        from ({source}) w join store.series s on s.id = w.series
        group by {", ".join(f"s.{name}" for name in keys)}, {start}
        order by {", ".join(f"s.{name}" for name in keys)}, {start}""",
        values,
    )


def _readings(cursor: Connection, layout: Layout, question: Watched) -> pa.Table:
    chosen = _watched(cursor, question.rule)
    if len(chosen) > question.most_series:
        more = f"the rule watches {len(chosen):,} series, and at most {question.most_series:,} can be looked at"
        raise Invalid(Problem(None, "rule", f"{more}; narrow its patterns"))
    source, values = _source(layout, "readings", "time", chosen, (question.since, question.until))
    rows = fetch(
        cursor,
        f"""select {", ".join(f"s.{name}" for name in SERIES.names)}, r.time, r.kind, r.value, r.text, r.quality
        from (select * from ({source}) matching limit {question.most + 1}) r join store.series s on s.id = r.series
        order by r.series, r.time""",
        values,
    )
    if len(rows) > question.most:
        raise Invalid(Problem(None, "since", f"there are more than {question.most:,} readings; choose a shorter span"))
    return rows


def _source(
    layout: Layout,
    content: Content,
    column: str,
    chosen: Sequence[Series],
    between: tuple[Micros, Micros],
    also: str = "true",
) -> tuple[str, Mapping[str, object]]:
    """The rows of some series in a span."""
    ids = [series.id for series in chosen]
    span = queries.span(column, *between)
    parts = [part for part in layout.parts_of(content) if part.meets(*between, ids)]
    where = f"{span.text} and {queries.one_of('series', ids)} and {also}"
    return layout.source(content, parts=parts, where=where), span.values
