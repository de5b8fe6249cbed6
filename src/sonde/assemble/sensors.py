"""The sensors that the configuration names."""

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

from sonde.clock import Clock
from sonde.config import Sensor
from sonde.config.named import Building, Device, Function, Host, Replay
from sonde.node.runner import SensorSpec
from sonde.node.sensors.building import BuildingSensor
from sonde.node.sensors.device import DeviceSensor
from sonde.node.sensors.function import FunctionSensor
from sonde.node.sensors.host import HostSensor
from sonde.ports import Sensor as SensorPort

SIMULATED = frozenset({"building", "device"})
"""Kinds of sensors that are there to try things out with."""
_LEAST_INTERVAL = 0.05  # a simulator that gives more than 20 readings a second gives several at once


_REPLAY_INTERVAL = 0.1


def specs(sensors: Mapping[str, Sensor], clock: Clock, here: Path) -> list[SensorSpec]:
    """The enabled sensors, ready to run. Functions are looked for in ``here`` too."""
    return [_spec(name, sensor, clock, here) for name, sensor in sensors.items() if sensor.enabled]


def _spec(name: str, sensor: Sensor, clock: Clock, here: Path) -> SensorSpec:
    make: Callable[[], SensorPort]
    interval = sensor.period
    match sensor:
        case Building():
            make = lambda: BuildingSensor(events_per_second=1 / sensor.period, seed=sensor.seed, clock=clock)  # noqa: E731
            interval = max(_LEAST_INTERVAL, sensor.period)
        case Device():
            make = lambda: DeviceSensor(  # noqa: E731
                sensor.device or name,
                site=sensor.site,
                zone=sensor.zone,
                interval=sensor.period,
                seed=sensor.seed,
                clock=clock,
            )
        case Function():
            make = lambda: FunctionSensor(  # noqa: E731
                sensor.function,
                device=sensor.device or name,
                site=sensor.site,
                zone=sensor.zone,
                directory=here,
                clock=clock,
            )
        case Replay():
            make = lambda: _replay(sensor, here, clock)  # noqa: E731
            interval = sensor.interval or _REPLAY_INTERVAL
        case Host():
            make = lambda: HostSensor(sensor.device, site=sensor.site, zone=sensor.zone, clock=clock)  # noqa: E731
    return SensorSpec(name, make, interval)


def _replay(sensor: Replay, here: Path, clock: Clock) -> SensorPort:
    files = importlib.import_module("sonde.node.sensors.replay")  # reads Parquet: 14 MB that no other sensor needs
    options = files.ReplayOptions(
        device=sensor.device,
        site=sensor.site,
        zone=sensor.zone,
        time_column=sensor.time_column,
        time_format=sensor.time_format,
        timezone=sensor.timezone,
        metrics=sensor.metrics,
        loop=sensor.loop,
    )
    source = files.ReplaySource([here / file for file in sensor.files], options)
    return cast(SensorPort, files.ReplaySensor(source, sensor.speed, clock=clock))
