"""``sonde up``: everything in one process.

The order matters. The sink takes in before the store is whole again; nobody is answered before the server listens; at the
end the node stops first, then the server, then the sink, and the store last, so that what was confirmed is stored.
"""

import gc
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import structlog

from sonde.access import Access
from sonde.api.app import create_app
from sonde.api.commands.dispatcher import Dispatcher
from sonde.api.live.commands import commands_of
from sonde.api.live.entrance import Entrance
from sonde.assemble.acts import note_in
from sonde.assemble.anchors import Anchoring
from sonde.assemble.asked import AskedStore
from sonde.assemble.canary import Canary
from sonde.assemble.certificates import load_authority, server_files
from sonde.assemble.counted import level, total
from sonde.assemble.edge import Edge
from sonde.assemble.keys import again, check_ring, log_ring
from sonde.assemble.listening import Listening
from sonde.assemble.notify import Notifications
from sonde.assemble.places import log_path
from sonde.assemble.reserve import ReservingLog
from sonde.assemble.retention import Retention, policy_of
from sonde.assemble.ring_watch import RingWatch
from sonde.assemble.sensors import SIMULATED, specs
from sonde.assemble.server import announce, withdraw
from sonde.assemble.server_tls import ServerTls
from sonde.assemble.storage import Storage
from sonde.clock import SECOND, Micros, SystemClock
from sonde.config import Loaded, Settings, as_rows
from sonde.control.audit import SqliteAuditTrail
from sonde.control.sqlite import SqliteControl
from sonde.directory import DataDirectory
from sonde.frame import Codec, Opener
from sonde.keyring import KeyRing, LiveRing
from sonde.metrics import Metrics
from sonde.people import People
from sonde.ports import Credential, Store
from sonde.sink.limits import Limits
from sonde.sink.sink import Sink
from sonde.status import Status
from sonde.transport.clocks import NodeClocks
from sonde.transport.forwarded import Forwarded, ForwardedLive, Proxies
from sonde.transport.http import TelemetryApp
from sonde.transport.memory import MemoryDownlink, MemoryWire

_log = structlog.get_logger()
_COLLECT_AFTER: Final = 100_000  # objects; a collection holds every thread up, and hardly anything here forms circles
_NODE_SECONDS, _SERVER_SECONDS, _NOTIFY_SECONDS, _DRAIN_SECONDS, _STORE_SECONDS = (
    2.0,
    4.0,
    0.5,
    1.5,
    1.5,
)  # to stop; 10 in all
_LAG_SECONDS: Final = 30.0  # a store further behind is not ready
_LOCAL: Final = Credential("local", "local", frozenset({"ingest"}), node="local")


class Up:
    """A whole Sonde on one data directory. ``start`` once, ``stop`` once."""

    def __init__(self, path: Path, loaded: Loaded, *, host: bool = True, simulator: bool = True) -> None:
        self.settings = settings = loaded.settled()
        self._shown = _shown(loaded)
        self.clock, self.metrics = SystemClock(), Metrics()
        self._started: Micros = self.clock.now()
        self.directory = DataDirectory.create(path)
        self._lock = self.directory.lock()
        self._begun = self._announced = False
        self._stop_watching = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="watch", daemon=True)
        left_out = (set() if host else {"host"}) | (set() if simulator else SIMULATED)
        sensors = {name: s for name, s in settings.sensors.items() if s.kind not in left_out}
        with ExitStack() as undo:
            undo.callback(self._lock.release)
            self._open(loaded, sensors, undo)
            undo.pop_all()

    def _open(self, loaded: Loaded, sensors: Mapping[str, Any], undo: ExitStack) -> None:
        """``undo`` is what has to be closed again if this fails half-way."""
        settings, directory, clock, metrics = self.settings, self.directory, self.clock, self.metrics
        ring = LiveRing(log_ring(directory, settings, log_path(directory, settings) / "id"))
        self._control = SqliteControl(directory.control)
        undo.callback(self._control.close)
        self._audit = SqliteAuditTrail(directory.control)
        undo.callback(self._audit.close)
        self._access = Access(
            self._control,
            clock,
            anonymous=frozenset(settings.auth.anonymous_scopes),
            certified=settings.tls.require_client,
            metrics=metrics,
        )
        files = server_files(directory, settings)
        noted = partial(note_in, self._audit)
        self._tls = ServerTls(directory, files, clock, metrics, noted) if files else None
        self._certificate = files.certificate if files else None
        self._storage = Storage(directory, settings, ring, metrics, clock)
        undo.callback(self._storage.stop, _STORE_SECONDS)
        check_ring(ring.now, self._storage.log, directory.keys)
        self._log = ReservingLog(self._storage.log, directory.path, settings.log.reserve)
        self._sink = Sink(
            self._log,
            ring,
            Codec.named(settings.log.codec),
            self._access,
            clock=clock,
            metrics=metrics,
            limits=_limits(settings),
            ticks=self._storage.waits,
        )
        undo.callback(self._sink.close)
        self._retention = Retention(
            policy_of(settings),
            self._storage.held_store,
            self._storage.log,
            self._log,
            self._sink.record_now,
            self._audit,
            clock,
            metrics,
        )
        undo.callback(self._retention.stop)
        self._canary = Canary(log_path(directory, settings), self._log, clock, metrics)
        self._ring_watch = RingWatch(
            ring, directory.keys, partial(self._read_ring, loaded), loaded.files, self._sink.sealing_keys
        )
        undo.callback(self._ring_watch.stop)
        self._dispatcher = Dispatcher(
            self._log, Opener(ring), self._store, self._sink, self._audit, clock=clock, metrics=metrics
        )
        self._notifications = Notifications(
            *(settings, directory.control, self._storage.store, self._storage.log.id), clock=clock, metrics=metrics
        )
        undo.callback(self._notifications.stop, 0.0)
        api = create_app(
            self._store,
            self._access,
            self._audit,
            self._sink,
            self._notifications.notices,
            dispatcher=self._dispatcher,
            status=self.status,
            settings=lambda: self._shown,
            metrics=metrics,
            clock=clock,
            frontend_url=settings.server.origin,
            hosts=settings.server.names,
            authority=partial(load_authority, directory),
            pinned=files is not None and files.own,
        )
        self._clocks = NodeClocks(clock, metrics)
        app = TelemetryApp(self._sink, api, body_bytes=settings.sink.max_body, metrics=metrics, clocks=self._clocks)
        self._entrance = Entrance(
            self._storage.following,
            self._access,
            metrics,
            clock,
            origin=settings.server.origin,
            names=settings.server.names,
            most=settings.server.max_connections - settings.server.max_connections // 10,
            run_command=commands_of(self._dispatcher),
        )
        proxies = Proxies(settings.server.trusted_proxies)
        self._listening = Listening(
            Forwarded(app, proxies),
            settings.server,
            ForwardedLive(self._entrance, proxies),
            tls=self._tls.context if self._tls else None,
            handshake_seconds=settings.tls.handshake_timeout,
            metrics=metrics,
        )
        self._anchoring = Anchoring(self._audit, self._sink, self._listening.loop, clock)
        here = loaded.file.parent if loaded.file else Path()
        wire = MemoryWire(self._sink, _LOCAL, self._listening.loop)
        downlink = MemoryDownlink(self._dispatcher, _LOCAL, self._listening.loop)
        self._edge = Edge(directory, loaded, wire, downlink, specs(sensors, clock, here), metrics, clock)

    def start(self) -> Self:
        """Returns when it listens."""
        _collect_seldom()
        self._storage.start(self._sink.record_now, [self._entrance.feed])
        self._listening.start()
        self._dispatcher.start(self._listening.loop)
        self._try_to_announce()
        self._begun = True
        self._edge.start()
        self._ring_watch.start()
        self._retention.start()
        self._canary.start()
        self._notifications.start()
        self._watcher.start()
        return self

    @property
    def url(self) -> str:
        return self._listening.url

    def sign_in_secret(self) -> str:
        """The secret of a new one-time link for an administrator, whose token is made if there is none."""
        people = People(self._control, self.clock, partial(note_in, self._audit))
        admins = [credential.id for credential in people.valid_tokens() if "admin" in credential.scopes]
        return people.make_link(admins[0] if admins else people.create_token("admin", ["admin"])[1].id)

    def failed(self) -> BaseException | None:
        """What ended it, if something did."""
        return self._listening.failure

    def status(self) -> Status:
        """How it is."""
        metrics, lag = self.metrics, self._storage.lag().seconds
        return Status(
            now=self.clock.now(),
            received=total(metrics.received),
            durable=total(metrics.durable),
            stored=total(metrics.stored),
            duplicate=total(metrics.duplicate),
            refused=total(metrics.refused),
            log_end=sum(end for _, end in self._log.ends().values()),
            stored_offset=self._storage.stored_offset(),
            lag_seconds=lag,
            last_durable=self._sink.last_durable,
            series=round(level(metrics.series)),
            alerts_firing=round(level(metrics.alerts_open)),
            disk_free=self._log.free,
            connections=self._listening.connections,
            outbox=self._edge.lanes(),
            sensors=self._edge.sensors(),
            problems=tuple(self._problems(lag)),
            warnings=(
                *self._retention.warnings(),
                *self._clocks.warnings(),
                *(self._tls.warnings() if self._tls else ()),
            ),
        )

    def stop(self) -> bool:
        """Take nothing more in, finish what was confirmed, close all; whether all of it was done within ten seconds."""
        self._stop_watching.set()
        if self._begun:
            self._edge.stop(_NODE_SECONDS)
        else:
            self._edge.close()
        self._retention.stop()
        self._canary.stop()
        self._dispatcher.stop(_SERVER_SECONDS / 4)
        in_time = self._listening.stop(_SERVER_SECONDS)
        self._sink.close()
        self._ring_watch.stop()
        self._notifications.stop(_NOTIFY_SECONDS)
        self._storage.drain(_DRAIN_SECONDS)
        in_time &= self._storage.stop(_STORE_SECONDS)
        withdraw(self.directory)
        self._audit.close()
        self._control.close()
        self._lock.release()
        return in_time

    def _store(self) -> Store:
        api = self.settings.api
        since = self._started if api.clear_history else 0
        return AskedStore(self._storage.store(), api.sql_time, api.sql_rows, since)

    def _problems(self, lag: float) -> list[str]:
        behind = [f"the store is {lag:.0f} s behind the log"] if lag > _LAG_SECONDS else []
        found = (
            self._log.problem,
            self._canary.problem,
            self._anchoring.problem,
            self._ring_watch.problem,
            self._dispatcher.problem,
        )
        log = [problem for problem in found if problem]
        tls = self._tls.problems() if self._tls else []
        return [*log, *self._storage.problems(), *behind, *tls, *self._edge.problems()]

    def _read_ring(self, loaded: Loaded) -> KeyRing:
        """The key ring as it is said now; :class:`Hold` if it cannot be used with this log."""
        settings = again(loaded)
        ring = log_ring(self.directory, settings, log_path(self.directory, settings) / "id")
        check_ring(ring, self._storage.log, self.directory.keys)
        return ring

    def _try_to_announce(self) -> None:
        try:
            announce(self.directory, self.url, self._certificate)
            self._announced = True
        except OSError as error:  # where readings cannot be written this cannot either; commands find us later
            if not self._begun:
                _log.warning("server_not_announced", file=str(self.directory.server), problem=str(error))

    def _watch(self) -> None:
        while not self._stop_watching.wait(1.0):
            self._log.look()
            self._anchoring.look()
            if self._tls is not None and self._tls.look():
                self._listening.show(self._tls.context)
            if not self._announced:
                self._try_to_announce()
            self.metrics.disk_free.set(self._log.free)
            self.metrics.connections.set(self._listening.connections)


def _limits(settings: Settings) -> Limits:
    asked = settings.sink
    return Limits(
        body_bytes=asked.max_body,
        decompressed_bytes=asked.max_decompressed,
        future=round(asked.future_limit * SECOND),
        bytes_per_second=asked.bytes_per_second,
        burst_bytes=asked.burst,
        token_bytes_per_second=asked.token_bytes_per_second,
        token_burst_bytes=asked.token_burst,
    )


def _shown(loaded: Loaded) -> dict[str, dict[str, str]]:
    """The settings in force as text, secrets masked."""
    shown: dict[str, dict[str, str]] = {}
    for row in as_rows(loaded):
        shown.setdefault(row.section, {})[row.key] = row.value
    return shown


def _collect_seldom() -> None:
    """What is loaded now stays: leave it out of every collection, and have few of them. (With Python's own settings one
    request in a hundred waited 80 ms, now 27.)"""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 50, 100)
