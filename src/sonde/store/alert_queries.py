"""What is asked about rules and alerts, as SQL that DuckDB and PostgreSQL both understand."""

# ruff: noqa: S608 - names of tables and columns are Sonde's own; values go as parameters

from collections.abc import Mapping, Sequence
from typing import Final, assert_never

import pyarrow as pa

from sonde.changes import EVENTS, Series
from sonde.question import AlertEvents, AlertsOf, Corrections, Defined, Reached
from sonde.store import queries
from sonde.store.queries import Query
from sonde.store.schema import ALERTS, SERIES, columns_of
from sonde.store.views import ALERT_PLACE

ALL_SERIES: Final = f"select {columns_of(SERIES)} from store.series order by id"
_EVENT: Final = """e."partition", e."offset", e.log_time, e.event, e.time, e.who, e.why, e.until"""
_RANK: Final = " ".join(f"when '{event}' then {rank}" for rank, event in enumerate(EVENTS))
GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "series": ("id", "device", "metric", "site", "zone", "labels"),
    "zone": ("metric", "site", "zone"),
    "site": ("metric", "site"),
}
NO_NAME: Final = {"id": "-1", "device": "''", "zone": "''", "labels": "'{}'"}


def alert_query(question: AlertEvents | Defined | Reached | AlertsOf | Corrections) -> Query:
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
                from store.corrections c join store.series s on s.id = c.series
                order by {queries.by_name("c.rule")}, c.series""",
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
        where kind in ({kinds}){named} order by {queries.by_name("kind", "name")}""",
        values,
    )


def series_of(table: pa.Table) -> list[Series]:
    """Rows of :data:`ALL_SERIES`. The patterns of a rule are those of a shell, for which engines have no common word, so
    it is asked here which of them it watches."""
    return [Series(*row) for row in zip(*(column.to_pylist() for column in table.columns), strict=True)]


def key_of(series: Series, names: Sequence[str]) -> tuple[object, ...]:
    """By what a rule gathers series: their columns ``names``."""
    return tuple(getattr(series, name) for name in names)


def names_of(keys: Sequence[str]) -> str:
    """The select list of the columns of ``s``, a series; those that are not among ``keys`` are empty."""
    return ", ".join(f"s.{n}" if n in keys else f"{NO_NAME[n]} as {n}" for n in SERIES.names)
