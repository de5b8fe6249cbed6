"""The api of a server: questions, the live feed, commands, and the anchors of its audit trail."""

import asyncio
from collections.abc import Callable
from functools import partial

from fastapi import FastAPI

from sonde.api.app import create_app
from sonde.api.commands.dispatcher import Dispatcher
from sonde.api.live.commands import commands_of
from sonde.api.live.entrance import Entrance
from sonde.assemble.anchors import Anchoring
from sonde.assemble.asked import AskedStore
from sonde.assemble.certificates.authority import load_authority
from sonde.assemble.ground import Ground
from sonde.frame import Opener
from sonde.ports import Feed, Journal, Log, Store
from sonde.status import Status


class Questions:
    """``app`` answers, ``entrance`` lets those in who watch, ``dispatcher`` has the commands. ``store`` gives the store that is
    there, or raises :class:`sonde.errors.Retry`."""

    def __init__(
        self,
        ground: Ground,
        log: Log,
        store: Callable[[], Store],
        journal: Journal,
        feed: Feed,
        status: Callable[[], Status],
    ) -> None:
        self._ground, self._store, self._journal = ground, store, journal
        settings, controls, metrics, clock = ground.settings, ground.controls, ground.metrics, ground.clock
        self.dispatcher = Dispatcher(
            log, Opener(ground.ring), self._asked, journal, controls.audit, clock=clock, metrics=metrics
        )
        self.app: FastAPI = create_app(
            self._asked,
            ground.access,
            controls.audit,
            journal,
            controls.notices,
            dispatcher=self.dispatcher,
            status=status,
            settings=lambda: ground.shown,
            metrics=metrics,
            clock=clock,
            frontend_url=settings.server.origin,
            hosts=settings.server.names,
            authority=partial(load_authority, ground.directory),
            pinned=ground.files is not None and ground.files.own,
        )
        self.entrance = Entrance(
            feed,
            ground.access,
            metrics,
            clock,
            origin=settings.server.origin,
            names=settings.server.names,
            most=settings.server.max_connections - settings.server.max_connections // 10,
            run_command=commands_of(self.dispatcher),
        )
        self._anchoring: Anchoring | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """``loop`` is where requests run."""
        self._anchoring = Anchoring(self._ground.controls.audit, self._journal, loop, self._ground.clock)
        self.dispatcher.start(loop)

    def stop(self, seconds: float) -> None:
        """Take no more commands."""
        self.dispatcher.stop(seconds)

    def look(self) -> None:
        """To be called every second."""
        if self._anchoring is not None:
            self._anchoring.look()

    def problems(self) -> list[str]:
        """What keeps commands, or the audit trail's anchors, from going on."""
        anchoring = self._anchoring.problem if self._anchoring is not None else ""
        return [problem for problem in (anchoring, self.dispatcher.problem) if problem]

    def _asked(self) -> Store:
        api = self._ground.settings.api
        since = self._ground.started if api.clear_history else 0
        return AskedStore(self._store(), api.sql_time, api.sql_rows, since)
