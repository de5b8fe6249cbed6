"""Checkpoints of a running store: when one is due, which moment it shows, and publishing it."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import structlog

from sonde.clock import Clock
from sonde.store import checkpoint
from sonde.store.engine import Connection, Engine
from sonde.store.layout import Layout, rows_in
from sonde.store.writing import offsets_of

_log = structlog.get_logger()


class Publishing:
    """The checkpoints in a folder. A snapshot keeps the moment of a roll in view, until the generations below it are sealed:
    so a checkpoint agrees with the parts that it names."""

    def __init__(
        self, engine: Engine, folder: Path, log: str, seconds: float, clock: Clock, reached: Callable[[str], None]
    ) -> None:
        self._engine, self._folder, self._log, self._reached = engine, folder, log, reached
        self._seconds, self._clock = seconds, clock
        self._begun_at: float | None = None
        self._snapshot: Connection | None = None
        self._wanted = False  # whether one was asked for
        self._let_go: set[str] = set()  # files that should not wait for the next checkpoints to be forgotten
        self._forgot_at = -1  # place in the log of the last attempt at that

    def want(self) -> None:
        """Publish one as soon as the log has gone on."""
        self._wanted = True

    def let_go(self, files: Iterable[str]) -> None:
        """No checkpoint is to need these files any more: publish one as soon as the log has gone on."""
        self._let_go.update(files)

    @property
    def lets_go(self) -> bool:
        """Whether older checkpoints still keep files that should go."""
        return bool(self._let_go)

    @property
    def is_under_way(self) -> bool:
        """Whether a moment is in view that is not published yet."""
        return self._snapshot is not None

    @property
    def is_asked_for(self) -> bool:
        """Whether one is due before its time."""
        return (self.lets_go or self._wanted) and self._place() != self._forgot_at

    def begin(self) -> None:
        """Keep this moment in view, if a checkpoint is due."""
        now = self._clock.monotonic()
        recent = self._begun_at is not None and now - self._begun_at < self._seconds
        if recent and not self._let_go and not self._wanted:
            return
        self._begun_at, self._forgot_at, self._wanted = now, self._place(), False
        self._snapshot = self._engine.take()
        self._snapshot.execute("begin transaction read only")
        self._snapshot.execute("select count(*) from store.progress").fetchall()

    def publish(self, layout: Layout) -> None:
        """Publish the moment in view, whose rows are in the parts of ``layout`` but for its last generations."""
        snapshot, self._snapshot = self._snapshot, None
        assert snapshot is not None
        done = False
        try:
            kept = layout.windows[-1]
            tables = checkpoint.snapshot_tables(snapshot, rows_in("windows", kept))
            snapshot.execute("rollback")
            done = True
        finally:
            self._engine.give_back(snapshot, spoiled=not done)
        self._reached("exported")
        following = max(layout.readings[-1], kept) + 1
        published = checkpoint.publish(self._folder, tables, self._log, following, layout.parts)
        self._reached("published")
        if published is not None:
            checkpoint.forget(self._folder, published, self._let_go)
            self._let_go.clear()
            self._reached("forgotten")
            _log.info("checkpoint_published", offsets=published.manifest.offsets, parts=len(layout.parts))

    def stop(self) -> None:
        """Let the moment in view go; also when the database has gone."""
        snapshot, self._snapshot = self._snapshot, None
        if snapshot is not None:
            self._engine.give_back(snapshot, spoiled=True)

    def safe_offsets(self) -> Mapping[int, int]:
        """By partition, the offset from which on every kept checkpoint needs the log; nothing if there is none."""
        places = [c.offsets for c in checkpoint.checkpoints(self._folder) if c.manifest.log == self._log]
        partitions = {partition for place in places for partition in place}
        return {p: min(place.get(p, 0) for place in places) for p in partitions}

    def named_parts(self) -> set[str]:
        """The files that a kept checkpoint needs."""
        return {part.name for kept in checkpoint.checkpoints(self._folder) for part in kept.manifest.parts}

    def _place(self) -> int:
        with self._engine.cursor() as cursor:
            return offsets_of(cursor, self._log)
