"""PostgreSQL, by the configuration. Loaded only where it is the store."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
from pydantic import SecretStr

from sonde.assemble.controls import Controls
from sonde.clock import Clock
from sonde.control.postgres.audit import PostgresAuditTrail
from sonde.control.postgres.control import PostgresControl
from sonde.control.postgres.moving import move
from sonde.control.postgres.notices import PostgresNotices
from sonde.errors import Retry
from sonde.metrics import Metrics
from sonde.ports import Onlooker
from sonde.question import Sql
from sonde.store.postgres import migrate
from sonde.store.postgres.answers import Answers
from sonde.store.postgres.connections import Connection, Connections, connect
from sonde.store.postgres.identities import PostgresIdentities
from sonde.store.postgres.owner import OwnerLock
from sonde.store.postgres.step_reader import StepReader
from sonde.store.postgres.steps import StepWriter
from sonde.store.postgres.store import PostgresStore

_OF_CONTROL: Final = 4
"""Connections for tokens, sessions, acts and notices: questions of their own, which must not wait for readings."""


def open_controls(url: SecretStr, clock: Clock) -> Controls:
    """The control database, with its tables. :class:`Hold` if they are of another version. If the database is away, whoever
    asks something will hear it."""
    with contextlib.suppress(Retry):
        migrate.prepare(url.get_secret_value())
    connections = Connections(url.get_secret_value(), most=_OF_CONTROL)
    control = PostgresControl(connections, clock)

    def close() -> None:
        control.close()
        connections.close()

    return Controls(control, PostgresAuditTrail(connections), PostgresNotices(connections), close)


def move_controls(url: SecretStr, path: Path) -> int | None:
    """Move a control database from its file into one that has nothing of it yet; how many tokens, none if it has some."""
    migrate.prepare(url.get_secret_value())
    connections = Connections(url.get_secret_value(), most=1)
    try:
        return move(path, connections)
    finally:
        connections.close()


def upgrade(url: SecretStr) -> tuple[str | None, str]:
    """Bring the tables up to date; the version that they had, and the one that they have."""
    return migrate.upgrade(url.get_secret_value()), migrate.head()


def ask_sql(url: SecretStr, question: Sql) -> pa.Table:
    """The rows that a select gives, asked as the role that may only read."""
    connections = Connections(url.get_secret_value(), most=1)
    try:
        return Answers(connections, "").ask(question).rows
    finally:
        connections.close()


class Database:
    """Everything that follows the log with the id ``log`` in one database. Nothing is asked of it before ``open``."""

    def __init__(self, url: SecretStr, log: str, clock: Clock, metrics: Metrics) -> None:
        self._url, self._log, self._clock = url.get_secret_value(), log, clock
        self._metrics = metrics
        self._connections = Connections(self._url)
        self._store: PostgresStore | None = None
        self.identities = PostgresIdentities(self._connections)
        self._closers: list[Callable[[], None]] = []

    def open(self) -> None:
        """Make the tables if there are none. :class:`sonde.errors.Hold` if they are of another version."""
        self._store = PostgresStore(self._url, self._log, clock=self._clock, metrics=self._metrics)

    @property
    def store(self) -> PostgresStore:
        """The store; :class:`Retry` before it was opened."""
        if self._store is None:
            raise Retry("the database is not open yet", after=1.0)
        return self._store

    def ask(self) -> None:
        """:class:`sonde.errors.Retry` if the database is away."""
        with self._connections.connection() as connection:
            connection.execute("select 1")

    def ownership(self, of: str) -> OwnerLock:
        """Of something that one of many processes does for all that follow this log."""
        lock = OwnerLock(self._connect, f"{of} of {self._log}", clock=self._clock)
        self._closers.append(lock.close)
        return lock

    def tell_steps(self) -> Onlooker:
        """Writes each step down for others, until :meth:`close`."""
        writer = StepWriter(self._connections, clock=self._clock)
        self._closers.append(writer.close)
        return writer

    def hear_steps(self, onlookers: Sequence[Onlooker]) -> None:
        """Tell ``onlookers`` of the steps of all processes, until :meth:`close`."""
        reader = StepReader(self._connections, self._connect, self._log, onlookers, clock=self._clock)
        self._closers.append(reader.close)
        reader.start()

    def close(self) -> None:
        for close in reversed(self._closers):
            close()
        self._closers.clear()
        if self._store is not None:
            self._store.close()
        self._connections.close()

    def _connect(self) -> Connection:
        """A connection that nobody else uses."""
        return connect(self._url)
