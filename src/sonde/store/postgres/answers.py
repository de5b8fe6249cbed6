"""Every question, answered by PostgreSQL from one snapshot."""

from collections.abc import Callable, Mapping
from typing import Any, Final, assert_never

import pyarrow as pa

from sonde.errors import Invalid
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
    Question,
    Reached,
    Samples,
    Sql,
    Stale,
    Totals,
    Trends,
    Watched,
)
from sonde.store import queries
from sonde.store.alert_queries import alert_query
from sonde.store.postgres.connections import Connections
from sonde.store.postgres.guard import Guard
from sonde.store.postgres.history import Past, stored
from sonde.store.postgres.samples import samples
from sonde.store.postgres.snapshot import Snapshot
from sonde.store.postgres.watched import watched
from sonde.store.postgres.windows import folded, heatmap, kpis, trends
from sonde.store.queries import Query

LONGEST_ANSWER: Final = 30.0  # seconds, for any question but SQL
_WIDTHS: Final = "select distinct width from store.windows_by_partition"
_OF_WINDOWS: Final = (Kpis, Trends, Heatmap, Samples, Folded)
_TOTALS: Final = """select $readings::bigint as readings,
  (select count(*) from store.series) as series, (select count(distinct device) from store.series) as devices,
  (select count(*) from store.alerts where state = 'firing') as alerts_firing, 0::bigint as parts, 0::bigint as part_bytes"""


class Answers:
    """Asks a database; the cursor of every answer is of the log with the id ``log``."""

    def __init__(self, connections: Connections, log: str) -> None:
        self._connections, self._log = connections, log
        self._guard = Guard(connections, log)
        self._widths: frozenset[int] = frozenset()

    def ask(self, question: Question) -> Answer:
        """See :meth:`sonde.ports.Store.ask`."""
        if isinstance(question, Sql):
            return self._guard.ask(question)
        if not isinstance(question, _OF_WINDOWS):
            return self._ask(question)
        try:
            return self._ask(question)
        except Invalid:  # windows of another width may have come since these were looked for
            known, self._widths = self._widths, frozenset()
            answer = self._ask(question)
            assert self._widths != known, "the same question has the same answer"
            return answer

    def _ask(self, question: Question) -> Answer:
        with self._connections.snapshot(LONGEST_ANSWER) as connection:
            snapshot = Snapshot.begin(connection, self._log)
            if isinstance(question, _OF_WINDOWS) and not self._widths:
                self._widths = frozenset(snapshot.run(Query(_WIDTHS, {}))["width"].to_pylist())
            return self._answer(snapshot, question)

    def _answer(self, snapshot: Snapshot, question: Question) -> Answer:  # noqa: PLR0912 - one branch a question
        total = there = None
        match question:
            case Kpis():
                rows = kpis(snapshot, question, self._widths)
            case Trends():
                rows = trends(snapshot, question, self._widths)
            case Heatmap():
                rows = heatmap(snapshot, question, self._widths)
            case Folded():
                rows = folded(snapshot, question, self._widths)
            case Samples():
                rows = samples(snapshot, question, self._widths)
            case Watched():
                rows = watched(snapshot, question)
            case History():
                past = Past(snapshot, question)
                rows, there = past.rows(), stored(snapshot)
                total = len(rows) if len(rows) < question.limit else past.total()
            case Totals():
                rows = snapshot.run(Query(_TOTALS, {"readings": stored(snapshot)}))
            case Alerts() | Gaps() | Devices() | Commands() | CommandSteps() | FoundSeries() | Stale():
                rows, total = _counted(snapshot.run(_LISTINGS[type(question)](question)))
            case Profiles():
                rows = snapshot.run(queries.profiles(question))
            case Ledger():
                rows = snapshot.run(queries.ledger(question))
            case AlertEvents() | Defined() | Reached() | AlertsOf() | Corrections():
                rows = snapshot.run(alert_query(question))
            case Sql():
                return self._guard.ask(question)
            case _:
                assert_never(question)
        return Answer(rows, snapshot.place, total, there)


_LISTINGS: Final[Mapping[type, Callable[[Any], Query]]] = {
    Alerts: queries.alerts,
    Gaps: queries.gaps,
    Devices: queries.devices,
    Commands: queries.commands,
    CommandSteps: queries.command_steps,
    FoundSeries: queries.found_series,
    Stale: queries.stale,
}


def _counted(table: pa.Table) -> tuple[pa.Table, int]:
    """An answer without the ``total`` that its rows carry, and that total."""
    total = table["total"][0].as_py() if len(table) else 0
    return table.drop_columns("total"), total
