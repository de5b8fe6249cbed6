"""The demo device: three drifting measurements, a status, and five commands."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sonde.clock import Clock, SystemClock
from sonde.profile import Command, Metric, Parameter, Profile
from sonde.reading import Reading, Value

INTERVAL: Final = 2.0
STATUSES: Final = ["operational", "warning", "error", "maintenance"]
METRICS: Final = {
    "temperature": Metric("°C", min=18, max=35, description="Air temperature"),
    "pressure": Metric("hPa", min=980, max=1050, description="Air pressure"),
    "humidity": Metric("%", min=20, max=80, description="Relative humidity"),
    "system_status": Metric(data_type="text", enum=STATUSES, description="What the device says of itself"),
}
COMMANDS: Final = {
    "set_update_interval": Command(
        {"interval": Parameter("float", required=True, min=0.1, max=60, description="Seconds between readings")},
        "How often the device measures",
    ),
    "reset_sensors": Command(description="All values back to where they started"),
    "set_sensor_value": Command(
        {
            "sensor_id": Parameter("string", required=True, enum=list(METRICS), description="Which value to set"),
            "value": Parameter("string", required=True, description="What to set it to"),
        },
        "Set one value by hand",
    ),
    "get_status": Command(description="What the device is doing"),
    "calibrate_sensors": Command(
        {"duration": Parameter("int", min=1, max=30, default=5, description="Seconds that it takes")},
        "Calibrate: pending first, success when it is done",
    ),
}
_STARTS: Final[dict[str, float]] = {"temperature": 22.5, "pressure": 1013.25, "humidity": 45.0}
_DRIFT: Final = {"temperature": 0.1, "pressure": 0.3, "humidity": 0.4}
_PULL: Final = 0.02  # how strongly a value tends back to its start, a read


@dataclass(slots=True)
class DeviceState:
    """What commands change: ``values`` drift from here on."""

    values: dict[str, float]
    status: str = "operational"
    interval: float = INTERVAL


class DeviceSensor:
    """One device with temperature, pressure, humidity and a status, as its profile declares. ``state`` may be changed
    between reads, in the thread that reads."""

    def __init__(
        self,
        device: str = "demo-device",
        *,
        site: str = "",
        zone: str = "",
        seed: int | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.state = DeviceState(dict(_STARTS))
        self._device, self._site, self._zone = device, site, zone
        self._clock = clock or SystemClock()
        self._chance = random.Random(seed)  # noqa: S311 (not a secret)
        self._profiles = [Profile(device, METRICS, COMMANDS, site=site, zone=zone)]

    def read(self) -> Sequence[Reading]:
        now = self._clock.now()
        self._drift()
        values: dict[str, Value] = {name: round(value, 2) for name, value in self.state.values.items()}
        values["system_status"] = self.state.status
        return [
            Reading(device=self._device, metric=name, time=now, value=value, site=self._site, zone=self._zone)
            for name, value in values.items()
        ]

    def reset(self) -> None:
        """Back to where it started; the interval stays."""
        self.state = DeviceState(dict(_STARTS), interval=self.state.interval)

    def close(self) -> None:
        pass

    def profiles(self) -> Sequence[Profile]:
        return self._profiles

    def _drift(self) -> None:
        for name, value in self.state.values.items():
            metric = METRICS[name]
            moved = value + self._chance.gauss(0, _DRIFT[name]) + (_STARTS[name] - value) * _PULL
            self.state.values[name] = min(max(moved, metric.min or 0.0), metric.max or moved)
