"""The simulated building and the demo device."""

import threading
from collections import Counter, defaultdict
from datetime import UTC, datetime

import pytest

from sonde.clock import SECOND, Micros
from sonde.errors import Hold
from sonde.node.sensors.building import METRICS, BuildingSensor
from sonde.node.sensors.device import COMMANDS, DeviceSensor
from sonde.reading import Quality, Reading

LIMITS = {"co2": 1000.0, "temperature": 30.0, "humidity": 80.0}
MONDAY_MORNING = int(datetime(2026, 1, 5, 10, tzinfo=UTC).timestamp()) * SECOND


class Simulated:
    """A clock that goes on when told."""

    def __init__(self, now: Micros = MONDAY_MORNING) -> None:
        self.micros = now

    def now(self) -> Micros:
        return self.micros

    def monotonic(self) -> float:
        return self.micros / SECOND

    def wait(self, signal: threading.Event, seconds: float) -> bool:
        self.micros += int(seconds * SECOND)
        return signal.is_set()


def run(seconds: float, *, seed: int = 1, rate: float = 5.0, start: Micros = MONDAY_MORNING) -> list[Reading]:
    clock = Simulated(start)
    sensor = BuildingSensor(events_per_second=rate, seed=seed, clock=clock)
    found: list[Reading] = []
    end = clock.monotonic() + seconds
    while clock.monotonic() < end:
        found += sensor.read()
        clock.micros += int(sensor.interval * SECOND)
    return found


def test_it_has_45_devices_named_by_site_and_zone() -> None:
    readings = run(120)
    devices = {r.device: (r.site, r.zone) for r in readings}
    assert len(devices) == 45
    assert devices["Site-01/Zone-03/Device-2"] == ("Site-01", "Zone-03")
    assert all(device.startswith(f"{site}/{zone}/") for device, (site, zone) in devices.items())
    assert {r.metric for r in readings} == set(METRICS)
    assert len({(r.device, r.metric) for r in readings}) == 180


@pytest.mark.parametrize("rate", [0.5, 5.0, 20.0, 1000.0])
def test_the_rate_is_kept(rate: float) -> None:
    assert len(run(60, rate=rate)) == pytest.approx(60 * rate, abs=max(2.0, rate * 0.1))


def test_every_series_comes_in_turn() -> None:
    counts = Counter((r.device, r.metric) for r in run(180))
    assert len(counts) == 180
    assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize("seed", range(1, 9))
@pytest.mark.parametrize("hour", [3, 10])
def test_a_fault_crosses_a_threshold_within_minutes(seed: int, hour: int) -> None:
    start = MONDAY_MORNING + (hour - 10) * 3600 * SECOND
    readings = run(240, seed=seed, start=start)
    over = [r for r in readings if r.metric in LIMITS and isinstance(r.value, float) and r.value > LIMITS[r.metric]]
    assert len(over) >= 3
    assert len({(r.site, r.zone, r.metric) for r in over}) == 1, "one thing breaks at a time"


@pytest.mark.all
@pytest.mark.parametrize("seed", range(1, 4))
def test_a_whole_day_is_plausible(seed: int) -> None:
    day = run(86_400, seed=seed, rate=0.5, start=MONDAY_MORNING - 10 * 3600 * SECOND)
    check_a_day(day)


def test_some_hours_are_plausible() -> None:
    check_a_day(run(2 * 3600, rate=1.0))


def check_a_day(readings: list[Reading]) -> None:
    by_metric: dict[str, list[float]] = defaultdict(list)
    for r in readings:
        assert isinstance(r.value, int | float)
        by_metric[r.metric].append(r.value)
    assert all(type(v) is int and 0 <= v <= 20 for v in by_metric["occupancy"])
    for metric, (low, high) in {"co2": (400, 800), "temperature": (18, 26), "humidity": (30, 60)}.items():
        values = by_metric[metric]
        assert min(values) >= low
        assert sum(v > high for v in values) < 0.1 * len(values), "faults are the exception"
    assert all(v <= 100 for v in by_metric["humidity"])


def test_people_drive_co2_and_go_home_at_night() -> None:
    day, night = run(1800), run(1800, start=MONDAY_MORNING + 15 * 3600 * SECOND)

    def mean(readings: list[Reading], metric: str) -> float:
        values = sorted(r.value for r in readings if r.metric == metric and isinstance(r.value, int | float))
        return values[len(values) // 2]

    assert mean(day, "occupancy") >= 4
    assert mean(night, "occupancy") == 0
    assert mean(day, "co2") > mean(night, "co2") + 60


def test_a_seed_makes_it_repeatable() -> None:
    assert run(60, seed=7) == run(60, seed=7)
    assert run(60, seed=7) != run(60, seed=8)


def test_a_clock_that_jumps_breaks_nothing() -> None:
    clock = Simulated()
    sensor = BuildingSensor(clock=clock)
    sensor.read()
    for jump in (-86_400, 10 * 86_400, -5):
        clock.micros += jump * SECOND
        assert len(sensor.read()) <= 50
    for _ in range(50):
        clock.micros += SECOND // 5
        sensor.read()
    assert sensor.read() is not None


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
def test_a_rate_that_cannot_be_is_refused(rate: float) -> None:
    with pytest.raises(Hold):
        BuildingSensor(events_per_second=rate)


def test_the_device_stays_within_what_it_declares() -> None:
    sensor = DeviceSensor("demo", seed=3, clock=Simulated())
    [profile] = sensor.profiles()
    assert set(profile.commands) == set(COMMANDS)
    assert len(COMMANDS) == 5
    first = {r.metric: r.value for r in sensor.read()}
    assert first["temperature"] == pytest.approx(22.5, abs=1)
    assert first["pressure"] == pytest.approx(1013.25, abs=2)
    assert first["humidity"] == pytest.approx(45, abs=2)
    assert first["system_status"] == "operational"
    for _ in range(5000):
        for r in sensor.read():
            metric = profile.metrics[r.metric]
            assert r.quality == Quality.GOOD
            if metric.enum is not None:
                assert r.value in metric.enum
            else:
                assert isinstance(r.value, float)
                assert metric.min is not None
                assert metric.max is not None
                assert metric.min <= r.value <= metric.max


def test_the_device_can_be_set_and_reset() -> None:
    sensor = DeviceSensor(clock=Simulated())
    sensor.state.values["temperature"] = 30.0
    sensor.state.status = "maintenance"
    values = {r.metric: r.value for r in sensor.read()}
    assert values["temperature"] == pytest.approx(30, abs=1)
    assert values["system_status"] == "maintenance"
    sensor.reset()
    assert {r.metric: r.value for r in sensor.read()}["system_status"] == "operational"
