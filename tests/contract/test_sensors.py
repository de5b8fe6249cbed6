"""Every sensor."""

from pathlib import Path

import pytest

from sonde.node.sensors.building import BuildingSensor
from sonde.node.sensors.device import DeviceSensor
from sonde.node.sensors.function import FunctionSensor
from sonde.node.sensors.host import HostSensor
from sonde.node.sensors.replay import ReplayOptions, ReplaySensor, ReplaySource
from sonde.testing.sensor_contract import MakeSensor, SensorContract

OFFICE = Path(__file__).parents[2] / "examples" / "occupancy" / "office.csv"


class TestHost(SensorContract):
    @pytest.fixture
    def make(self) -> MakeSensor:
        return lambda: HostSensor(site="here", zone="rack")


class TestBuilding(SensorContract):
    @pytest.fixture
    def make(self) -> MakeSensor:
        return lambda: BuildingSensor(events_per_second=200.0)


class TestDevice(SensorContract):
    @pytest.fixture
    def make(self) -> MakeSensor:
        return lambda: DeviceSensor(site="hall", zone="north")


class TestFunction(SensorContract):
    @pytest.fixture
    def make(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeSensor:
        monkeypatch.syspath_prepend(tmp_path)
        (tmp_path / "contract_function.py").write_text("def read():\n    return [('a', 1.5), ('b', 'text')]\n")
        return lambda: FunctionSensor("contract_function:read", directory=tmp_path)


class TestReplay(SensorContract):
    live = False

    @pytest.fixture
    def make(self) -> MakeSensor:
        source = ReplaySource([OFFICE], ReplayOptions(timezone="Europe/Brussels", speed=100_000.0))
        return lambda: ReplaySensor(source, 100_000.0)
