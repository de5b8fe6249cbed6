"""The sections that may be there many times, each with a name: ``[sensor.NAME]`` and ``[rule.NAME]``."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, model_validator

from sonde.config.key import Section, key
from sonde.config.values import Flag, Items, MaybeNumber, MaybeSpan, Span, Speed
from sonde.errors import Invalid
from sonde.rule import BUILDING_RULES, MAX_DURATION, MAX_WINDOW
from sonde.rule import Rule as AlertRule


def _kind(given: object) -> str:
    """``simulator`` and ``demo`` are what people say for the building and the demo device."""
    word = str(given).strip().lower()
    return {"simulator": "building", "demo": "device"}.get(word, word)


class Sensor(Section):
    """What gives readings."""

    kind: str = key("", "What it is: host, building, device, replay or function.")
    enabled: Flag = key(True, "Whether it runs.")
    interval: MaybeSpan = key(None, "Time from one reading to the next.", gt=0, le=86_400)
    rate: MaybeNumber = key(None, "Readings asked for in a second, in place of interval.", gt=0, le=1_000_000)

    @model_validator(mode="after")
    def _one_of_rate_and_interval(self) -> "Sensor":
        if self.interval is not None and self.rate is not None:
            raise ValueError("interval and rate say the same; keep one of them")
        return self

    @property
    def period(self) -> float:
        """Seconds from one reading to the next."""
        if self.rate is not None:
            return 1.0 / self.rate
        return self.interval if self.interval is not None else 1.0


class Host(Sensor):
    """This machine: CPU by core, memory, disks, network, temperatures where there are any."""

    kind: Annotated[Literal["host"], BeforeValidator(_kind)] = key("host", "host")
    interval: MaybeSpan = key(None, "Time from one reading to the next; 1s if rate is not set either.", gt=0, le=86_400)
    device: str = key("", "Name of the device; empty: this machine's name.")
    site: str = key("", "Site of its readings.")
    zone: str = key("", "Zone of its readings.")


class Building(Sensor):
    """A simulated office building: 3 sites of 5 zones of 3 devices, with CO2, temperature, humidity and people."""

    kind: Annotated[Literal["building"], BeforeValidator(_kind)] = key("building", "building")
    interval: MaybeSpan = key(None, "Time from one reading to the next, in place of rate.", gt=0, le=86_400)
    rate: MaybeNumber = key(
        None, "Readings a second; 5 if interval is not set either.", older=("EVENTS_PER_SECOND",), gt=0, le=1_000_000
    )
    seed: int = key(1, "The same seed gives the same building again.", ge=0)

    @property
    def period(self) -> float:
        return super().period if self.rate or self.interval else 0.2


class Device(Sensor):
    """The demo device: temperature, pressure, humidity and a status."""

    kind: Annotated[Literal["device"], BeforeValidator(_kind)] = key("device", "device")
    interval: MaybeSpan = key(
        None,
        "Time from one reading to the next; 2s if rate is not set either.",
        older=("TELEMETRY_INTERVAL",),
        ge=0.1,
        le=60,
    )
    device: str = key("", "Name of the device; empty: the section's name.")
    site: str = key("", "Site of its readings.")
    zone: str = key("", "Zone of its readings.")
    seed: int = key(1, "The same seed gives the same readings again.", ge=0)

    @property
    def period(self) -> float:
        return super().period if self.rate or self.interval else 2.0


class Replay(Sensor):
    """Readings from CSV or Parquet files, with the times that they have there."""

    kind: Annotated[Literal["replay"], BeforeValidator(_kind)] = key("replay", "replay")
    files: Items = key((), "CSV or Parquet files.", example="readings.csv")
    device: str = key("", "Name of the device; empty: as the files say.")
    site: str = key("", "Site of its readings; empty: as the files say.")
    zone: str = key("", "Zone of its readings; empty: as the files say.")
    time_column: str = key("", "Column with the time; empty: found by its name.")
    time_format: str = key("", "How times are written, as strptime has it; empty: ISO 8601.")
    timezone: str = key("", "Zone of times without an offset, such as Europe/Brussels.")
    metrics: Items = key((), "Columns to send; empty: all of them.")
    speed: Speed = key(1.0, "How many times faster than it was.")
    loop: Flag = key(False, "Whether to begin again at the end.")


class Function(Sensor):
    """A callable of your own that gives readings."""

    kind: Annotated[Literal["function"], BeforeValidator(_kind)] = key("function", "function")
    function: str = key("", "The callable, as module:function.", example="boiler:read", pattern=r"^$|^[\w.]+:[\w.]+$")
    device: str = key("", "Name of the device, if the callable does not say; empty: the section's name.")
    site: str = key("", "Site of its readings.")
    zone: str = key("", "Zone of its readings.")


KINDS: Final[Mapping[str, type[Sensor]]] = {
    "host": Host,
    "building": Building,
    "device": Device,
    "replay": Replay,
    "function": Function,
}


class Rule(Section):
    """An alert: what must hold of a series, for how long, and when it is over."""

    metric: str = key("*", "Pattern of the metrics that the rule watches.", min_length=1)
    type: Literal["above", "below", "outside", "equals", "rate", "no_data"] = key("above", "What must hold of a value.")
    threshold: MaybeNumber = key(
        None,
        "The value to be above or below; of outside, the lower end of the band; of rate, the change that is too much, below 0 "
        "for a fall.",
    )
    upper: MaybeNumber = key(None, "The upper end of the band, for outside, and for rate if it has two ends.")
    text: str = key("", "The text to be equal to, for equals.", max_length=500)
    per: MaybeSpan = key(None, "The time in which a value changes so much, for rate.", gt=0, le=MAX_DURATION)
    window: MaybeSpan = key(
        None, "Look at windows of this width instead of readings; a multiple of one that is kept.", ge=1, le=MAX_WINDOW
    )
    of: Literal["", "avg", "min", "max", "sum", "count", "last"] = key("", "What to look at of each window.")
    across: Literal["series", "zone", "site"] = key("series", "Whether a window is of each series, zone or site.")
    duration: Span = key(
        0.0, "How long it must hold before the alert fires; for no_data how long nothing came.", ge=0, le=MAX_DURATION
    )
    clear: MaybeNumber = key(
        None,
        "The value at which the alert is over, or for outside how far inside the band. Empty: as soon as it does not hold.",
    )
    severity: Literal["info", "warning", "critical"] = key("warning", "How bad it is.")
    message: str = key(
        "",
        "What to tell people; may name {device} {metric} {site} {zone} {labels} {place} {value} {threshold} {type} {severity} "
        "{rule} {duration} {per} {of} {window}. Empty: one that fits the type.",
        max_length=500,
    )
    device: str = key("*", "Pattern of the devices.", min_length=1)
    site: str = key("*", "Pattern of the sites.", min_length=1)
    zone: str = key("*", "Pattern of the zones.", min_length=1)
    enabled: Flag = key(True, "Whether the rule is there.")

    @model_validator(mode="after")
    def _makes_sense(self) -> "Rule":
        try:
            self.rule("name")
        except Invalid as error:
            field = error.problem.field.removeprefix("rule.").removeprefix("rule")
            raise ValueError(f"{field}: {error.problem.message}" if field else error.problem.message) from None
        return self

    def rule(self, name: str) -> AlertRule:
        """The rule as it goes into the log; :class:`Invalid` if it makes no sense."""
        given = self.model_dump(exclude={"enabled"}, exclude_none=True)
        given = {name: value for name, value in given.items() if value != "" or name not in {"message", "text", "of"}}
        if self.window is not None and self.window == int(self.window):
            given["window"] = int(self.window)
        return AlertRule.parse({"id": name, **given})


def _texts(rule: AlertRule) -> Mapping[str, str]:
    return {name: str(value) for name, value in rule.body().items() if name != "id"}


DEFAULT_SENSORS: Final[Mapping[str, Mapping[str, str]]] = {
    "host": {"kind": "host"},
    "building": {"kind": "building"},
    "device": {"kind": "device", "device": "demo-device"},
}
DEFAULT_RULES: Final[Mapping[str, Mapping[str, str]]] = {rule.id: _texts(rule) for rule in BUILDING_RULES}
