"""Runs one sensor at its rate, and makes it again when it fails."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

import structlog

from sonde.clock import Clock
from sonde.errors import Invalid
from sonde.metrics import Metrics
from sonde.node.backoff import Backoff
from sonde.node.check import Checker
from sonde.ports import Declares, EndOfReadings, Paced, Performs, Sensor, Tell
from sonde.profile import Profile
from sonde.reading import Quality, Reading
from sonde.template import checked

_ABANDONED: Final = 3  # threads of one sensor that may hang at the same time
_SERIES: Final = 10_000  # of one sensor, remembered for readings that fail
T = TypeVar("T")
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SensorSpec:
    """A sensor to run: ``make`` it, then read it every ``interval`` seconds."""

    name: str
    make: Callable[[], Sensor]
    interval: float


class NotNow(Exception):
    """Why a sensor cannot carry out a command."""


class SensorFailed(Exception):
    """Why a sensor has to be made again: ``reason`` is one word for metrics."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class SensorRunner:
    """The life of one sensor. ``offer`` and ``declare`` must not block. ``state`` says how it is, in plain words.

    A call that has not returned after ``patience`` seconds is left alone in its thread, and another begins.
    """

    def __init__(
        self,
        spec: SensorSpec,
        *,
        offer: Callable[[Sequence[Reading]], int],
        declare: Callable[[Sequence[Profile]], None],
        clock: Clock,
        metrics: Metrics,
        patience: float,
        backoff: Backoff,
    ) -> None:
        self.name, self.spec = spec.name, spec
        self.state = "starting"
        self.patience = max(patience, 5 * spec.interval)
        self._offer, self._declare, self._clock, self._metrics = offer, declare, clock, metrics
        self._backoff = backoff
        self._checker = Checker()
        self._series: dict[tuple[str, str, str, str], Reading] = {}
        self._declared: Sequence[Profile] = ()
        self._sensor: Sensor | None = None  # as long as it lives
        self._lock = threading.Lock()
        self._abandoned: list[_Life] = []
        self._life = _Life(self, 0.0)
        self._stopped = False

    def start(self) -> None:
        self._life.thread.start()

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            self._life.end()

    def join(self, timeout: float) -> bool:
        """Whether the sensor has stopped within ``timeout`` seconds."""
        self._life.thread.join(timeout)
        return not self._life.thread.is_alive()

    def watch(self) -> None:
        """Called now and then: leave a call alone that does not return, and begin another life."""
        with self._lock:
            self._abandoned = [life for life in self._abandoned if life.thread.is_alive()]
            since = self._life.busy_since
            if self._stopped or since is None or self._clock.monotonic() - since < self.patience:
                return
            if len(self._abandoned) >= _ABANDONED:
                self.state = f"hung: {len(self._abandoned) + 1} calls have not returned; waiting for one of them"
                return
            self._life.end()
            self._abandoned.append(self._life)
            self._sensor = None
            delay = self.failed("hung", f"no answer for {self.patience:g} s")
            self._life = _Life(self, delay)
            self._life.thread.start()

    @property
    def profiles(self) -> Sequence[Profile]:
        """What its devices last said about themselves."""
        return self._declared

    def perform(self, device: str, command: str, parameters: Mapping[str, Any], tell: Tell) -> Any:
        """Have the sensor carry out a command, then read it at once. Whatever it raises, or :class:`NotNow`, or
        :class:`Invalid` if the parameters do not fit."""
        sensor = self._sensor
        template = next((p.commands.get(command) for p in self._declared if p.device == device), None)
        if sensor is None:
            raise NotNow(f"the sensor {self.name!r} is not running: {self.state}")
        if template is None or not isinstance(sensor, Performs):
            raise NotNow(f"{device!r} has no command {command!r} any more")
        try:
            return sensor.perform(device, command, checked(template, parameters), tell)
        finally:
            self._life.hurry()

    # -- for the current life

    def lives(self, life: "_Life", sensor: Sensor | None) -> None:
        """A life has a sensor now, or none."""
        with self._lock:
            if life is self._life:
                self._sensor = sensor

    def is_current(self, life: "_Life") -> bool:
        return life is self._life

    def deliver(self, readings: object) -> None:
        """Check what a read gave and pass on what is good; :class:`SensorFailed` if not all of it was."""
        if not isinstance(readings, Sequence) or isinstance(readings, str | bytes):
            raise SensorFailed("nonsense", f"it gave {type(readings).__name__} in place of readings")
        good: list[Reading] = []
        bad: Invalid | None = None
        for reading in readings:
            try:
                good.append(self._checker.clean(reading))
            except Invalid as error:
                bad = error
        for reading in good:
            key = (reading.device, reading.metric, reading.site, reading.zone)
            if key not in self._series and len(self._series) < _SERIES:
                self._series[key] = reading
        self._give(good)
        if bad is not None:
            raise SensorFailed("nonsense", str(bad))
        self._backoff.reset()
        self.state = "running"

    def declare(self, sensor: Sensor) -> None:
        if isinstance(sensor, Declares):
            profiles = sensor.profiles()
            if profiles is not self._declared:
                self._declare(profiles)
                self._declared = profiles

    def failed(self, reason: str, message: str) -> float:
        """Count a failure and make data of it; seconds to wait before the sensor is made again."""
        self._metrics.sensor_failures.labels(self.name, reason).inc()
        self._metrics.sensor_restarts.labels(self.name).inc()
        now = self._clock.now()
        lost = [
            Reading(
                device=r.device,
                metric=r.metric,
                site=r.site,
                zone=r.zone,
                labels=r.labels,
                time=now,
                value=None,
                quality=1,
            )
            for r in self._series.values()
        ]
        self._give(lost or [self._without_series(now)])
        delay = self._backoff.next()
        self.state = f"restarting in {delay:.1f} s: {message}"
        _log.warning("sensor_failed", sensor=self.name, reason=reason, message=message, again_in=round(delay, 1))
        return delay

    def missed(self, beats: int) -> None:
        self._metrics.sensor_failures.labels(self.name, "missed").inc(beats)

    def _without_series(self, now: int) -> Reading:
        return Reading(device=self.name, metric="status", time=now, value=None, quality=int(Quality.FAILED))

    def _give(self, readings: list[Reading]) -> None:
        if readings:
            self._metrics.sensor_readings.labels(self.name).inc(len(readings))
            dropped = self._offer(readings)
            if dropped:
                self._metrics.sensor_failures.labels(self.name, "dropped").inc(dropped)


class _Life:
    """One thread with one sensor after another, until it is stopped or abandoned."""

    def __init__(self, runner: SensorRunner, delay: float) -> None:
        self.stopped = threading.Event()
        self._soon = threading.Event()  # read now, or end
        self.busy_since: float | None = None
        self._runner, self._delay = runner, delay
        self._clock, self._spec = runner._clock, runner.spec
        self.thread = threading.Thread(target=self._run, name=f"sensor-{runner.name}", daemon=True)

    def end(self) -> None:
        self.stopped.set()
        self._soon.set()

    def hurry(self) -> None:
        """Do not wait for the next beat."""
        self._soon.set()

    def _run(self) -> None:
        while not self._clock.wait(self.stopped, self._delay):
            try:
                self._live()
            except EndOfReadings:
                self._runner.state = "ended"
                return
            except Exception as error:  # whatever a sensor raises is a failed reading, and it is made again
                if self.stopped.is_set():
                    return
                reason = error.reason if isinstance(error, SensorFailed) else "raised"
                text = str(error) if isinstance(error, SensorFailed) else f"{type(error).__name__}: {error}"
                self._delay = self._runner.failed(reason, text)

    def _live(self) -> None:
        """From making a sensor to closing it."""
        sensor = self._call(self._spec.make)
        self._runner.lives(self, sensor)
        try:
            self._declare_and_read(sensor)
        finally:
            self._runner.lives(self, None)
            self._call(sensor.close)

    def _declare_and_read(self, sensor: Sensor) -> None:
        self._call(partial(self._runner.declare, sensor))
        beat = self._clock.monotonic()
        while not self.stopped.is_set():
            readings = self._call(sensor.read)
            if self.stopped.is_set() and not self._runner.is_current(self):
                return  # it came back after it had been given up
            self._runner.deliver(readings)
            self._call(partial(self._runner.declare, sensor))
            interval = sensor.interval if isinstance(sensor, Paced) else self._spec.interval
            beat += interval
            late = self._clock.monotonic() - beat
            if late > 0:
                missed = int(late // interval) if interval > 0 else 0
                beat += missed * interval
                self._runner.missed(missed)
            if self._clock.wait(self._soon, max(0.0, beat - self._clock.monotonic())) and not self.stopped.is_set():
                self._soon.clear()
                beat = self._clock.monotonic()

    def _call(self, call: Callable[[], T]) -> T:
        self.busy_since = self._clock.monotonic()
        try:
            return call()
        finally:
            self.busy_since = None
