"""A small, bounded pool of connections to one database. What is broken is thrown away; the next one is new."""

import select
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

import psycopg

from sonde.errors import Retry
from sonde.store.postgres.copy import register
from sonde.store.postgres.trouble import meaning

Connection = psycopg.Connection[tuple[Any, ...]]

_CONNECT: Final[Mapping[str, Any]] = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,  # a server that has vanished is noticed
    "application_name": "sonde",
    "client_encoding": "utf8",
}
_WAITS: Final = 10.0  # seconds, for one of the others to give its connection back
_IDLE: Final = 15  # seconds: a process that sleeps in the middle of a transaction must not keep its locks


class Connections:
    """At most ``most`` connections to ``url``, made when they are needed.

    Driver errors that leave a ``with`` of these are Sonde's: :class:`Retry` if the database is away or busy, :class:`Hold`
    if someone must act. Prepared statements are not used, nor settings that outlive a transaction: a pooler may stand between.
    """

    def __init__(self, url: str, *, most: int = 8) -> None:
        self.url = url
        self._most = most
        self._free: list[Connection] = []
        self._lent: set[Connection] = set()
        self._making = 0
        self._lock = threading.Condition()
        self._open = True

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection that commits each statement by itself."""
        try:
            with self.raw_connection() as connection:
                yield connection
        except psycopg.Error as error:
            raise meaning(error) from None

    @contextmanager
    def transaction(self, seconds: float) -> Iterator[Connection]:
        """All that is done inside, or nothing; ``seconds`` for each statement."""
        with self.connection() as connection, transaction(connection, seconds):
            yield connection

    @contextmanager
    def snapshot(self, seconds: float) -> Iterator[Connection]:
        """One moment to look at; nothing can be changed. ``seconds`` for each statement."""
        with self.connection() as connection:
            connection.execute(_begin(seconds, "isolation level repeatable read read only"))
            yield connection
            connection.execute("rollback")

    @contextmanager
    def raw_connection(self) -> Iterator[Connection]:
        """A connection that commits each statement by itself; driver errors stay as they are."""
        connection = self._take()
        clean = False
        try:
            yield connection
            clean = connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        finally:
            self._give_back(connection, clean=clean)

    def close(self) -> None:
        """Stop what runs, and close all."""
        with self._lock:
            self._open = False
            for connection in self._free:
                connection.close()
            self._free.clear()
            for connection in self._lent:
                with suppress(psycopg.Error):  # then it ends by itself: its server is away
                    connection.cancel_safe(timeout=2.0)
            self._lock.notify_all()
            self._lock.wait_for(lambda: not self._lent and not self._making, timeout=5.0)

    def _take(self) -> Connection:
        with self._lock:
            while True:
                if not self._lock.wait_for(self._may_take, timeout=_WAITS):
                    raise Retry(f"all {self._most} connections to the database are busy", after=1.0)
                if not self._open:
                    raise Retry("the store is closing", after=1.0)
                if not self._free:
                    self._making += 1
                    break
                connection = self._free.pop()
                if _is_alive(connection):
                    self._lent.add(connection)
                    return connection
                connection.close()
        return self._make()

    def _may_take(self) -> bool:
        return not self._open or bool(self._free) or len(self._lent) + self._making < self._most

    def _make(self) -> Connection:
        connection: Connection | None = None
        try:
            connection = connect(self.url)
            return connection
        finally:
            with self._lock:
                self._making -= 1
                if connection is not None:
                    self._lent.add(connection)
                self._lock.notify()

    def _give_back(self, connection: Connection, *, clean: bool) -> None:
        with self._lock:
            self._lent.discard(connection)
            if clean and self._open:
                self._free.append(connection)
            else:
                connection.close()
            self._lock.notify_all()


def connect(url: str) -> Connection:
    """A connection outside any pool, that commits each statement by itself; driver errors stay as they are."""
    connection = psycopg.connect(url, autocommit=True, prepare_threshold=None, **_CONNECT)
    register(connection)
    return connection


@contextmanager
def transaction(connection: Connection, seconds: float) -> Iterator[None]:
    """A transaction on a connection that is there already."""
    connection.execute(_begin(seconds, ""))
    try:
        yield
    except BaseException:
        _roll_back(connection)
        raise
    connection.execute("commit")


def _roll_back(connection: Connection) -> None:
    try:
        connection.rollback()
    except psycopg.Error:
        return  # the connection is gone, and the server has rolled back by itself; the first error says why


def _begin(seconds: float, how: str) -> bytes:
    limit = max(1, round(seconds * 1000))
    text = f"begin {how}; set local timezone = 'UTC'; set local statement_timeout = {limit};"
    text += f" set local lock_timeout = {limit}; set local idle_in_transaction_session_timeout = '{_IDLE}s'"
    return text.encode()


def _is_alive(connection: Connection) -> bool:
    """Whether an idle connection still seems to be one: a server that goes says so, or hangs up."""
    if connection.closed:
        return False
    readable, _, _ = select.select([connection.fileno()], [], [], 0)
    return not readable
