"""What processors committed, in whichever process, for those who look on in this one."""

import secrets
import threading
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import psycopg
import structlog

from sonde.changes import Step
from sonde.clock import Clock, SystemClock
from sonde.errors import SondeError
from sonde.ports import Onlooker
from sonde.store.postgres.connections import Connection, Connections
from sonde.store.postgres.steps import CHANNEL, KEPT_SECONDS, number

_log = structlog.get_logger()
_POLL_SECONDS: Final = 0.5
_LISTEN_SECONDS: Final = 5.0  # between two looks, though nothing was heard
_ECHO_SECONDS: Final = 3.0
_HEAL_SECONDS: Final = 1.0
_SECONDS: Final = 10.0
_AT_ONCE: Final = 200
_STOP_SECONDS: Final = 0.5
_decode: Final = msgspec.msgpack.Decoder(Step).decode

_FRESH: Final = """
select partition, "offset" from store.steps where log = %s and written >= %s::text::xid8 order by partition, "offset"
"""
_CONTENT: Final = """
select s.content from unnest(%s::int[], %s::bigint[]) as w (partition, "offset")
join store.steps s on s.log = %s and s.partition = w.partition and s."offset" = w."offset"
order by s.partition, s."offset"
"""
_OLDEST_OPEN: Final = "select pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
_ANSWERS: Final = "select pg_backend_pid()"
Key = tuple[int, int]


class StepReader:
    """Tells ``onlookers`` each step of log ``log`` once, from the start of this reader on.

    It hears of new steps by LISTEN, on a connection that ``connect`` opens for it alone; behind a pooler, or where that brings
    nothing, it looks twice a second. A row becomes visible when its transaction commits, not when it was written: so the
    place to read from is the oldest transaction that was open at the last look, and what was told since is remembered.
    """

    def __init__(
        self,
        connections: Connections,
        connect: Callable[[], Connection],
        log: str,
        onlookers: Sequence[Onlooker],
        *,
        clock: Clock | None = None,
    ) -> None:
        self._connections, self._connect, self._of = connections, connect, log
        self._onlookers, self._clock = onlookers, clock or SystemClock()
        self._since: int | None = None  # the oldest transaction whose rows may not have been seen; none: not yet begun
        self._told: set[Key] = set()
        self._read_at = self._clock.monotonic()
        self._stop = threading.Event()
        self._began = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sonde-steps", daemon=True)
        self.listens: bool | None = None  # whether LISTEN works; none: not known
        self.problem: str | None = None

    def start(self) -> None:
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait until it reads; whether it does. What is committed from then on is told."""
        return self._began.wait(seconds)

    def close(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow()
            except (SondeError, psycopg.Error) as error:
                if self.problem is None:
                    _log.warning("steps_not_read", problem=str(error).strip())
                self.problem = str(error).strip()
                self._stop.wait(_HEAL_SECONDS)

    def _follow(self) -> None:
        """Read, as long as the connection lasts."""
        with self._connect() as listening:
            self._look()
            self.listens = self._proves_to_listen(listening)
            while not self._stop.is_set():
                self._look()
                if self.listens:
                    _wait_for_one(listening, _LISTEN_SECONDS, self._stop)
                else:
                    listening.close()
                    self._stop.wait(_POLL_SECONDS)

    def _proves_to_listen(self, listening: Connection) -> bool:
        """Whether what one connection says is heard on another. Behind a pooler it is not tried: the session that would listen
        belongs to others the next moment, who would be told for ever."""
        if not _is_direct(listening):
            _log.info("steps_polled", why="there is a pooler before the database")
            return False
        word = secrets.token_hex(8)
        listening.execute(f"listen {CHANNEL}")
        with self._connections.transaction(_SECONDS) as db:
            db.execute("select pg_notify(%s, %s)", (CHANNEL, word))
        end = self._clock.monotonic() + _ECHO_SECONDS
        while not self._stop.is_set() and (left := end - self._clock.monotonic()) > 0:
            if any(heard.payload == word for heard in listening.notifies(timeout=min(left, 0.5), stop_after=1)):
                return True
        _log.info("steps_polled", why="LISTEN brings nothing here")
        return False

    def _look(self) -> None:
        """Tell what is new."""
        with self._connections.snapshot(_SECONDS) as db:
            oldest_open = number(db, _OLDEST_OPEN)
            begins = self._since is None or self._since > oldest_open  # else the database is another one, from a backup
            fresh: list[Key] = db.execute(_FRESH, (self._of, str(oldest_open if begins else self._since))).fetchall()
            if begins:
                self._told = set(fresh)
            unseen = [key for key in fresh if key not in self._told]
            for start in range(0, len(unseen), _AT_ONCE):
                self._tell(db, unseen[start : start + _AT_ONCE])
        self._told, self._since = set(fresh), oldest_open
        now = self._clock.monotonic()
        if now - self._read_at > KEPT_SECONDS:
            _log.warning("steps_missed", seconds=round(now - self._read_at), why="the database was away for too long")
        self._read_at = now
        if self.problem is not None:
            self.problem = None
            _log.info("steps_read_again")
        self._began.set()

    def _tell(self, db: Connection, keys: Sequence[Key]) -> None:
        partitions, offsets = [key[0] for key in keys], [key[1] for key in keys]
        for (content,) in db.execute(_CONTENT, (partitions, offsets, self._of)).fetchall():
            step = _decode(content)
            self._told.add((step.progress.partition, step.progress.offset))
            for onlooker in self._onlookers:
                onlooker.committed(step)


def _is_direct(connection: Connection) -> bool:
    """Whether the server process that was spoken to at first is the one that answers."""
    return number(connection, _ANSWERS) == connection.info.backend_pid


def _wait_for_one(listening: Connection, seconds: float, stop: threading.Event) -> None:
    """Wait until something is heard, or for so long."""
    for _ in range(round(seconds / _STOP_SECONDS)):
        if stop.is_set() or any(True for _ in listening.notifies(timeout=_STOP_SECONDS, stop_after=1)):
            return
