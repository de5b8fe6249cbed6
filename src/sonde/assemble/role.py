"""``sonde sink``, ``sonde processor``, ``sonde api``: processes that share a log in Kafka and a store in PostgreSQL.

Any number of each may run, each with a data directory and a port of its own. ``sonde up`` on the same log and store is one
process with all three roles, and a node.
"""

import threading
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, Literal, Self

from sonde.api.app import HEALTH_ROUTERS, create_app
from sonde.assemble.counted import counted
from sonde.assemble.edge import Edge
from sonde.assemble.front import Front
from sonde.assemble.ground import Ground
from sonde.assemble.intake import collect_seldom, events_of, make_sink
from sonde.assemble.keys.rings import check_ring
from sonde.assemble.keys.watch import RingWatch
from sonde.assemble.local_node import make_local_node
from sonde.assemble.pages import keep_freed
from sonde.assemble.questions import Questions
from sonde.assemble.sensors import SIMULATED
from sonde.assemble.shared.broker import Broker, patiently
from sonde.assemble.shared.processing import Processing
from sonde.assemble.shared.store import SharedStore, refuse_alone
from sonde.assemble.shared.unsure import UnsureStore
from sonde.config import Loaded
from sonde.frame import Opener
from sonde.ports import Onlooker
from sonde.process.following import Following
from sonde.process.processor import Lag
from sonde.routing import CONTROL, check_partitions
from sonde.status import Status
from sonde.transport.clocks import NodeClocks
from sonde.transport.http import App, TelemetryApp

Role = Literal["sink", "processor", "api"]
ALL: Final[frozenset[Role]] = frozenset({"sink", "processor", "api"})
# to stop; 10 in all, and long enough for whoever waits for Kafka to hear that it does not answer
_NODE_SECONDS, _COMMAND_SECONDS, _SERVER_SECONDS, _DRAIN_SECONDS, _STORE_SECONDS = 1.0, 0.5, 5.5, 0.5, 2.0
_IN_ALL: Final = 9.5  # what one of them leaves of its time, the store may have
_LAG_SECONDS: Final = 30.0  # a store further behind is not ready


class Server:
    """A process with some of the roles. ``start`` once, ``stop`` once. ``wanted`` is set when it is to stop: it may still wait
    for the brokers then."""

    def __init__(
        self,
        path: Path,
        loaded: Loaded,
        roles: Collection[Role],
        wanted: threading.Event,
        *,
        node: bool = False,
        host: bool = True,
        simulator: bool = True,
    ) -> None:
        self._roles, self._has_node = frozenset(roles), node
        self._left_out = (set() if host else {"host"}) | (set() if simulator else SIMULATED)
        self._stopped = threading.Event()
        self._processing: Processing | None = None
        self._questions: Questions | None = None
        self._following: Following | None = None
        self._edge: Edge | None = None
        with ExitStack() as undo:
            self._ground = Ground(path, loaded, undo)
            refuse_alone(self._ground, " and ".join(sorted(roles)))
            self._open(undo, wanted)
            undo.pop_all()

    def _open(self, undo: ExitStack, wanted: threading.Event) -> None:
        ground = self._ground
        self._broker = Broker(ground, undo, wanted)
        log = self._broker.log
        patiently(lambda: check_ring(ground.ring.now, log, ground.directory.keys), "the log", wanted)
        self._shared = SharedStore(ground, log.id, undo)
        self._shared.open()
        if self._shared.opened:  # or else those who process say so when it is
            known = self._shared.store().load(CONTROL).definitions
            patiently(lambda: check_partitions(known, len(log.ends())), "the log", wanted)
        self._sink = patiently(lambda: make_sink(ground, log, self._ticks, self._broker.frame_bytes), "the log", wanted)
        undo.callback(self._sink.close)
        read_ring = partial(ground.read_ring, log)
        self._ring_watch = RingWatch(
            ground.ring, ground.directory.keys, read_ring, ground.loaded.files, self._sink.sealing_keys
        )
        undo.callback(self._ring_watch.stop)
        if "processor" in self._roles:
            self._processing = Processing(ground, self._broker, self._shared)
            undo.callback(self._processing.stop, _STORE_SECONDS)
        self._clocks = NodeClocks(ground.clock, ground.metrics)
        self._front = Front(ground, self._app(), self._questions.entrance if self._questions else None)
        if self._has_node and self._questions is not None:
            self._edge = make_local_node(
                *(ground, self._sink, self._questions.dispatcher, self._front.loop, self._left_out)
            )

    def _app(self) -> App:
        ground, metrics = self._ground, self._ground.metrics
        app: App
        if "api" in self._roles:
            store = UnsureStore(self._shared)
            self._following = Following(
                self._broker.log,
                store.load,
                store,
                Opener(ground.ring),
                stored=store.stored,
                clock=ground.clock,
                events=events_of(ground.settings),
            )
            self._questions = Questions(
                *(ground, self._broker.log, self._shared.store, self._sink, self._following, self.status)
            )
            app = self._questions.app
        else:
            controls = ground.controls
            app = create_app(
                *(None, ground.access, controls.audit, self._sink, controls.notices),
                status=self.status,
                settings=lambda: ground.shown,
                metrics=metrics,
                clock=ground.clock,
                hosts=ground.settings.server.names,
                routers=HEALTH_ROUTERS,
            )
        if "sink" not in self._roles:
            return app
        most = ground.settings.sink.max_body
        return TelemetryApp(self._sink, app, body_bytes=most, metrics=metrics, clocks=self._clocks)

    def start(self) -> Self:
        """Returns when it listens."""
        collect_seldom()
        keep_freed()
        onlookers: list[Onlooker] = [self._questions.entrance.feed] if self._questions else []
        if self._processing is not None:
            self._processing.start(self._sink.record_now, [self._shared.tell_steps()])
        self._front.start()
        if self._questions is not None and self._following is not None:
            self._shared.hear_steps(onlookers)
            threading.Thread(target=self._following.run, args=(self._stopped,), name="feed", daemon=True).start()
            self._questions.start(self._front.loop)
        if self._edge is not None:
            self._edge.start()
        self._ring_watch.start()
        self._broker.start()
        self._shared.start()
        looks: list[Callable[[], None]] = [self._broker.look]
        self._front.watch([*looks, *([self._questions.look] if self._questions else [])])
        return self

    @property
    def url(self) -> str:
        return self._front.url

    @property
    def data(self) -> Path:
        """Where its own files lie."""
        return self._ground.directory.path

    def sign_in_secret(self) -> str:
        """See :meth:`Ground.sign_in_secret`."""
        return self._ground.sign_in_secret()

    def failed(self) -> BaseException | None:
        """What ended it, if something did."""
        return self._front.failure

    def status(self) -> Status:
        """How it is. What is stored, and how far behind, are of the partitions of this process."""
        lag = self._lag()
        stored = self._processing.stored_offset if self._processing is not None else 0
        return replace(
            counted(self._ground.clock.now(), self._ground.metrics),
            log_end=stored + lag.frames,
            stored_offset=stored,
            lag_seconds=lag.seconds,
            last_durable=self._sink.last_durable,
            disk_free=self._broker.free,
            connections=self._front.connections,
            outbox=self._edge.lanes() if self._edge is not None else (),
            sensors=self._edge.sensors() if self._edge is not None else {},
            problems=tuple(self._problems(lag)),
            warnings=(*self._warnings(), *self._clocks.warnings(), *self._front.warnings()),
        )

    def stop(self) -> bool:
        """Take nothing more in, finish what was confirmed, close all; whether all of it was done within ten seconds."""
        end = self._ground.clock.monotonic() + _IN_ALL
        self._stopped.set()
        self._broker.hurry()
        self._front.rest()
        if self._edge is not None:
            self._edge.stop(_NODE_SECONDS)
        if self._questions is not None:
            self._questions.stop(_COMMAND_SECONDS)
        in_time = self._front.stop(_SERVER_SECONDS)
        if self._processing is not None:
            self._processing.drain(_DRAIN_SECONDS)
            in_time &= self._processing.stop(max(_STORE_SECONDS, end - self._ground.clock.monotonic()))
        self._sink.close()
        self._ring_watch.stop()
        self._shared.close()
        self._broker.close()
        self._front.withdraw()
        self._ground.close()
        return in_time

    def _ticks(self, partition: int) -> bool:
        return self._processing is not None and self._processing.waits(partition)

    def _lag(self) -> Lag:
        return self._processing.lag() if self._processing is not None else Lag(0, 0.0)

    def _problems(self, lag: Lag) -> list[str]:
        found = [*self._broker.problems(), *self._front.problems()]
        if self._ring_watch.problem:
            found.append(self._ring_watch.problem)
        if self._shared.problem and self._roles != {"sink"}:
            found.append(self._shared.problem)
        if self._processing is not None:
            found += [text for text in self._processing.problems() if text not in found]
        if lag.seconds > _LAG_SECONDS:
            found.append(f"the store is {lag.seconds:.0f} s behind the log")
        if self._questions is not None:
            found += self._questions.problems()
        return [*found, *(self._edge.problems() if self._edge is not None else [])]

    def _warnings(self) -> list[str]:
        found = []
        if self._shared.problem and self._roles == {"sink"}:
            found.append(f"tokens that were not seen here lately cannot be checked: {self._shared.problem}")
        if self._following is not None and self._following.unsure:
            found.append("the store is away, or far behind the log: live charts may show a repetition twice")
        return found
