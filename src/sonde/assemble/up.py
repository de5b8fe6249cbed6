"""``sonde up``: everything in one process.

The order matters. The sink takes in before the store is whole again; nobody is answered before the server listens; at the
end the node stops first, then the server, then the sink, and the store last, so that what was confirmed is stored.
"""

from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, Self

from sonde.assemble.counted import counted
from sonde.assemble.embedded.disk import Disk
from sonde.assemble.embedded.storage import Storage
from sonde.assemble.front import Front
from sonde.assemble.ground import Ground
from sonde.assemble.intake import collect_seldom, make_sink
from sonde.assemble.keys.rings import check_ring
from sonde.assemble.keys.watch import RingWatch
from sonde.assemble.local_node import make_local_node
from sonde.assemble.notify import Notifications
from sonde.assemble.pages import keep_freed
from sonde.assemble.questions import Questions
from sonde.assemble.sensors import SIMULATED
from sonde.config import Loaded
from sonde.status import Status
from sonde.transport.clocks import NodeClocks
from sonde.transport.http import TelemetryApp

_NODE_SECONDS, _SERVER_SECONDS, _NOTIFY_SECONDS, _DRAIN_SECONDS, _STORE_SECONDS = (
    2.0,
    4.0,
    0.5,
    1.5,
    1.5,
)  # to stop; 10 in all
_LAG_SECONDS: Final = 30.0  # a store further behind is not ready


class Up:
    """A whole Sonde on one data directory. ``start`` once, ``stop`` once."""

    def __init__(self, path: Path, loaded: Loaded, *, host: bool = True, simulator: bool = True) -> None:
        self._left_out = (set() if host else {"host"}) | (set() if simulator else SIMULATED)
        self._begun = False
        with ExitStack() as undo:
            self._ground = Ground(path, loaded, undo)
            self._open(undo)
            undo.pop_all()

    def _open(self, undo: ExitStack) -> None:
        """``undo`` is what has to be closed again if this fails half-way."""
        ground = self._ground
        self._storage = Storage(ground.directory, ground.settings, ground.ring, ground.metrics, ground.clock)
        undo.callback(self._storage.stop, _STORE_SECONDS)
        log = self._storage.log
        check_ring(ground.ring.now, log, ground.directory.keys)
        self._disk = Disk(ground, self._storage, lambda: self._sink.record_now, undo)
        self._sink = make_sink(ground, self._disk.log, lambda partition: self._storage.waits())
        undo.callback(self._sink.close)
        self._ring_watch = RingWatch(
            ground.ring,
            ground.directory.keys,
            partial(ground.read_ring, log),
            ground.loaded.files,
            self._sink.sealing_keys,
        )
        undo.callback(self._ring_watch.stop)
        self._notifications = Notifications(
            *(ground.settings, ground.controls.notices, self._storage.store, log.id),
            clock=ground.clock,
            metrics=ground.metrics,
        )
        undo.callback(self._notifications.stop, 0.0)
        self._questions = Questions(
            *(ground, self._disk.log, self._storage.store, self._sink, self._storage.following, self.status)
        )
        self._clocks = NodeClocks(ground.clock, ground.metrics)
        app = TelemetryApp(
            self._sink,
            self._questions.app,
            body_bytes=ground.settings.sink.max_body,
            metrics=ground.metrics,
            clocks=self._clocks,
        )
        self._front = Front(ground, app, self._questions.entrance)
        self._edge = make_local_node(
            *(ground, self._sink, self._questions.dispatcher, self._front.loop, self._left_out)
        )

    def start(self) -> Self:
        """Returns when it listens."""
        collect_seldom()
        keep_freed()
        self._notifications.start()  # before anything comes in that is to be told
        self._storage.start(self._sink.record_now, [self._questions.entrance.feed])
        self._front.start()
        self._questions.start(self._front.loop)
        self._begun = True
        self._edge.start()
        self._ring_watch.start()
        self._disk.start()
        self._front.watch([self._disk.look, self._questions.look])
        return self

    @property
    def url(self) -> str:
        return self._front.url

    @property
    def data(self) -> Path:
        """Where its data lies."""
        return self._ground.directory.path

    def sign_in_secret(self) -> str:
        """See :meth:`Ground.sign_in_secret`."""
        return self._ground.sign_in_secret()

    def failed(self) -> BaseException | None:
        """What ended it, if something did."""
        return self._front.failure

    def status(self) -> Status:
        """How it is."""
        lag = self._storage.lag().seconds
        return replace(
            counted(self._ground.clock.now(), self._ground.metrics),
            log_end=sum(end for _, end in self._disk.log.ends().values()),
            stored_offset=self._storage.stored_offset(),
            lag_seconds=lag,
            last_durable=self._sink.last_durable,
            disk_free=self._disk.log.free,
            connections=self._front.connections,
            outbox=self._edge.lanes(),
            sensors=self._edge.sensors(),
            problems=tuple(self._problems(lag)),
            warnings=(*self._disk.warnings(), *self._clocks.warnings(), *self._front.warnings()),
        )

    def stop(self) -> bool:
        """Take nothing more in, finish what was confirmed, close all; whether all of it was done within ten seconds."""
        self._front.rest()
        if self._begun:
            self._edge.stop(_NODE_SECONDS)
        else:
            self._edge.close()
        self._disk.stop()
        self._questions.stop(_SERVER_SECONDS / 4)
        in_time = self._front.stop(_SERVER_SECONDS)
        self._sink.close()
        self._ring_watch.stop()
        self._notifications.stop(_NOTIFY_SECONDS)
        self._storage.drain(_DRAIN_SECONDS)
        in_time &= self._storage.stop(_STORE_SECONDS)
        self._front.withdraw()
        self._ground.close()
        return in_time

    def _problems(self, lag: float) -> list[str]:
        behind = [f"the store is {lag:.0f} s behind the log"] if lag > _LAG_SECONDS else []
        return [
            *self._disk.problems(),
            *self._questions.problems(),
            *([self._ring_watch.problem] if self._ring_watch.problem else []),
            *self._storage.problems(),
            *behind,
            *self._front.problems(),
            *self._edge.problems(),
        ]
