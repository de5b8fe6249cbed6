"""The store at scale: a PostgreSQL database, for any number of partitions and of processes."""

# ruff: noqa: S608 - names of tables and columns are Sonde's own; values go as parameters

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
import psycopg

from sonde.changes import Changes, State
from sonde.clock import DAY, Clock, SystemClock
from sonde.errors import Hold, Retry
from sonde.metrics import Metrics
from sonde.ports import Held, Piece
from sonde.question import Answer, Question
from sonde.store.postgres import migrate
from sonde.store.postgres.answers import Answers
from sonde.store.postgres.connections import Connection, Connections, transaction
from sonde.store.postgres.days import DayTables, Known, Span
from sonde.store.postgres.housekeeping import Housekeeping
from sonde.store.postgres.numbers import Numbers
from sonde.store.postgres.state import read_state
from sonde.store.postgres.trouble import meaning
from sonde.store.postgres.writing import PARTITIONS, days_of, progress_of, write

_SECONDS: Final = 60.0  # for a statement of a step; a load may take longer
_MICROS: Final = "(extract(epoch from before) * 1000000)::bigint"


class PostgresStore:
    """A :class:`sonde.ports.Store`, and its :class:`sonde.ports.Holdings`, in the database at ``url``. ``log`` is the id of
    the log that is followed: the cursor of every answer is of that one.

    Makes its tables if there are none. :class:`Hold` if they are of another version, or may not be made; :class:`Retry` if
    the database is away. At most ``most`` connections each are used to write and to ask.
    """

    def __init__(
        self, url: str, log: str, *, most: int = 8, clock: Clock | None = None, metrics: Metrics | None = None
    ) -> None:
        migrate.prepare(url)
        self.log = log
        self._writers, self._askers = Connections(url, most=most), Connections(url, most=most)
        self._clock = clock or SystemClock()
        self._tables = DayTables(self._writers, self._clock)
        self._housekeeping = Housekeeping(self._writers, self._tables, metrics or Metrics())
        self._numbers: dict[int, tuple[threading.Lock, Numbers]] = {}
        self._lock = threading.Lock()
        self._answers = Answers(self._askers, log)

    def load(self, partition: int = 0) -> State:
        """See :meth:`sonde.ports.Store.load`."""
        with self._numbers_of(partition) as numbers, self._writers.snapshot(10 * _SECONDS) as connection:
            numbers.forget()
            return read_state(connection, partition)

    def commit(self, changes: Changes) -> None:
        """See :meth:`sonde.ports.Store.commit`."""
        with self._numbers_of(changes.progress.partition) as numbers:
            try:
                tables = self._cover(changes)
                with self._writers.raw_connection() as connection, transaction(connection, _SECONDS):
                    ids = write(connection, changes, numbers, tables)
            except psycopg.Error as error:
                numbers.forget()
                self._tables.forget()
                self._recover(error, changes)
            except BaseException:
                numbers.forget()
                raise
            else:
                numbers.keep(ids)

    def ask(self, question: Question) -> Answer:
        """See :meth:`sonde.ports.Store.ask`."""
        return self._answers.ask(question)

    def maintain(self) -> bool:
        """See :meth:`sonde.ports.Store.maintain`."""
        return self._housekeeping.step()

    def held(self) -> Held:
        """See :meth:`sonde.ports.Holdings.held`. The database is durable: all that it has stored is safe."""
        today = self._clock.now() // DAY
        known = self._tables.look()
        with self._askers.snapshot(_SECONDS) as connection:
            floors = dict(connection.execute(f"select name, {_MICROS} from store.floors").fetchall())
            widths = connection.execute("select width from store.widths").fetchall()
            safe = connection.execute(
                "select partition, next_offset from store.progress where log = %s", (self.log,)
            ).fetchall()
            sizes = list(_sizes(connection, known))
            ((busy,),) = connection.execute(
                "select exists (select from store.purged)"
                " or exists (select from store.floors where width > 0 and cleared < before)"
            ).fetchall()
        ended = [one for one in sizes if one[0].end <= today]  # what still grows does not go
        pieces = [Piece("readings", rows, size, span.first * DAY, span.end * DAY - 1) for span, rows, size in ended]
        below = floors.get("readings", 0)
        settled = not busy and all(piece.last >= below for piece in pieces)
        growing = sum(size for span, _, size in sizes if span.end > today)
        return Held(pieces, frozenset(width for (width,) in widths), floors, dict(safe), settled, growing)

    def want_checkpoint(self) -> None:
        """See :meth:`sonde.ports.Holdings.want_checkpoint`. There are none here."""

    def close(self) -> None:
        """Everything committed stays."""
        self._askers.close()
        self._writers.close()

    @contextmanager
    def _numbers_of(self, partition: int) -> Iterator[Numbers]:
        """The ids of a partition's series, for one user at a time."""
        if partition >= PARTITIONS:
            raise Hold(f"the log has more than {PARTITIONS:,} partitions", hint="Make a topic with fewer")
        with self._lock:
            lock, numbers = self._numbers.setdefault(partition, (threading.Lock(), Numbers(partition)))
        with lock:
            yield numbers

    def _cover(self, changes: Changes) -> Known:
        """Make sure that there are tables for the readings of a step that no floor hides."""
        known = self._tables.known
        if not len(changes.readings):
            return known
        days = np.unique(days_of(changes.readings))
        if not len(known.missing(days)):
            return known
        with self._writers.connection() as connection:
            rows = connection.execute(f"select {_MICROS} from store.floors where name = 'readings'").fetchall()
        return self._tables.cover(days[(days + 1) * DAY > rows[0][0]] if rows else days)

    def _recover(self, error: psycopg.Error, changes: Changes) -> None:
        """After a failed commit: raise what the error means, unless the commit turns out to have been made."""
        if isinstance(error, psycopg.errors.UndefinedTable) and "readings_" in str(error):
            raise Retry("a day's table was dropped while readings for it came", after=0.1) from None
        meant = meaning(error)
        if not isinstance(meant, Retry):
            raise meant from None
        to = changes.progress
        with self._writers.transaction(_SECONDS) as connection:
            if progress_of(connection, to.log, to.partition) != to.offset:
                raise meant from None


def _sizes(connection: Connection, known: Known) -> Iterator[tuple[Span, int, int]]:
    """The tables of readings with their rows and bytes."""
    names = {span.name: span for span in known.spans}
    rows = connection.execute(
        "select c.relname, coalesce(sum(n.rows), 0)::bigint, pg_total_relation_size(c.oid) from pg_class c"
        " left join store.counts n on n.name = c.relname"
        " where c.relnamespace = 'store'::regnamespace and c.relname = any(%s) group by c.relname, c.oid",
        (list(names),),
    ).fetchall()
    for name, count, size in rows:
        yield names[name], count, size
