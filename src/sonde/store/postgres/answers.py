"""Every question, answered by PostgreSQL from one snapshot."""

from collections.abc import Callable, Mapping
from typing import Any, Final, assert_never

import pyarrow as pa

from sonde.question import (
    AlertEvents,
    Alerts,
    AlertsOf,
    Answer,
    Commands,
    CommandSteps,
    Corrections,
    Defined,
    Devices,
    Folded,
    FoundSeries,
    Gaps,
    Heatmap,
    History,
    Kpis,
    Ledger,
    Profiles,
    Purgeable,
    Question,
    Reached,
    ResolvedBeyond,
    Samples,
    Sql,
    Stale,
    Totals,
    Trends,
    Watched,
)
from sonde.store import command_queries, queries
from sonde.store.alert_queries import ALL_SERIES, alert_query, series_of
from sonde.store.postgres.connections import Connections
from sonde.store.postgres.guard import Guard
from sonde.store.postgres.history import Past, counted
from sonde.store.postgres.samples import samples
from sonde.store.postgres.snapshot import Snapshot
from sonde.store.postgres.watched import watched
from sonde.store.postgres.windows import folded, heatmap, kpis, trends
from sonde.store.queries import Query

LONGEST_ANSWER: Final = 30.0  # seconds, for any question but SQL
_TOTALS: Final = """select $readings::bigint as readings,
  (select count(*) from store.series) as series, (select count(distinct device) from store.series) as devices,
  (select count(*) from store.alerts where state = 'firing') as alerts_firing, 0::bigint as parts, 0::bigint as part_bytes"""


class Answers:
    """Asks a database; the cursor of every answer is of the log with the id ``log``."""

    def __init__(self, connections: Connections, log: str) -> None:
        self._connections, self._log = connections, log
        self._guard = Guard(connections, log)
        self._lower = ""

    def ask(self, question: Question) -> Answer:
        """See :meth:`sonde.ports.Store.ask`."""
        if isinstance(question, Sql):
            return self._guard.ask(question)
        with self._connections.snapshot(LONGEST_ANSWER) as connection:
            connection.execute(_SETTINGS)
            return self._answer(Snapshot.begin(connection, self._log), question)

    def _answer(self, snapshot: Snapshot, question: Question) -> Answer:  # noqa: PLR0912 - one branch a question
        total = there = None
        match question:
            case Kpis():
                rows = kpis(snapshot, question)
            case Trends():
                rows = trends(snapshot, question)
            case Heatmap():
                rows = heatmap(snapshot, question)
            case Folded():
                rows = folded(snapshot, question)
            case Samples():
                rows = samples(snapshot, question)
            case Watched():
                rows = watched(snapshot, question)
            case History():
                past = Past(snapshot, question)
                rows, there = past.rows(), counted(snapshot)
                total = len(rows) if len(rows) < question.limit else past.total()
            case Totals():
                rows = snapshot.run(Query(_TOTALS, {"readings": counted(snapshot)}))
            case Alerts() | Gaps() | Devices() | Commands() | CommandSteps() | Stale():
                rows, total = _paged(snapshot.run(_LISTINGS[type(question)](question)))
            case FoundSeries():
                rows, total = _paged(snapshot.run(queries.found_series(question, self._lower_case(snapshot))))
            case Profiles():
                rows = snapshot.run(queries.profiles(question))
            case Ledger():
                rows = snapshot.run(queries.ledger(question))
            case Purgeable():
                rows = _purgeable(snapshot, question)
            case ResolvedBeyond():
                rows = snapshot.run(queries.resolved_beyond(question))
            case AlertEvents() | Defined() | Reached() | AlertsOf() | Corrections():
                rows = snapshot.run(alert_query(question))
            case Sql():
                return self._guard.ask(question)
            case _:
                assert_never(question)
        return Answer(rows, snapshot.place, total, there)

    def _lower_case(self, snapshot: Snapshot) -> str:
        """How a text is put in lower case: of every script, if this database can."""
        if not self._lower:
            collation = "und-x-icu" if snapshot.one(Query(_UNICODE, {})) else "default"
            self._lower = f'lower({{}} collate "{collation}")'
        return self._lower


_SETTINGS: Final = "set local work_mem = '16MB'; set local jit = off"  # to compile a query takes longer than to run it
_UNICODE: Final = "select exists (select from pg_collation where collname = 'und-x-icu')"
_HOLES: Final = """select source, lane, epoch, hole, to_timestamp(hole[4] / 1e6) as before
from (
  select source, lane, epoch, array(select json_array_elements_text(found)::bigint) as hole
  from store.streams cross join lateral json_array_elements(holes::json) h(found) where holes <> '[]'
) s"""
_LISTINGS: Final[Mapping[type, Callable[[Any], Query]]] = {
    Alerts: queries.alerts,
    Gaps: lambda question: queries.gaps(question, _HOLES),
    Devices: queries.devices,
    Commands: command_queries.commands,
    CommandSteps: command_queries.command_steps,
    Stale: queries.stale,
}


def _purgeable(snapshot: Snapshot, question: Purgeable) -> pa.Table:
    meant = question.order.matching(series_of(snapshot.run(Query(ALL_SERIES, {}))))
    span = queries.span("r.time", None, question.order.before)
    ours = "" if meant is None else "r.series = any($series::int[])"
    source = snapshot.readings(span.text, ours)
    return snapshot.run(queries.purgeable(source), Query("", {**span.values, "series": list(meant or ())}))


def _paged(table: pa.Table) -> tuple[pa.Table, int]:
    """An answer without the ``total`` that its rows carry, and that total."""
    total = table["total"][0].as_py() if len(table) else 0
    return table.drop_columns("total"), total
