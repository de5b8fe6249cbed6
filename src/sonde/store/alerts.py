"""What is asked about rules and alerts: by the owner of rules over windows, by whoever tells people, by previews."""

# ruff: noqa: S608 - names of tables and columns are Sonde's own; values go as parameters

from collections.abc import Collection, Mapping, Sequence
from typing import Final, assert_never

import pyarrow as pa

from sonde.changes import EVENTS, Series
from sonde.clock import SECOND, Micros
from sonde.errors import Invalid, Problem
from sonde.question import AlertEvents, AlertQuestion, AlertsOf, Corrections, Defined, Folded, Reached, Watched
from sonde.rule import Rule
from sonde.store import queries
from sonde.store.engine import Connection, fetch
from sonde.store.layout import Layout
from sonde.store.part import Content
from sonde.store.queries import Query
from sonde.store.schema import ALERT_PLACE, ALERTS, SERIES, columns_of

_EVENT: Final = """e."partition", e."offset", e.log_time, e.event, e.time, e.who, e.why, e.until"""
_RANK: Final = " ".join(f"when '{event}' then {rank}" for rank, event in enumerate(EVENTS))
_GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "series": ("id", "device", "metric", "site", "zone", "labels"),
    "zone": ("metric", "site", "zone"),
    "site": ("metric", "site"),
}
_NO_NAME: Final = {"id": "-1", "device": "''", "zone": "''", "labels": "'{}'"}


def ask_about_alerts(cursor: Connection, layout: Layout, question: AlertQuestion, widths: Collection[int]) -> pa.Table:
    """The rows of an answer; ``widths`` are those of the windows kept, in seconds."""
    match question:
        case Folded():
            return _folded(cursor, layout, question, widths)
        case Watched():
            return _readings(cursor, layout, question)
        case _:
            query = _query(question)
            return fetch(cursor, query.text, query.values)


def _query(question: AlertEvents | Defined | Reached | AlertsOf | Corrections) -> Query:
    match question:
        case AlertEvents():
            query = _events(question)
        case Defined():
            query = _defined(question)
        case Reached():
            query = Query(
                'select log, "partition", next_offset, log_time from store.progress order by log_time desc', {}
            )
        case AlertsOf():
            condition = "rule = $rule and (resolved_at is null or resolved_at >= $since) and id not like 'late-%'"
            values = {"rule": question.rule, "since": queries.moment(question.since)}
            query = Query(f"select {columns_of(ALERTS)} from store.alerts where {condition} order by since, id", values)
        case Corrections():
            query = Query(
                f"""select c.rule, {", ".join(f"s.{name}" for name in SERIES.names)}, c.start, c."partition", c."offset"
                from store.corrections c join store.series s on s.id = c.series order by c.rule, c.series""",
                {},
            )
        case _:
            assert_never(question)
    return query


def _events(question: AlertEvents) -> Query:
    values: dict[str, object] = {"limit": question.limit}
    if question.alert is not None:
        values["alert"] = question.alert
        chosen = "e.alert = $alert"
    else:
        values |= {"partition": question.partition, "offset": question.offset}
        ours = 'x."partition" = $partition and x."offset" >= $offset'
        last = f'select x."offset" from store.alert_events x where {ours} order by 1 limit $limit'
        chosen = f"""e."partition" = $partition and e."offset" >= $offset
          and e."offset" <= (select max("offset") from ({last}) first_ones)"""
    return Query(
        f"""select {_EVENT}, a.id as alert_id, a.rule, {ALERT_PLACE}, a.type, a.value, a.peak, a.threshold, a.since,
          a.fired_at, a.resolved_at, a.shelved_until, a.state, a.severity, a.message, a.retroactive
        from store.alert_events e join store.alerts a on a.id = e.alert left join store.series s on s.id = a.series
        where {chosen} order by e."partition", e."offset", e.time, e.alert,
          case e.event {_RANK} end
        {"limit $limit" if question.alert is not None else ""}""",
        values,
    )


def _defined(question: Defined) -> Query:
    kinds = ", ".join(f"$kind{n}" for n in range(len(question.kinds)))
    values: dict[str, object] = {f"kind{n}": kind for n, kind in enumerate(question.kinds)}
    named = ""
    if question.name is not None:
        named, values["name"] = " and name = $name", question.name
    return Query(
        f"""select kind, name, body, log_time, source, who from store.definitions
        where kind in ({kinds}){named} order by kind, name""",
        values,
    )


def _watched(cursor: Connection, rule: Rule) -> list[Series]:
    """The series that a rule watches. Its patterns are those of a shell, for which engines have no common word."""
    columns = fetch(cursor, f"select {columns_of(SERIES)} from store.series order by id").columns
    series = [Series(*row) for row in zip(*(column.to_pylist() for column in columns), strict=True)]
    return [one for one in series if rule.watches(one)]


def _folded(cursor: Connection, layout: Layout, question: Folded, widths: Collection[int]) -> pa.Table:
    rule = question.rule
    width = rule.window or 0
    stored, step = queries.fitting_width(width, widths), width * SECOND
    keys = _GROUPS[rule.across]
    chosen = _watched(cursor, rule)
    if question.series is not None:
        wanted = {_key(series, keys) for series in chosen if series.id in question.series}
        chosen = [series for series in chosen if _key(series, keys) in wanted]
    named = [f"s.{n}" if n in keys else f"{_NO_NAME[n]} as {n}" for n in SERIES.names]
    source, values = _source(layout, "windows", "start", chosen, (question.since, question.until), f"width = {stored}")
    start = "w.start" if stored == width else f"make_timestamptz(epoch_us(w.start) // {step} * {step})"
    return fetch(
        cursor,
        f"""select {", ".join(named)}, {start} as start, sum(w.count)::bigint as count, sum(w.sum) as sum, min(w.min) as min,
          max(w.max) as max, arg_max(w.last, epoch_us(w.last_time)::hugeint * 4294967296 + w.gen) as last
        from ({source}) w join store.series s on s.id = w.series
        group by {", ".join(f"s.{name}" for name in keys)}, {start}
        order by {", ".join(f"s.{name}" for name in keys)}, {start}""",
        values,
    )


def _key(series: Series, names: Sequence[str]) -> tuple[object, ...]:
    return tuple(getattr(series, name) for name in names)


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
