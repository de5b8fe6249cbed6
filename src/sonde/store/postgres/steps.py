"""What processors commit, made known to other processes: a table that remembers the newest steps, and a word that there are
new ones. The store has it all; this only says where to look, so that an open page shows an alert at once."""

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import structlog

from sonde.changes import Step
from sonde.clock import Clock, SystemClock
from sonde.errors import SondeError
from sonde.store.postgres.connections import Connection, Connections

CHANNEL: Final = "sonde_steps"
KEPT_SECONDS: Final = 600.0
"""How long a step is remembered, for readers that were cut off."""

_log = structlog.get_logger()
_encode: Final = msgspec.msgpack.Encoder().encode
_TRIM_SECONDS: Final = 60.0
_SECONDS: Final = 10.0
_AGAIN_SECONDS: Final = 1.0
_MOST_WAITING: Final = 1_000
_CLOSE_SECONDS: Final = 3.0
_WRITE: Final = """
insert into store.steps (log, partition, "offset", content)
select * from unnest(%b::text[], %b::int[], %b::bigint[], %b::bytea[]) on conflict do nothing
"""
_TRIM: Final = "delete from store.steps where at < now() - make_interval(secs => %s)"


class StepWriter:
    """Port ``Onlooker``: writes down each step that is news, on a thread of its own, so that no processor waits for it. Any
    number of processors may tell it of theirs; each partition's steps come in order."""

    def __init__(self, connections: Connections, *, clock: Clock | None = None) -> None:
        self._connections, self._clock = connections, clock or SystemClock()
        self._waiting: deque[Step] = deque()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._open = True
        self._trimmed = float("-inf")
        self._problem = ""
        self._thread = threading.Thread(target=self._run, name="sonde-tell-steps", daemon=True)
        self._thread.start()

    def committed(self, step: Step) -> None:
        """See :meth:`sonde.ports.Onlooker.committed`."""
        if not step.alerts and not step.corrected:
            return
        with self._lock:
            self._waiting.append(step)
            if len(self._waiting) > _MOST_WAITING:
                lost = self._waiting.popleft()
                _log.warning("step_not_told", partition=lost.progress.partition, offset=lost.progress.offset)
        self._wake.set()

    def close(self) -> None:
        """Write down what waits, if the database takes it now."""
        self._open = False
        self._wake.set()
        self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        while True:
            self._clock.wait(self._wake, _TRIM_SECONDS)
            open_ = self._open
            self._wake.clear()
            try:
                self._write()
                self._trim()
            except SondeError as error:
                self._stuck(error)
                if self._open:
                    self._clock.wait(threading.Event(), _AGAIN_SECONDS)
                    self._wake.set()
            else:
                self._problem = ""
            if not open_:
                return

    def _write(self) -> None:
        with self._lock:
            steps = list(self._waiting)
        if not steps:
            return
        with self._connections.transaction(_SECONDS) as db:
            write_steps(db, steps)
        with self._lock:
            written = {id(step) for step in steps}
            self._waiting = deque(step for step in self._waiting if id(step) not in written)

    def _trim(self) -> None:
        now = self._clock.monotonic()
        if now - self._trimmed >= _TRIM_SECONDS:
            with self._connections.transaction(_SECONDS) as db:
                db.execute(_TRIM, (KEPT_SECONDS,))
            self._trimmed = now

    def _stuck(self, error: SondeError) -> None:
        if str(error) != self._problem:
            _log.warning("steps_not_told", problem=str(error))
        self._problem = str(error)


def write_steps(db: Connection, steps: Sequence[Step]) -> None:
    """Write ``steps`` down, and say so when the transaction commits. A crash may take them: the store has what they say."""
    places = [step.progress for step in steps]
    db.execute("set local synchronous_commit = off")
    db.execute(
        _WRITE,
        (
            [place.log for place in places],
            [place.partition for place in places],
            [place.offset for place in places],
            [_encode(step) for step in steps],
        ),
    )
    db.execute("select pg_notify(%s, '')", (CHANNEL,))


def number(db: Connection, query: str, values: tuple[Any, ...] = ()) -> int:
    """The one number that a query gives; 0 for none."""
    row = db.execute(query, values).fetchone()
    return int(row[0] or 0) if row is not None else 0
