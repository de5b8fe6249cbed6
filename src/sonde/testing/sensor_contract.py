"""What every adapter of port ``Sensor`` must do. Subclass it, and give ``make`` as a fixture."""

import time
from collections.abc import Callable, Sequence

import pytest

from sonde.clock import SECOND, SystemClock
from sonde.node.check import Checker
from sonde.ports import Declares, EndOfReadings, Sensor
from sonde.reading import Batch, Reading

MakeSensor = Callable[[], Sensor]


def read_some(sensor: Sensor, reads: int = 3, seconds: float = 5.0) -> list[Reading]:
    """What the first ``reads`` reads gave that gave anything; fewer if the sensor ends."""
    found: list[Reading] = []
    deadline = time.monotonic() + seconds
    while reads and time.monotonic() < deadline:
        try:
            readings = sensor.read()
        except EndOfReadings:
            break
        found += readings
        reads -= bool(readings)
    return found


class SensorContract:
    """Tests of one adapter. ``live`` says that its readings are of now."""

    live = True

    @pytest.fixture
    def make(self) -> MakeSensor:
        """Makes sensors. Override it."""
        raise NotImplementedError

    def test_it_gives_readings_that_are_fit_to_keep(self, make: MakeSensor) -> None:
        sensor = make()
        readings = read_some(sensor)
        assert readings
        checker = Checker()
        assert [checker.clean(r) for r in readings] == readings
        assert list(Batch.of(readings).readings()) == readings
        sensor.close()

    def test_a_read_is_a_sequence(self, make: MakeSensor) -> None:
        sensor = make()
        assert isinstance(sensor.read(), Sequence)
        sensor.close()

    def test_times_are_of_now(self, make: MakeSensor) -> None:
        sensor, clock = make(), SystemClock()
        before = clock.now()
        readings = read_some(sensor)
        after = clock.now()
        if self.live:
            assert all(before - SECOND <= r.time <= after + SECOND for r in readings)
        sensor.close()

    def test_it_can_be_made_again(self, make: MakeSensor) -> None:
        for _ in range(3):
            sensor = make()
            assert read_some(sensor, 1)
            sensor.close()

    def test_it_can_be_closed_unread(self, make: MakeSensor) -> None:
        make().close()

    def test_what_it_declares_is_what_it_gives(self, make: MakeSensor) -> None:
        sensor = make()
        if isinstance(sensor, Declares):
            profiles = {profile.device: profile for profile in sensor.profiles()}
            assert sensor.profiles() is sensor.profiles(), "the same object means that nothing has changed"
            for reading in read_some(sensor):
                profile = profiles.get(reading.device)
                if profile is None or not profile.metrics:  # it need not say what it measures
                    continue
                assert reading.metric in profile.metrics
                assert (profile.site, profile.zone) == (reading.site, reading.zone)
        sensor.close()
