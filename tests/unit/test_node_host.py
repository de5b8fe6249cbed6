"""The sensor of this machine."""

from sonde.changes import Series
from sonde.node.sensors.host import HostSensor
from sonde.rule import BUILDING_RULES


def test_a_warm_processor_is_no_warm_room() -> None:
    metrics = HostSensor().profiles()[0].metrics
    series = [Series(0, "machine", metric, "", "", "{}") for metric in metrics]
    assert "hardware_temperature" in metrics
    assert not [s.metric for s in series for rule in BUILDING_RULES if rule.watches(s)]


def test_every_reading_stands_in_the_profile() -> None:
    sensor = HostSensor()
    assert {reading.metric for reading in sensor.read()} <= set(sensor.profiles()[0].metrics)
