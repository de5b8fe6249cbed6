"""Every question, answered by DuckDB from one snapshot."""

# ruff: noqa: S608 - names of tables and columns are Sonde's own; values go as parameters

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, assert_never

import duckdb
import pyarrow as pa

from sonde.clock import SECOND, Micros
from sonde.cursor import Cursor
from sonde.errors import Invalid, Problem, Retry
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
from sonde.store.alert_queries import ALL_SERIES, series_of
from sonde.store.alerts import ask_about_alerts
from sonde.store.engine import Connection, Engine, fetch, without_paths
from sonde.store.guard import Watch, check_select
from sonde.store.history import RawReadings, readings_count
from sonde.store.layout import Layout
from sonde.store.part import Part
from sonde.store.queries import Query
from sonde.store.samples import ask_samples

LONGEST_ANSWER: Final = 30.0  # seconds, for any question but SQL
LARGEST_ANSWER: Final = 64 << 20  # bytes, for SQL
USERS: Final = 2  # queries of users at once
_WINDOW: Final = "series, {start} as start, count, sum, min, max, last_time"

LayoutAt = Callable[[Connection, int], Layout]


class Answers:
    """Asks an engine; ``layout_at`` gives the layout of a version that a snapshot sees, ``widths`` those of its windows."""

    def __init__(self, engine: Engine, watch: Watch, log: str, layout_at: LayoutAt, widths: set[int]) -> None:
        self._engine, self._watch, self._log = engine, watch, log
        self._layout_at, self._widths = layout_at, widths
        self._users = threading.BoundedSemaphore(USERS)

    def ask(self, question: Question) -> Answer:
        """See :meth:`sonde.ports.Store.ask`."""
        if isinstance(question, Sql):
            return self._ask_sql(question)
        with self._engine.snapshot() as cursor, self._watch.limit(cursor, LONGEST_ANSWER):
            return self._answer(cursor, question)

    def _answer(self, cursor: Connection, question: Question) -> Answer:  # noqa: PLR0912 - one branch a question
        place, layout = self._place(cursor)
        total = stored = None
        match question:
            case Kpis():
                rows = self._kpis(cursor, layout, question)
            case Trends():
                rows = self._trends(cursor, layout, question)
            case Heatmap():
                rows = self._heatmap(cursor, layout, question)
            case History():
                rows, total, stored = self._history(cursor, layout, question)
            case FoundSeries():
                rows, total = _counted(_run(cursor, queries.found_series(question)))
            case Samples():
                rows = ask_samples(cursor, layout, question, self._widths.copy())
            case Stale():
                rows, total = _counted(_run(cursor, queries.stale(question)))
            case Totals():
                rows = _run(cursor, queries.totals(question, readings_count(layout)))
            case Profiles():
                rows = _run(cursor, queries.profiles(question))
            case Ledger():
                rows = _run(cursor, queries.ledger(question))
            case Purgeable():
                rows = self._purgeable(cursor, layout, question)
            case ResolvedBeyond():
                rows = _run(cursor, queries.resolved_beyond(question))
            case AlertEvents() | Defined() | Reached() | AlertsOf() | Corrections() | Folded() | Watched():
                rows = ask_about_alerts(cursor, layout, question, self._widths.copy())
            case Alerts() | Gaps() | Devices() | Commands() | CommandSteps():
                rows, total = _counted(_run(cursor, _listing(question)))
            case Sql():
                return self._ask_sql(question)
            case _:
                assert_never(question)
        return Answer(rows, place, total, stored)

    def _place(self, cursor: Connection) -> tuple[Cursor, Layout]:
        """Where in the log this snapshot stands, and where its rows lie."""
        rows = cursor.execute(
            'select l.version, p."partition", p.next_offset from store.layout l left join store.progress p on p.log = $log',
            {"log": self._log},
        ).fetchall()
        offsets = {partition: offset for _, partition, offset in rows if partition is not None}
        return Cursor(self._log, offsets), self._layout_at(cursor, rows[0][0])

    def _stored_width(self, width: int) -> int:
        return queries.fitting_width(width, self._widths.copy())

    def _windows(self, layout: Layout, width: int, where: str, parts: list[Part]) -> str:
        """The windows of ``width`` seconds, folded from the widest stored width that fits."""
        stored = self._stored_width(width)
        step = width * SECOND
        start = "start" if stored == width else f"make_timestamptz(epoch_us(start) // {step} * {step})"
        condition = f"width = {stored}" + (f" and {where}" if where else "")
        source = layout.source("windows", parts=parts, where=condition)
        return f"select {_WINDOW.format(start=start)} from ({source})"

    def _kpis(self, cursor: Connection, layout: Layout, question: Kpis) -> pa.Table:
        hot = self._windows(layout, question.width, "", [])
        width = self._stored_width(question.width)
        step = question.width * SECOND
        sealed = f"select series, make_timestamptz(epoch_us(start) // {step} * {step}) from store.newest where width = {width}"
        newest = queries.newest_windows(question, f"select series, start from ({hot}) union all {sealed}")
        found = fetch(cursor, f"select distinct epoch_us(start) as start from ({newest.text})", newest.values)
        starts = found["start"].to_pylist()
        parts = [p for p in layout.parts_of("windows") if any(p.meets(s, s + step, None) for s in starts)]
        oldest = f"start >= make_timestamptz({min(starts)})" if starts else ""
        return _run(cursor, queries.kpis(question, self._windows(layout, question.width, oldest, parts), newest))

    def _trends(self, cursor: Connection, layout: Layout, question: Trends) -> pa.Table:
        self._stored_width(question.width)
        since, until = queries.aligned(question.since, question.until, question.width)
        source, values = self._windows_in(layout, question.width, since, until)
        return _run(cursor, queries.trends(question, source), values)

    def _heatmap(self, cursor: Connection, layout: Layout, question: Heatmap) -> pa.Table:
        source, values = self._windows_in(layout, 300, question.since, question.until)
        return _run(cursor, queries.heatmap(question, source), values)

    def _windows_in(self, layout: Layout, width: int, since: Micros | None, until: Micros | None) -> tuple[str, Query]:
        span = queries.span("start", since, until)
        parts = [part for part in layout.parts_of("windows") if part.meets(since, until, None)]
        return self._windows(layout, width, span.text, parts), span

    def _history(self, cursor: Connection, layout: Layout, question: History) -> tuple[pa.Table, int, int]:
        series: list[int] | None = None
        wanted = queries.matching_series(
            device=question.device, metric=question.metric, site=question.site, zone=question.zone
        )
        if question.series is not None:
            series = sorted(question.series)
        elif wanted.values:
            series = _run(cursor, wanted)["id"].to_pylist()
        history = RawReadings(cursor, layout, question, series)
        rows, stored = history.rows(), history.stored()
        if len(rows) < question.limit:
            return rows, len(rows), stored
        return rows, history.total(), stored

    def _purgeable(self, cursor: Connection, layout: Layout, question: Purgeable) -> pa.Table:
        meant = question.order.matching(series_of(fetch(cursor, ALL_SERIES)))
        span = queries.span("time", None, question.order.before)
        conditions = [span.text, "" if meant is None else queries.one_of("series", meant)]
        parts = [part for part in layout.parts_of("readings") if part.meets(None, question.order.before, meant)]
        source = layout.source("readings", parts=parts, where=" and ".join(text for text in conditions if text))
        return _run(cursor, queries.purgeable(source), span)

    def _ask_sql(self, question: Sql) -> Answer:
        if not self._users.acquire(timeout=question.seconds):
            raise Retry(f"{USERS} queries are running already", hint="Try again when one of them is done", after=1.0)
        try:
            with self._engine.snapshot() as cursor, self._limit(cursor, question.seconds):
                check_select(cursor, question.text)
                place, _ = self._place(cursor)
                return Answer(_read_all(cursor, question), place)
        finally:
            self._users.release()

    @contextmanager
    def _limit(self, cursor: Connection, seconds: float) -> Iterator[None]:
        with self._watch.limit(cursor, seconds, yields=True) as running:
            try:
                yield
            except (duckdb.Error, pa.ArrowException, OSError, RuntimeError, ValueError, TypeError) as error:
                if running.stopped:
                    raise Retry(f"the query was stopped: {running.stopped}", hint="Ask for less at once") from None
                if isinstance(error, duckdb.InterruptException):
                    raise Retry("the query was stopped: the store is closing", after=1.0) from None
                if isinstance(error, duckdb.OperationalError) and not isinstance(error, duckdb.ProgrammingError):
                    raise
                raise Invalid(Problem(None, "sql", without_paths(str(error)))) from None


_HOLES: Final = """select source, lane, epoch, hole, make_timestamptz(hole[4]) as before
from (select source, lane, epoch, unnest(from_json(holes, '[["bigint"]]')) as hole from store.streams where holes <> '[]')"""


def _listing(question: Alerts | Gaps | Devices | Commands | CommandSteps) -> Query:
    match question:
        case Alerts():
            return queries.alerts(question)
        case Gaps():
            return queries.gaps(question, _HOLES)
        case Devices():
            return queries.devices(question)
        case Commands():
            return command_queries.commands(question)
        case CommandSteps():
            return command_queries.command_steps(question)


def _run(cursor: Connection, query: Query, more: Query | None = None) -> pa.Table:
    return fetch(cursor, query.text, {**query.values, **(more.values if more else {})})


def _counted(table: pa.Table) -> tuple[pa.Table, int]:
    """An answer without the ``total`` that its rows carry, and that total."""
    total = table["total"][0].as_py() if len(table) else 0
    return table.drop_columns("total"), total


def _read_all(cursor: Connection, question: Sql) -> pa.Table:
    """The rows of a user's query, as long as they are not too many."""
    relation = cursor.sql(question.text, params=list(question.parameters) or None)
    reader = relation.to_arrow_reader(8192)
    batches: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in reader:
        batches.append(batch)
        rows, size = rows + len(batch), size + batch.nbytes
        if rows > question.rows:
            raise Invalid(Problem(None, "sql", f"more than {question.rows:,} rows; add LIMIT, or aggregate"))
        if size > LARGEST_ANSWER:
            raise Invalid(Problem(None, "sql", f"more than {LARGEST_ANSWER >> 20} MB; add LIMIT, or fewer columns"))
    return pa.Table.from_batches(batches, reader.schema)
