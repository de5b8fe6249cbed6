"""The node inside a server: its sensors, and a way to the sink and from the api that needs no network."""

import asyncio
from collections.abc import Collection
from pathlib import Path
from typing import Final

from sonde.assemble.edge import Edge
from sonde.assemble.ground import Ground
from sonde.assemble.sensors import specs
from sonde.ports import Credential, Dispatch, Intake
from sonde.transport.memory import MemoryDownlink, MemoryWire

_LOCAL: Final = Credential("local", "local", frozenset({"ingest"}), node="local")


def make_local_node(
    ground: Ground, intake: Intake, dispatch: Dispatch, loop: asyncio.AbstractEventLoop, left_out: Collection[str]
) -> Edge:
    """The node of this server, without the kinds of sensors in ``left_out``. ``loop`` is where requests run."""
    sensors = {name: s for name, s in ground.settings.sensors.items() if s.kind not in left_out}
    here = ground.loaded.file.parent if ground.loaded.file else Path()
    return Edge(
        ground.directory,
        ground.loaded,
        MemoryWire(intake, _LOCAL, loop),
        MemoryDownlink(dispatch, _LOCAL, loop),
        specs(sensors, ground.clock, here),
        ground.metrics,
        ground.clock,
    )
