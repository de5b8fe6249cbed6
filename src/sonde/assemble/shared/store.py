"""A store that many processes share, in a database: opened as soon as that answers, and asked whether it still does."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Protocol

import structlog

from sonde.assemble import extras
from sonde.assemble.ground import Ground
from sonde.assemble.shared.probe import Probe
from sonde.errors import Hold, Retry, SondeError
from sonde.ports import Holdings, Identities, Onlooker, Store

_log = structlog.get_logger()


class Ownership(Protocol):
    """What one of many processes does for all of them."""

    def held(self) -> bool:
        """Whether it is this one, known for a second at most; if nobody does it, this one begins to."""
        ...

    def close(self) -> None:
        """Let another one do it."""
        ...


class Steps(Protocol):
    """Something that goes on until it is closed."""

    def close(self) -> None: ...


class SharedStore:
    """``start`` once, ``close`` once. ``open`` before anything else: it makes the tables, or refuses those of another version.

    While the database is away :meth:`store` raises :class:`Retry` with the reason, and all goes on by itself when it is back.
    """

    def __init__(self, ground: Ground, log: str, undo: ExitStack) -> None:
        assert ground.settings.database is not None
        database = extras.load("sonde.assemble.shared.database")
        self._database = database.Database(ground.settings.database, log, ground.clock, ground.metrics)
        undo.callback(self._database.close)
        self.identities: Identities = self._database.identities
        self.opened = False
        self._problem = ""
        self._probe = Probe("database", self._ask)

    def open(self) -> None:
        """Make sure that the tables are those that this Sonde needs. :class:`Hold` if they are not; if the database is away, it
        is looked at later."""
        try:
            self._prepare()
        except Retry as error:
            self._problem = str(error)
            _log.warning("database_away", problem=str(error))

    def start(self) -> None:
        self._probe.start()

    def close(self) -> None:
        self._probe.stop()
        self._database.close()

    def store(self) -> Store:
        """The store; :class:`Retry` while nothing can be asked of it."""
        if self.problem:
            raise Retry(self.problem, after=2.0)
        found: Store = self._database.store
        return found

    def holdings(self) -> Holdings:
        """The same, for whoever decides what it lets go of."""
        if self.problem:
            raise Retry(self.problem, after=2.0)
        found: Holdings = self._database.store
        return found

    def writing(self) -> Store:
        """The store for those who find out for themselves whether the database is there; :class:`Retry` before it is
        ``opened``."""
        found: Store = self._database.store
        return found

    def ownership(self, of: str) -> Ownership:
        """Of something that one process does for all."""
        found: Ownership = self._database.ownership(of)
        return found

    def tell_steps(self) -> Onlooker:
        """Tells other processes of each step; to be closed with :meth:`close`."""
        found: Onlooker = self._database.tell_steps()
        return found

    def hear_steps(self, onlookers: Sequence[Onlooker]) -> None:
        """Tell ``onlookers`` of the steps of all processes, until :meth:`close`."""
        self._database.hear_steps(onlookers)

    @property
    def problem(self) -> str:
        """Why nothing can be asked; empty if it can."""
        return self._problem if not self.opened else self._probe.problem

    def _ask(self) -> None:
        if self.opened:
            self._database.ask()
            return
        try:
            self._prepare()
        except SondeError as error:
            self._problem = f"{error}"
            raise

    def _prepare(self) -> None:
        self._database.open()
        self.opened = True
        self._problem = ""


def refuse_alone(ground: Ground, role: str) -> None:
    """:class:`Hold` if log and store are not such that several processes can share them."""
    if ground.settings.topic is None:
        raise Hold(
            f"sonde {role} works on a log and a store that several processes share, and these belong to one",
            hint="Set [log] url = kafka://… and [store] url = postgresql://…; or run all in one: sonde up",
        )
