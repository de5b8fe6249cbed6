"""A node and its outbox, whichever way its readings go from there."""

from collections.abc import Sequence
from typing import Final

from sonde.assemble.outbox import node_ring
from sonde.clock import SystemClock
from sonde.config import Settings
from sonde.directory import DataDirectory
from sonde.metrics import Metrics
from sonde.node.backoff import Backoff
from sonde.node.node import Node
from sonde.node.outbox import SqliteOutbox
from sonde.node.outbox.tombstone import LANES
from sonde.node.runner import SensorSpec
from sonde.node.uplink import Uplink
from sonde.ports import Wire
from sonde.status import LaneStatus

HOLD_SECONDS: Final = 5.0  # how long a lane whose credential is refused waits before it asks again


class Edge:
    """A node with the outbox of a data directory. ``start`` once, ``stop`` once."""

    def __init__(
        self,
        directory: DataDirectory,
        settings: Settings,
        wire: Wire,
        sensors: Sequence[SensorSpec],
        metrics: Metrics,
        clock: SystemClock,
    ) -> None:
        asked = settings.node
        ring = node_ring(directory, settings)
        self._wire = wire
        self._outbox = SqliteOutbox(
            directory.node / "outbox.db", ring, limit_bytes=asked.outbox, clock=clock, metrics=metrics
        )
        uplink = Uplink(
            self._outbox,
            wire,
            clock=clock,
            metrics=metrics,
            backoff=lambda: Backoff(asked.initial_delay, asked.max_delay),
            hold_seconds=HOLD_SECONDS,
        )
        self._node = Node(self._outbox, wire, sensors, clock=clock, metrics=metrics, uplink=uplink)

    def start(self) -> None:
        self._node.start()

    def stop(self, seconds: float) -> None:
        """Stop reading, keep what was read, and send what still can be sent in ``seconds``. The rest waits."""
        self._node.stop(seconds)
        self._wire.close()
        self._outbox.close()

    def sensors(self) -> dict[str, str]:
        """How each sensor is, in plain words."""
        return self._node.status()

    def lanes(self) -> tuple[LaneStatus, ...]:
        """What waits in each lane."""
        return tuple(
            LaneStatus(LANES[w.lane], w.readings, w.bytes, w.oldest, w.rejected) for w in self._outbox.waiting()
        )

    def problems(self) -> list[str]:
        """What is in the way, in plain words."""
        return [*self._node.problems(), *self._outbox.problems]
