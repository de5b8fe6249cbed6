"""The demo device: three drifting measurements, a status, and five commands."""

import random
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sonde.clock import Clock, SystemClock
from sonde.ports import Tell
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
_CALIBRATION_STEPS: Final = 10
_PULL: Final = 0.02  # how strongly a value tends back to its start, a read


class Refused(ValueError):
    """Why the device does not do what it was asked."""


@dataclass(slots=True)
class DeviceState:
    """What commands change: ``values`` drift from here on."""

    values: dict[str, float]
    status: str = "operational"
    interval: float = INTERVAL


class DeviceSensor:
    """One device with temperature, pressure, humidity and a status, as its profile declares. It carries out the commands
    of :data:`COMMANDS`, beside its reads."""

    def __init__(
        self,
        device: str = "demo-device",
        *,
        site: str = "",
        zone: str = "",
        interval: float = INTERVAL,
        seed: int | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.state = DeviceState(dict(_STARTS), interval=interval)
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._device, self._site, self._zone = device, site, zone
        self._clock = clock or SystemClock()
        self._chance = random.Random(seed)  # noqa: S311 (not a secret)
        self._profiles = [Profile(device, METRICS, COMMANDS, site=site, zone=zone)]

    def read(self) -> Sequence[Reading]:
        now = self._clock.now()
        with self._lock:
            self._drift()
            values = self._shown()
        return [
            Reading(device=self._device, metric=name, time=now, value=value, site=self._site, zone=self._zone)
            for name, value in values.items()
        ]

    @property
    def interval(self) -> float:
        """Seconds between two reads."""
        return self.state.interval

    def perform(self, device: str, command: str, parameters: Mapping[str, Any], tell: Tell) -> Any:
        """Carry out a command; its message or, of ``get_status``, its details. :class:`Refused` if it cannot be done."""
        match command:
            case "set_update_interval":
                self.state.interval = float(parameters["interval"])
                return f"measures every {self.state.interval:g} s"
            case "reset_sensors":
                self.reset()
                return "all values are back to where they started"
            case "set_sensor_value":
                return self._set(parameters["sensor_id"], parameters["value"])
            case "get_status":
                with self._lock:
                    return {"status": self.state.status, "interval": self.state.interval, "values": self._shown()}
            case "calibrate_sensors":
                return self._calibrate(parameters["duration"], tell)
            case _:
                raise Refused(f"no command {command!r} is known here")

    def reset(self) -> None:
        """Back to where it started; the interval stays."""
        with self._lock:
            self.state = DeviceState(dict(_STARTS), interval=self.state.interval)

    def close(self) -> None:
        self._closed.set()

    def profiles(self) -> Sequence[Profile]:
        return self._profiles

    def _shown(self) -> dict[str, Value]:
        values: dict[str, Value] = {name: round(value, 2) for name, value in self.state.values.items()}
        return {**values, "system_status": self.state.status}

    def _set(self, name: str, text: str) -> str:
        metric = METRICS[name]
        if metric.enum is not None:
            if text not in metric.enum:
                raise Refused(f"{text!r} is none of {', '.join(metric.enum)}")
            self.state.status = text
            return f"{name} is {text}"
        try:
            value = float(text)
        except ValueError:
            raise Refused(f"{text!r} is not a number") from None
        low, high = metric.min or 0.0, metric.max or 0.0
        if not low <= value <= high:
            raise Refused(f"{value:g} is outside {low:g} to {high:g} {metric.unit}")
        with self._lock:
            self.state.values[name] = value
        return f"{name} is {value:g} {metric.unit}"

    def _calibrate(self, seconds: int, tell: Tell) -> str:
        for done in range(_CALIBRATION_STEPS):
            tell(done / _CALIBRATION_STEPS, "calibrating")
            if self._clock.wait(self._closed, seconds / _CALIBRATION_STEPS):
                raise Refused("interrupted: the sensor was closed")
        return f"calibrated in {seconds} s"

    def _drift(self) -> None:
        for name, value in self.state.values.items():
            metric = METRICS[name]
            moved = value + self._chance.gauss(0, _DRIFT[name]) + (_STARTS[name] - value) * _PULL
            self.state.values[name] = min(max(moved, metric.min or 0.0), metric.max or moved)
