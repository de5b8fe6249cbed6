"""A store that no server has open, asked and left as it is."""

from pathlib import Path
from types import TracebackType
from typing import Self

from sonde.clock import Clock, SystemClock
from sonde.errors import NotFound
from sonde.question import Answer, Question
from sonde.store import parts, restoring
from sonde.store.answers import Answers
from sonde.store.engine import Engine
from sonde.store.guard import Watch
from sonde.store.layout import widths_sql


class ReadOnlyStore:
    """Answers questions as :class:`sonde.store.duckdb.DuckStore` does, with the same limits; ``close`` when done.

    :class:`NotFound` if there is no store, :class:`Retry` if a server has it open, :class:`Damaged` if it cannot be used.
    """

    def __init__(self, path: Path, log: str = "", *, file: str = "sonde.duckdb", memory_limit: str = "512MB") -> None:
        if not (path / file).exists():
            raise NotFound(f"there is no store in {path}", hint="Start sonde up once, or name another directory")
        folder = path / "parts"
        clock: Clock = SystemClock()
        self._engine = Engine(path / file, folder, memory_limit, read_only=True)
        try:
            with self._engine.snapshot() as cursor:
                restoring.check_version(cursor, str(path / file))
                layout = parts.read_layout(cursor, folder)
                logs = cursor.execute("select log from store.progress order by log_time desc limit 1").fetchall()
                widths = set(cursor.sql(widths_sql(layout)).to_arrow_table()["width"].to_pylist())
            self._engine.prepare = layout.views(temporary=True)  # the folder may have been moved since it was written
            self._engine.forget_free()
        except BaseException:
            self._engine.close()
            raise
        self._watch = Watch(clock.monotonic)
        followed = log or (logs[0][0] if logs else "")
        self._answers = Answers(self._engine, self._watch, followed, lambda _cursor, _version: layout, widths)

    def ask(self, question: Question) -> Answer:
        """See :meth:`sonde.ports.Store.ask`."""
        return self._answers.ask(question)

    def close(self) -> None:
        self._watch.close()
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_read_only(path: Path, log: str = "") -> ReadOnlyStore:
    """The store in the folder ``path``, to be asked and not changed; for ``sonde sql`` while no server runs."""
    return ReadOnlyStore(path, log)
