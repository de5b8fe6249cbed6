"""One owner among many programs: of the rules over windows, of what is let go."""

import hashlib
import threading
from collections.abc import Callable
from typing import Final

import psycopg
import structlog

from sonde.clock import Clock, SystemClock
from sonde.errors import SondeError
from sonde.store.postgres.connections import Connection

_log = structlog.get_logger()
_LOOK_SECONDS: Final = 1.0
_LOCK: Final = b"select pg_try_advisory_xact_lock(%d)"  # no parameters: a portal that stays open would hold a snapshot
_BEGIN: Final = b"""
begin; set local idle_in_transaction_session_timeout = 0; set local statement_timeout = 5000;
set local tcp_keepalives_idle = 5; set local tcp_keepalives_interval = 2; set local tcp_keepalives_count = 3
"""


class OwnerLock:
    """A lock in the database that one program has at a time, for as long as its connection lives.

    ``connect`` opens a connection that nobody else uses. The lock is that of a transaction which stays open and does nothing:
    so it holds behind a pooler too, and keeps no row from being tidied away. When the connection is lost, the database gives
    the lock to another one; whoever had it finds out within a second, by asking on that same connection. So for that second
    two may think that they are the owner: what an owner does must bear that.
    """

    def __init__(self, connect: Callable[[], Connection], name: str, *, clock: Clock | None = None) -> None:
        self._connect, self._name, self._clock = connect, name, clock or SystemClock()
        self._key = int.from_bytes(hashlib.sha256(b"sonde\0" + name.encode()).digest()[:8], "big", signed=True)
        self._connection: Connection | None = None
        self._owns = False
        self._looked = float("-inf")
        self._lock = threading.Lock()

    def held(self) -> bool:
        """Whether this program is the owner, proved no longer than a second ago; if nobody is, it becomes the owner. False
        while the database is away."""
        with self._lock:
            now = self._clock.monotonic()
            if now - self._looked >= _LOOK_SECONDS:
                self._look()
                self._looked = now
            return self._owns

    def close(self) -> None:
        """Let another one have it."""
        with self._lock:
            self._drop()

    def _look(self) -> None:
        owned = self._owns
        try:
            self._owns = self._proves() if owned else self._takes()
        except (psycopg.Error, SondeError) as error:
            self._drop()
            if owned:
                _log.warning("ownership_lost", of=self._name, problem=str(error).strip())
        if self._owns and not owned:
            _log.info("ownership_taken", of=self._name)

    def _proves(self) -> bool:
        """Whether the transaction that has the lock still goes on."""
        assert self._connection is not None
        self._connection.execute("select 1")
        return self._connection.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS

    def _takes(self) -> bool:
        if self._connection is None:
            self._connection = self._connect()
        self._connection.execute(_BEGIN)
        row = self._connection.execute(_LOCK % self._key).fetchone()
        if row is not None and row[0]:
            return True
        self._connection.execute("rollback")
        return False

    def _drop(self) -> None:
        self._owns = False
        if self._connection is not None:
            self._connection.close()
            self._connection = None
