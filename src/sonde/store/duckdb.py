"""The embedded store: one DuckDB file for what is hot, and sealed Parquet parts beside it.

::

    store/
      sonde.duckdb          state, and the generations of readings and windows that are not sealed yet
      parts/                history: one file a day and generation, merged as they gather
      checkpoints/<offset>/ the state as Parquet, so that the store can be made again
"""

# ruff: noqa: S608 - names of tables and columns are Sonde's own; values go as parameters

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, Self

import duckdb
import pyarrow.compute as pc
import structlog

from sonde.changes import Changes, State
from sonde.clock import Clock, SystemClock
from sonde.errors import Damaged, Invalid, Retry
from sonde.metrics import Metrics
from sonde.ports import Held, Piece
from sonde.question import Answer, Question
from sonde.store import parts, restoring
from sonde.store.answers import Answers
from sonde.store.comparison import differences
from sonde.store.engine import TROUBLE, Connection, Engine, fetch
from sonde.store.guard import Watch
from sonde.store.housekeeping import Housekeeping, Limits, Reached
from sonde.store.inspection import Inspection
from sonde.store.layout import Layout, widths_sql
from sonde.store.schema import generation
from sonde.store.writing import hides_more, progress_of, read_state, write

_log = structlog.get_logger()
FILE: Final = "sonde.duckdb"


class DuckStore:
    """A :class:`sonde.ports.Store` in the folder ``path``, or in memory if it is None. ``log`` is the id of the log that
    is followed: the cursor of every answer is of that one.

    :class:`Damaged` if what is there cannot be used (also of another version, or without its file): then
    :meth:`restore` makes it anew. :class:`Retry` if another program has it open, or the disk is full.

    ``tidies`` False keeps files that this store does not know, while two stores share a folder. ``reached`` is told at
    each marked point of the housekeeping.
    """

    def __init__(
        self,
        path: Path | None,
        log: str,
        *,
        memory_limit: str = "256MB",
        hot_rows: int = 4_000_000,
        hot_seconds: float = 3600.0,
        window_rows: int = 500_000,
        checkpoint_seconds: float = 60.0,
        clock: Clock | None = None,
        metrics: Metrics | None = None,
        file: str = FILE,
        tidies: bool = True,
        reached: Reached = lambda _: None,
    ) -> None:
        self.path, self.log, self.file = path, log, file
        self._clock = clock or SystemClock()
        self._metrics = metrics or Metrics()
        self._widths: set[int] = set()
        parts_folder = restoring.prepare_folders(path) if path is not None else None
        if path is not None:
            restoring.refuse_lost(path, file)
        self._engine = Engine(None if path is None else path / file, parts_folder, memory_limit)
        try:
            layout = self._prepare()
            limits = Limits(hot_rows, hot_seconds, window_rows, checkpoint_seconds)
            self._housekeeping = Housekeeping(
                self._engine, path or Path(), log, layout, limits, self._clock, self._metrics, reached
            )
            self._housekeeping.tidies = tidies and path is not None
            self._count()
            self._housekeeping.sweep()
        except BaseException:
            self._engine.close()
            raise
        self._inspection = Inspection(self._parts, self._clock)
        self._watch = Watch(self._clock.monotonic)
        self._answers = Answers(self._engine, self._watch, log, self._layout_at, self._widths)

    @classmethod
    def restore(
        cls,
        path: Path,
        log: str,
        *,
        ends: Mapping[int, tuple[int, int]] | None = None,
        file: str = FILE,
        tidies: bool = True,
        clock: Clock | None = None,
        metrics: Metrics | None = None,
        memory_limit: str = "256MB",
        hot_rows: int = 4_000_000,
        hot_seconds: float = 3600.0,
    ) -> Self:
        """A new store in ``file``, from the newest checkpoint that goes with ``log`` (``ends``: :meth:`Log.ends`), or an
        empty one. A file of that name is set aside. The parts stay where they are."""
        restoring.restore(path, log, file, ends)
        return cls(
            path,
            log,
            file=file,
            tidies=tidies,
            clock=clock,
            metrics=metrics,
            memory_limit=memory_limit,
            hot_rows=hot_rows,
            hot_seconds=hot_seconds,
        )

    def load(self, partition: int = 0) -> State:
        """See :meth:`sonde.ports.Store.load`."""
        with self._engine.snapshot() as cursor:
            return read_state(cursor)

    def commit(self, changes: Changes) -> None:
        """See :meth:`sonde.ports.Store.commit`."""
        house = self._housekeeping
        with house.writing, self._watch.committing():
            try:
                self._write(changes)
            except duckdb.OutOfMemoryException as error:
                if not self._watch.make_way():
                    self._engine.refuse(error)
                self._write_again(changes)
            except duckdb.Error as error:
                self._recover(error, changes)
            house.hot_rows += len(changes.readings)

    def ask(self, question: Question) -> Answer:
        """See :meth:`sonde.ports.Store.ask`."""
        seen = self._housekeeping.superseded.begin()
        try:
            return self._answers.ask(question)
        except (Damaged, Invalid) as error:
            if isinstance(error, Damaged) or TROUBLE.search(error.message):
                self.verify_parts()  # names the part, if it is one
            raise
        finally:
            self._housekeeping.superseded.end(seen)

    def maintain(self) -> bool:
        """See :meth:`sonde.ports.Store.maintain`."""
        if self.path is None:
            return False
        try:
            busy = self._housekeeping.step()
            if not busy:
                self._inspection.step(self._housekeeping.layout.parts)
            return busy
        except duckdb.Error as error:
            self._engine.refuse(error)
        except Damaged:
            self.verify_parts()
            raise
        except OSError as error:
            raise Retry(
                f"the store's disk is full or cannot be written ({error})", hint="Free some space", after=5.0
            ) from None

    def held(self) -> Held:
        """See :meth:`sonde.ports.Holdings.held`."""
        house = self._housekeeping
        layout = house.layout
        return Held(
            pieces=[Piece(p.content, p.rows, p.bytes, p.min_time, p.max_time) for p in layout.parts],
            widths=frozenset(self._widths.copy()),
            floors=layout.hidden.floors,
            safe={} if self.path is None else house.checkpoints.safe_offsets(),
            settled=house.is_settled,
        )

    def want_checkpoint(self) -> None:
        """See :meth:`sonde.ports.Holdings.want_checkpoint`."""
        self._housekeeping.checkpoints.want()

    def roll(self) -> None:
        """Let a new generation take over now; :meth:`maintain` then seals the old one and publishes a checkpoint."""
        if self.path is not None:
            self._housekeeping.roll()

    def verify_parts(self) -> int:
        """Read all parts; how many. :class:`Damaged` names the first that does not hold what was written."""
        if self.path is None:
            return 0
        for part in self._housekeeping.layout.parts:
            parts.check_content(self.path / "parts", part)
        return len(self._housekeeping.layout.parts)

    def named_parts(self) -> set[str]:
        """The files in ``parts/`` that this store or one of its checkpoints needs."""
        return set() if self.path is None else self._housekeeping.named_parts()

    def equals(self, other: "DuckStore") -> list[str]:
        """In what the two stores differ, in words; none: they are equal, but for the order of floating-point sums."""
        with self._engine.snapshot() as mine, other._engine.snapshot() as theirs:
            return differences(mine, theirs)

    def close(self) -> None:
        """Everything committed stays."""
        self._watch.close()
        with self._housekeeping.writing:
            self._housekeeping.checkpoints.stop()
            self._engine.close()

    def _prepare(self) -> Layout:
        """Make the tables if there are none, and the views for where the parts lie now."""
        with self._engine.cursor() as cursor:
            with self._engine.transaction(cursor):
                restoring.prepare_tables(cursor, str(self._engine.file))
                layout = parts.read_layout(cursor, self._folder)
                for part in layout.parts:
                    parts.check_size(self._parts, part)
                self._show(cursor, layout)
            self._widths.update(fetch(cursor, widths_sql(layout))["width"].to_pylist())
            return layout

    def _show(self, cursor: Connection, layout: Layout) -> None:
        try:
            restoring.show(cursor, layout)
        except duckdb.Error:
            for part in layout.parts:
                parts.check_content(self._parts, part)
            raise

    def _count(self) -> None:
        number = self._housekeeping.layout.readings[-1]
        with self._engine.cursor() as cursor:
            rows = fetch(cursor, f"select count(*) as rows from {generation('readings', number)}")
        self._housekeeping.hot_rows = rows["rows"][0].as_py()

    @property
    def _folder(self) -> Path | None:
        return None if self.path is None else self.path / "parts"

    @property
    def _parts(self) -> Path:
        return Path() if self.path is None else self.path / "parts"

    def _layout_at(self, cursor: Connection, version: int) -> Layout:
        """The layout that ``cursor`` sees."""
        newest = self._housekeeping.layout
        return newest if newest.version == version else parts.read_layout(cursor, self._folder)

    def _write(self, changes: Changes) -> None:
        if not self._engine.is_open:
            self._reopen()
        if len(changes.windows):
            self._widths |= set(pc.unique(changes.windows["width"]).to_pylist())
        house, changed = self._housekeeping, None
        with self._engine.raw_cursor() as cursor, self._engine.transaction(cursor):
            write(cursor, changes, house.layout)
            if hides_more(changes):
                changed = replace(house.layout, version=house.layout.version + 1, hidden=parts.read_hidden(cursor))
                house.show(cursor, changed)
        if changed is not None:
            house.use(changed)

    def _write_again(self, changes: Changes) -> None:
        try:
            self._write(changes)
        except duckdb.Error as error:
            self._recover(error, changes)

    def _recover(self, error: duckdb.Error, changes: Changes) -> None:
        """After a failed commit: open the database again if DuckDB has given it up. Raises what the error means, unless
        the commit turns out to have been made."""
        if isinstance(error, duckdb.IOException | duckdb.FatalException | duckdb.InternalException):
            _log.warning("store_reopened", reason=str(self._engine.meaning(error)))
            self._reopen()
        to = changes.progress
        with self._engine.snapshot() as cursor:
            committed = progress_of(cursor, to.log, to.partition) == to.offset
            layout = parts.read_layout(cursor, self._folder) if committed and hides_more(changes) else None
        if layout is not None:
            self._housekeeping.use(layout)
        if not committed:
            self._engine.refuse(error)

    def _reopen(self) -> None:
        self._housekeeping.checkpoints.stop()
        self._engine.close()
        self._engine.open()
        self._housekeeping.use(self._prepare())
        self._count()
