"""What keeps a store small and quick: generations are sealed into parts, parts merged, what is hidden let go, checkpoints
taken.

All of it runs in one thread, beside commits; only the short steps that change where things lie hold the write lock.
A piece of work is first written to files that nobody knows, then registered in one transaction, so a crash at any
moment leaves either the old state with a stray file, or the new one.
"""

# ruff: noqa: S608 - names of tables and columns are Sonde's own; values go as parameters

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import structlog

from sonde.clock import DAY, Clock
from sonde.metrics import Metrics
from sonde.store.engine import Connection, Engine, fetch
from sonde.store.layout import Layout, rows_in
from sonde.store.part import Content, Part
from sonde.store.parts import Origin, Writer, check_content, choose_merge, list_parts, remove_strays
from sonde.store.publishing import Publishing
from sonde.store.release import Release, Removal
from sonde.store.schema import SERIES, columns_of, create_generation, generation
from sonde.store.superseded import Superseded
from sonde.store.writing import offsets_of

_log = structlog.get_logger()

Reached = Callable[[str], None]
"""Called at each marked point, so that tests can stop a process there."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When a generation of readings is rolled, and how many rows of windows stay in one; how often a checkpoint is due."""

    hot_rows: int
    hot_seconds: float
    window_rows: int = 500_000
    checkpoint_seconds: float = 60.0


class Housekeeping:
    """The maintenance of one store. ``layout`` is the newest; whoever changes it holds ``writing``."""

    def __init__(
        self,
        engine: Engine,
        folder: Path,
        log: str,
        layout: Layout,
        limits: Limits,
        clock: Clock,
        metrics: Metrics,
        reached: Reached,
    ) -> None:
        self._engine, self._log, self._limits, self._clock, self._reached = engine, log, limits, clock, reached
        self._parts, self._metrics = folder / "parts", metrics
        self.checkpoints = Publishing(
            *(engine, folder / "checkpoints", log, limits.checkpoint_seconds), clock=clock, reached=reached
        )
        self.superseded = Superseded()
        self.use(layout)
        self.writing = threading.RLock()
        self.hot_rows = 0
        self.tidies = True
        self._stepping = threading.Lock()
        self._failed = False
        self._untidy = True
        self._rolled_at = self._clock.monotonic()
        self._release = Release()

    def use(self, layout: Layout) -> None:
        """From now on everything lies as ``layout`` says."""
        self.layout = layout
        self.superseded.show(layout.version)
        self._metrics.parts.set(len(layout.parts))
        self._metrics.part_bytes.set(sum(part.bytes for part in layout.parts))

    def step(self) -> bool:
        """One piece of work; whether there was any. After an error the next call begins anew."""
        with self._stepping:
            if self._failed:
                self.sweep()
            self._failed = True
            busy = self._step()
            self._failed = False
            return busy

    def _step(self) -> bool:
        if len(self.layout.readings) > 1:
            self._seal("readings", self.layout.readings[0])
        elif len(self.layout.windows) > 1:
            self._seal("windows", self.layout.windows[0])
        elif (found := self._hidden()) is not None:
            self._remove(found)
        elif self.checkpoints.is_under_way:
            self._untidy = True  # an older checkpoint goes, and with it what only that one needed
            self.checkpoints.publish(self.layout)
        elif self._is_due():
            self.roll()
        elif chosen := choose_merge(self.layout.parts):
            self._merge(chosen)
        else:
            if self._untidy:
                self.sweep()
            return False
        return True

    def roll(self) -> None:
        """Let new generations take over; the old ones are sealed by the next steps, and then a checkpoint published."""
        with self.writing, self._engine.cursor() as cursor:
            layout = self.layout
            readings, windows = layout.readings, layout.windows
            many = (
                _number(cursor, f"select count(*) from {generation('windows', windows[-1])}")
                >= self._limits.window_rows
            )
            following = max(readings[-1], windows[-1]) + 1
            offset = offsets_of(cursor, self._log)
            statements = [create_generation("readings", following, offset)]
            if many:
                statements.append(create_generation("windows", following, offset))
            changed = replace(
                layout,
                version=layout.version + 1,
                readings=(*readings, following),
                windows=(*windows, following) if many else windows,
            )
            with self._engine.transaction(cursor):
                cursor.execute("; ".join(statements))
                self.show(cursor, changed)
            self._reached("rolled")
            self.use(changed)
            self.hot_rows, self._rolled_at = 0, self._clock.monotonic()
            self.checkpoints.begin()

    @property
    def is_settled(self) -> bool:
        """Whether all that is hidden has gone from the disk too."""
        layout = self.layout
        waiting = layout.hidden.purges or any(map(layout.hidden.is_below, layout.parts))
        return not (waiting or self.checkpoints.lets_go or self._untidy)

    def _is_due(self) -> bool:
        if self.hot_rows >= self._limits.hot_rows:
            return True
        if self.checkpoints.is_asked_for:
            return True
        return self._clock.monotonic() - self._rolled_at >= self._limits.hot_seconds

    def _seal(self, content: Content, number: int) -> None:
        with self._metrics.seal_seconds.time(), self._engine.cursor() as cursor:
            first, following = (
                _number(
                    cursor, f"select first_offset from store.generations where content = '{content}' and number = {n}"
                )
                for n in self.layout.generations(content)[:2]
            )
            origin = Origin(first, following)
            kept = self.layout.hidden.kept(content)
            source = rows_in(content, number) + (f" where {kept}" if kept else "")
            written = self._writer(cursor).write(content, source, origin)
            self._reached("written")
            with self.writing:
                layout = self.layout
                changed = replace(
                    layout,
                    version=layout.version + 1,
                    readings=tuple(n for n in layout.readings if content != "readings" or n != number),
                    windows=tuple(n for n in layout.windows if content != "windows" or n != number),
                    parts=(*layout.parts, *written),
                )
                with self._engine.transaction(cursor):
                    list_parts(cursor, written)
                    if content == "windows":
                        cursor.execute(_KEEP_NEWEST.format(source=generation(content, number)))
                    cursor.execute(f"delete from store.generations where content = '{content}' and number = {number}")
                    cursor.execute(f"drop table {generation(content, number)}")
                    self.show(cursor, changed)
                    self._reached("registering")
                self.use(changed)
        self._reached("sealed")
        _log.info("generation_sealed", content=content, parts=len(written), rows=sum(p.rows for p in written))

    def _merge(self, parts: list[Part]) -> None:
        content, layout = parts[0].content, self.layout
        for part in parts:
            check_content(self._parts, part)  # or the new part would be the damage's own
        names = tuple(part.name for part in parts)
        origin = Origin(min(p.first_offset for p in parts), max(p.next_offset for p in parts), names)
        with self._engine.cursor() as cursor:
            source = layout.source(content, parts=parts, generations=False)
            merged = self._writer(cursor).merge(content, source, origin, min(p.min_time for p in parts) // DAY)
            self._reached("written")
            self._swap(cursor, parts, [merged])
        self._reached("merged")
        _log.info("parts_merged", content=content, parts=len(parts), rows=merged.rows)

    def _swap(self, cursor: Connection, gone: Sequence[Part], made: Sequence[Part], done: int | None = None) -> None:
        """Let parts take the place of others, and take the purge with the number ``done`` off the list."""
        names = {part.name for part in gone}
        with self.writing:
            layout = self.layout
            hidden = replace(layout.hidden, purges=tuple(p for p in layout.hidden.purges if p.number != done))
            rest = tuple(part for part in layout.parts if part.name not in names)
            changed = replace(layout, version=layout.version + 1, parts=(*rest, *made), hidden=hidden)
            with self._engine.transaction(cursor):
                cursor.execute("delete from store.parts where name in (select unnest($names))", {"names": list(names)})
                list_parts(cursor, made)
                for table in ("purges", "purged") if done is not None else ():
                    cursor.execute(f"delete from store.{table} where number = {done}")
                self.show(cursor, changed)
                self._reached("registering")
            self.use(changed)
            self.superseded.add(layout.version, names)
            self._untidy = True

    def _hidden(self) -> Removal | None:
        """What of the parts is to go next, if anything."""
        if not self.layout.hidden.floors and not self.layout.hidden.purges:
            return None
        with self._engine.cursor() as cursor:
            return self._release.next(cursor, self.layout)

    def _remove(self, found: Removal) -> None:
        """Take out of the list what is hidden, or write it anew without that; its file goes when nothing needs it."""
        rows = sum(part.rows for part in found.parts)
        with self._engine.cursor() as cursor:
            made = []
            for part in found.anew:
                check_content(self._parts, part)  # or the new part would be the damage's own
                origin = Origin(part.first_offset, part.next_offset, (part.name,))
                source = self.layout.source(part.content, parts=[part], generations=False)
                made.append(self._writer(cursor).merge(part.content, source, origin, part.min_time // DAY))
            self._reached("released")
            self._swap(cursor, found.parts, made, found.done)
        self.checkpoints.let_go(part.name for part in found.parts)
        self._reached("removed")
        if found.parts:
            removed = rows - sum(part.rows for part in made)
            content = found.parts[0].content
            if content == "readings":
                self._metrics.removed.labels(found.why).inc(removed)
            _log.info("history_removed", why=found.why, content=content, parts=len(found.parts), rows=removed)

    def _writer(self, cursor: Connection) -> Writer:
        return Writer(self._parts, cursor, fetch(cursor, f"select {columns_of(SERIES)} from store.series order by id"))

    @staticmethod
    def show(cursor: Connection, layout: Layout) -> None:
        """Make the database show ``layout``."""
        cursor.execute(f"update store.layout set version = {layout.version}; {layout.views()}")

    def named_parts(self) -> set[str]:
        """The files that this store or a checkpoint needs."""
        return {part.name for part in self.layout.parts} | self.checkpoints.named_parts()

    def sweep(self) -> None:
        """Delete the files that nobody needs: superseded, or left behind by a crash or an error."""
        self._untidy = False
        if not self.tidies:
            return
        read = self.superseded.still_read()
        strays = remove_strays(self._parts, self.named_parts() | read)
        self._untidy = bool(read)
        if strays:
            _log.info("strays_removed", files=len(strays))


_KEEP_NEWEST: Final = """insert into store.newest as n
select series, width, max(start) from {source} group by series, width
on conflict do update set start = greatest(n.start, excluded.start)"""


def _number(cursor: Connection, sql: str) -> int:
    return int(cursor.execute(sql).fetchall()[0][0])
