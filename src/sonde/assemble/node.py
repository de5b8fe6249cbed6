"""``sonde node``: sensors and an outbox, and a sink elsewhere. Neither database nor web framework is loaded."""

from pathlib import Path
from typing import Self

from sonde.assemble.certificates.identity import NodeIdentity
from sonde.assemble.certificates.join import Joined, read_joined
from sonde.assemble.counted import total
from sonde.assemble.edge import Edge
from sonde.assemble.sensors import SIMULATED, specs
from sonde.clock import SystemClock
from sonde.config import Loaded
from sonde.config.sections import Node
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
        # what is simulated is for trying out; a node sends it only when asked to
        wanted = {n: s for n, s in settings.sensors.items() if n not in SIMULATED or loaded.sets(f"sensor.{n}")}
        self.directory = DataDirectory.create(path)
        self._lock = self.directory.lock()
        self._clock, self._metrics = SystemClock(), Metrics()
        try:
            self.sink, token = _way(settings.node, read_joined(self.directory))
            api = settings.node.api or self.sink
            self._identity = NodeIdentity(self.directory, settings.node, self.sink, token, self._clock, self._metrics)
            tls = self._identity.tls
            wire = HttpWire(self.sink, token, tls=tls, clock=self._clock)
            downlink = HttpDownlink(api, token, tls=tls, clock=self._clock)
            here = loaded.file.parent if loaded.file else Path()
            self._edge = Edge(
                self.directory, loaded, wire, downlink, specs(wanted, self._clock, here), self._metrics, self._clock
            )
        except BaseException:
            self._lock.release()
            raise

    def start(self) -> Self:
        self._edge.start()
        self._identity.start()
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
            warnings=tuple(self._identity.warnings()),
        )

    def stop(self, seconds: float) -> None:
        self._identity.stop()
        self._edge.stop(seconds)
        self._lock.release()


def _way(asked: Node, joined: Joined | None) -> tuple[str, str]:
    """Where the sink is, and the token for it: as configured, else as joining brought it."""
    sink = asked.sink or (joined.sink if joined else "")
    if not sink:
        raise Hold("no sink is named", hint="Join one: sonde node join URL CODE; or set [node] sink = http://HOST:8000")
    token = asked.token.get_secret_value() or (joined.token if joined else "")
    if not token:
        raise Hold(
            "the node has no token",
            hint="Join: sonde node join URL CODE; or make a token beside the sink with sonde token create NAME --scope "
            "ingest --node NAME, and put it into SONDE_NODE_TOKEN",
        )
    return sink, token
