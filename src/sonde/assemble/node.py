"""``sonde node``: sensors and an outbox, and a sink elsewhere. Neither database nor web framework is loaded."""

from pathlib import Path
from typing import Self

from sonde.assemble.counted import total
from sonde.assemble.edge import Edge
from sonde.assemble.sensors import SIMULATED, specs
from sonde.clock import SystemClock
from sonde.config import Loaded
from sonde.directory import DataDirectory
from sonde.errors import Hold
from sonde.metrics import Metrics
from sonde.status import Status
from sonde.transport.downlink_wire import HttpDownlink
from sonde.transport.uplink_wire import HttpWire


class RunningNode:
    """A node that runs until :meth:`stop`."""

    def __init__(self, path: Path, loaded: Loaded) -> None:
        settings = loaded.settled()
        if not settings.node.sink:
            raise Hold("no sink is named", hint="Set [node] sink = http://HOST:8000, or --set node.sink=…")
        token = settings.node.token.get_secret_value()
        if not token:
            raise Hold(
                "the node has no token",
                hint="Make one beside the sink: sonde token create NAME --scope ingest; put it into SONDE_NODE_TOKEN",
            )
        # what is simulated is for trying out; a node sends it only when asked to
        wanted = {n: s for n, s in settings.sensors.items() if n not in SIMULATED or loaded.sets(f"sensor.{n}")}
        self.directory = DataDirectory.create(path)
        self._lock = self.directory.lock()
        self._clock, self._metrics = SystemClock(), Metrics()
        self.sink = settings.node.sink
        try:
            wire = HttpWire(self.sink, token, clock=self._clock)
            downlink = HttpDownlink(self.sink, token, clock=self._clock)
            here = loaded.file.parent if loaded.file else Path()
            self._edge = Edge(
                self.directory, loaded, wire, downlink, specs(wanted, self._clock, here), self._metrics, self._clock
            )
        except BaseException:
            self._lock.release()
            raise

    def start(self) -> Self:
        self._edge.start()
        return self

    def status(self) -> Status:
        """How it is: ``received`` counts what sensors gave, ``durable`` what the sink has confirmed."""
        return Status(
            now=self._clock.now(),
            received=total(self._metrics.outbox_readings),
            durable=total(self._metrics.uplink_readings),
            outbox=self._edge.lanes(),
            sensors=self._edge.sensors(),
            problems=tuple(self._edge.problems()),
        )

    def stop(self, seconds: float) -> None:
        self._edge.stop(seconds)
        self._lock.release()
