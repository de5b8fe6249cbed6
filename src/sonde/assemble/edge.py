"""A node and its outbox, whichever way its readings go from there."""

import threading
from collections.abc import Sequence
from typing import Final

import structlog

from sonde.assemble.keys.rings import again
from sonde.assemble.keys.watch import RingWatch
from sonde.assemble.outbox import node_ring
from sonde.clock import SystemClock
from sonde.config import Loaded
from sonde.directory import DataDirectory
from sonde.errors import Retry
from sonde.keyring import KeyRing, LiveRing
from sonde.metrics import Metrics
from sonde.node.backoff import Backoff
from sonde.node.node import Node
from sonde.node.outbox import SqliteOutbox
from sonde.node.outbox.tombstone import LANES
from sonde.node.runner import SensorSpec
from sonde.node.uplink import Uplink
from sonde.ports import Downlink, Wire
from sonde.status import LaneStatus

HOLD_SECONDS: Final = 5.0  # how long a lane whose credential is refused waits before it asks again
_RETRY_SECONDS: Final = 2.0
_log = structlog.get_logger()


class Edge:
    """A node with the outbox of a data directory. ``start`` once, ``stop`` once.

    While the disk is too full to open the outbox there are no readings from here; it goes on by itself.
    """

    def __init__(
        self,
        directory: DataDirectory,
        loaded: Loaded,
        wire: Wire,
        downlink: Downlink,
        sensors: Sequence[SensorSpec],
        metrics: Metrics,
        clock: SystemClock,
    ) -> None:
        self._directory, self._loaded, self._settings = directory, loaded, loaded.settled()
        self._wire, self._downlink, self._sensors = wire, downlink, sensors
        self._metrics, self._clock = metrics, clock
        self._stopped = threading.Event()
        self._opening = threading.Thread(target=self._open_later, name="outbox-open", daemon=True)
        self._outbox: SqliteOutbox | None = None
        self._node: Node | None = None
        self._keys: RingWatch | None = None
        self._trouble = ""
        self._try_to_open()

    def start(self) -> None:
        if self._node is not None:
            self._begin(self._node)
        else:
            self._opening.start()

    def stop(self, seconds: float) -> None:
        """Stop reading, keep what was read, and send what still can be sent in ``seconds``. The rest waits."""
        self._stopped.set()
        if self._opening.ident is not None:
            self._opening.join()
        if self._node is not None:
            self._node.stop(seconds)
        self.close()

    def close(self) -> None:
        """Let go of everything; all there is to do if it was never started."""
        self._wire.close()
        self._downlink.close()
        if self._keys is not None:
            self._keys.stop()
        if self._outbox is not None:
            self._outbox.close()

    def sensors(self) -> dict[str, str]:
        """How each sensor is, in plain words."""
        return self._node.status() if self._node is not None else {}

    def lanes(self) -> tuple[LaneStatus, ...]:
        """What waits in each lane."""
        waiting = self._outbox.waiting() if self._outbox is not None else ()
        return tuple(LaneStatus(LANES[w.lane], w.readings, w.bytes, w.oldest, w.rejected) for w in waiting)

    def problems(self) -> list[str]:
        """What is in the way, in plain words."""
        if self._node is None or self._outbox is None:
            return [self._trouble]
        keys = [self._keys.problem] if self._keys is not None and self._keys.problem else []
        return [*keys, *self._node.problems(), *self._outbox.problems]

    def _try_to_open(self) -> None:
        try:
            self._outbox = self._opened()
        except Retry as error:
            if self._trouble != str(error):
                _log.error("node_waits", problem=str(error))
            self._trouble = str(error)
        else:
            self._node = self._made(self._outbox)

    def _open_later(self) -> None:
        while self._node is None and not self._stopped.wait(_RETRY_SECONDS):
            self._try_to_open()
        if self._node is not None:
            self._begin(self._node)

    def _begin(self, node: Node) -> None:
        node.start()
        if self._keys is not None:
            self._keys.start()

    def _opened(self) -> SqliteOutbox:
        ring = LiveRing(node_ring(self._directory, self._settings))
        outbox = SqliteOutbox(
            self._directory.node / "outbox.db",
            ring,
            limit_bytes=self._settings.node.outbox,
            clock=self._clock,
            metrics=self._metrics,
        )
        self._keys = RingWatch(
            ring,
            self._directory.node / "keys.json",
            self._read_ring,
            self._loaded.files,
            lambda: {outbox.sealing_key()},
        )
        return outbox

    def _read_ring(self) -> KeyRing:
        return node_ring(self._directory, again(self._loaded))

    def _made(self, outbox: SqliteOutbox) -> Node:
        asked = self._settings.node
        uplink = Uplink(
            outbox,
            self._wire,
            clock=self._clock,
            metrics=self._metrics,
            backoff=lambda: Backoff(asked.initial_delay, asked.max_delay),
            hold_seconds=HOLD_SECONDS,
        )
        return Node(
            outbox,
            self._wire,
            self._sensors,
            clock=self._clock,
            metrics=self._metrics,
            uplink=uplink,
            downlink=self._downlink,
        )
