"""A simulated building: people come and go, rooms warm up, and now and then something breaks."""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from sonde.clock import SECOND, Clock, Micros, SystemClock
from sonde.errors import Hold
from sonde.profile import Metric, Profile
from sonde.reading import Reading, Value

SITES: Final = 3
ZONES: Final = 5
DEVICES: Final = 3
METRICS: Final = {
    "co2": Metric("ppm", min=0, max=5000, description="Carbon dioxide; usually 400 to 800"),
    "temperature": Metric("°C", min=-40, max=85, description="Air temperature; usually 18 to 26"),
    "humidity": Metric("%", min=0, max=100, description="Relative humidity; usually 30 to 60"),
    "occupancy": Metric("people", "integer", min=0, max=500, description="People in the zone"),
}
_USUAL: Final = {"co2": (400.0, 800.0), "temperature": (18.0, 26.0), "humidity": (30.0, 60.0)}
_BROKEN: Final = {"co2": 1300.0, "temperature": 32.5, "humidity": 88.0}  # where a fault drives a metric
_NOISE: Final = {"co2": 6.0, "temperature": 0.08, "humidity": 0.4}
_FIRST_FAULT: Final = 20.0  # seconds after the start
_FAULT_LASTS: Final = (120.0, 300.0)
_FAULT_PAUSE: Final = (60.0, 240.0)
_SETTLES: Final = 120.0  # seconds in which a room comes two thirds of the way
_BREAKS: Final = 20.0
_PEOPLE: Final = 20
_LONGEST_STEP: Final = 600.0
_CATCH_UP: Final = 10.0  # seconds of events that a late read makes up for


@dataclass(slots=True)
class _Zone:
    site: str
    zone: str
    busy: float  # how much its people like to come, 0 to 1
    values: dict[str, float] = field(default_factory=lambda: {"co2": 430.0, "temperature": 20.5, "humidity": 42.0})
    people: int = 0
    broken: str = ""


class BuildingSensor:
    """3 sites × 5 zones × 3 devices with four metrics each, ``events_per_second`` readings in all.

    The same ``seed`` and the same moments give the same readings. The day is that of UTC.
    """

    def __init__(self, *, events_per_second: float = 5.0, seed: int = 1, clock: Clock | None = None) -> None:
        if not 0 < events_per_second <= 1_000_000:
            raise Hold(f"{events_per_second} events per second cannot be simulated", hint="Give a number above 0")
        self._rate = events_per_second
        self._clock = clock or SystemClock()
        self._chance = random.Random(seed)  # noqa: S311 (not a secret)
        self._zones = [
            _Zone(f"Site-{s + 1:02d}", f"Zone-{z + 1:02d}", self._chance.uniform(0.3, 1.0))
            for s in range(SITES)
            for z in range(ZONES)
        ]
        self._profiles = [
            Profile(f"{z.site}/{z.zone}/Device-{d + 1}", METRICS, site=z.site, zone=z.zone)
            for z in self._zones
            for d in range(DEVICES)
        ]
        self._order = self._events()
        self._moment: Micros | None = None
        self._owed = 1.0
        self._sick: _Zone | None = None
        self._turn = _FIRST_FAULT  # seconds until something breaks, or is mended

    @property
    def interval(self) -> float:
        """Seconds between reads that suit the rate."""
        return max(0.05, 1 / self._rate)

    def read(self) -> Sequence[Reading]:
        now = self._clock.now()
        passed = 0.0 if self._moment is None else max(0.0, (now - self._moment) / SECOND)
        if self._moment is None:
            self._settle(now)
        self._moment = now
        self._step(now, min(passed, _LONGEST_STEP))
        self._owed = min(self._owed + passed * self._rate, max(1.0, _CATCH_UP * self._rate))
        due = int(self._owed + 1e-6)
        self._owed -= due
        return [self._reading(*next(self._order), now) for _ in range(due)]

    def close(self) -> None:
        pass

    def profiles(self) -> Sequence[Profile]:
        return self._profiles

    def _events(self) -> Iterator[tuple[_Zone, int, str]]:
        """Every series once a round, in a new order each round."""
        series = [(zone, device, metric) for zone in self._zones for device in range(DEVICES) for metric in METRICS]
        while True:
            self._chance.shuffle(series)
            yield from series

    def _reading(self, zone: _Zone, device: int, metric: str, now: Micros) -> Reading:
        return Reading(
            device=f"{zone.site}/{zone.zone}/Device-{device + 1}",
            metric=metric,
            time=now,
            value=self._value(zone, metric),
            site=zone.site,
            zone=zone.zone,
        )

    def _value(self, zone: _Zone, metric: str) -> Value:
        if metric == "occupancy":
            return zone.people
        value = zone.values[metric] + self._chance.gauss(0, _NOISE[metric])
        low, high = _USUAL[metric]
        if zone.broken != metric:
            value = max(low, value if zone.values[metric] > high else min(high, value))
        return round(min(value, 100.0) if metric == "humidity" else value, 2)

    def _settle(self, now: Micros) -> None:
        """Start in the middle of the day that it is, not in an empty building."""
        for zone in self._zones:
            zone.people = round(_PEOPLE * zone.busy * _day(now))
            zone.values = {metric: _target(zone, metric, now) for metric in _USUAL}

    def _step(self, now: Micros, seconds: float) -> None:
        self._break_or_mend(seconds)
        for zone in self._zones:
            self._move_people(zone, now, seconds)
            for metric in _USUAL:
                broken = zone.broken == metric
                target = _BROKEN[metric] if broken else _target(zone, metric, now)
                share = 1 - math.exp(-seconds / (_BREAKS if broken else _SETTLES))
                zone.values[metric] += (target - zone.values[metric]) * share

    def _move_people(self, zone: _Zone, now: Micros, seconds: float) -> None:
        wanted = _PEOPLE * zone.busy * _day(now)
        if self._chance.random() < 1 - math.exp(-seconds / 30):
            step = round(self._chance.gauss((wanted - zone.people) / 3, 1))
            zone.people = min(_PEOPLE, max(0, zone.people + step))
            if wanted < 0.5:
                zone.people = min(zone.people, 1 if self._chance.random() < 0.02 else 0)

    def _break_or_mend(self, seconds: float) -> None:
        self._turn -= seconds
        if self._turn > 0:
            return
        if self._sick is None:
            self._sick = self._chance.choice(self._zones)
            self._sick.broken = self._chance.choice(list(_BROKEN))
            self._turn = self._chance.uniform(*_FAULT_LASTS)
        else:
            self._sick.broken = ""
            self._sick = None
            self._turn = self._chance.uniform(*_FAULT_PAUSE)


def _day(now: Micros) -> float:
    """How full a building is at this moment, 0 to 1: from seven to seven, a dip at noon, hardly anyone at the weekend."""
    days, seconds = divmod(now / SECOND, 86_400)
    hour = seconds / 3600
    if not 7 <= hour <= 19:
        return 0.0
    full = math.sqrt(math.sin(math.pi * (hour - 7) / 12)) * (0.6 if 12 <= hour <= 13 else 1.0)
    weekend = (int(days) + 3) % 7 >= 5  # 1970-01-01 was a Thursday
    return 0.1 * full if weekend else full


def _target(zone: _Zone, metric: str, now: Micros) -> float:
    """Where a metric tends to, given the people in the room and the time of day."""
    hour = now / SECOND % 86_400 / 3600
    sun = math.sin(math.pi * (hour - 9) / 12)
    match metric:
        case "co2":
            return 425.0 + 17.0 * zone.people
        case "temperature":
            return 20.8 + 1.2 * sun + 0.15 * zone.people
        case _:
            return 42.0 - 2.0 * sun + 0.5 * zone.people
