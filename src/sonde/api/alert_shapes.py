"""The shapes of alerts and rules, for the OpenAPI document."""

from typing import Annotated, Literal

from pydantic import Field

from sonde.api.answers import Count, Shape, Time
from sonde.rule import MAX_DURATION, MAX_ID, MAX_TEXT, MAX_WINDOW

Severity = Literal["info", "warning", "critical"]
_Pattern = Annotated[str, Field(max_length=MAX_TEXT, description="Shell-style pattern")]


class AlertItem(Shape):
    alert_id: str
    rule: str
    site: str
    zone: str
    device: str = Field(description="Empty if it is about a zone or a site")
    metric: str
    type: str = Field(description="What the rule watches for", examples=["above"])
    value: float | None = Field(description="Of the reading or window that opened it; null if that is no number")
    peak: float | None = Field(description="The worst value so far")
    threshold: float | None
    time: Time = Field(description="Of the reading, or the start of the window, that opened it")
    fired_at: Time | None
    resolved_at: Time | None
    shelved_until: Time | None
    state: Literal["pending", "firing", "acknowledged", "shelved", "resolved"]
    severity: str
    message: str
    retroactive: bool = Field(description="Raised by data that came late")


class AlertEvent(Shape):
    event: Literal["fired", "acknowledged", "shelved", "unshelved", "resolved"]
    time: Time
    who: str = Field(description="Empty unless somebody did it")
    why: str
    until: Time | None = Field(description="Of a shelf")


class AlertDetail(AlertItem):
    history: list[AlertEvent] = Field(description="What became of it, oldest first")


class Acknowledgement(Shape):
    why: str = Field(default="", max_length=MAX_TEXT, description="For whoever looks at it later")


class Shelf(Shape):
    until: str = Field(
        max_length=64,
        description="When it rings again if it still holds: RFC 3339 with an offset, or Unix time by its size",
        examples=["2099-01-01T00:00:00Z"],
    )
    why: str = Field(default="", max_length=MAX_TEXT, description="For whoever looks at it later")


class RuleBody(Shape):
    id: str | None = Field(default=None, min_length=1, max_length=MAX_ID, description="As in the path, or absent")
    type: Literal["above", "below", "outside", "equals", "rate", "no_data"]
    threshold: float | None = Field(default=None, description="Of above, below, outside (its lower end) and rate")
    upper: float | None = Field(default=None, description="The upper end of a band: outside, rate")
    text: str | None = Field(default=None, max_length=MAX_TEXT, description="Of equals")
    per: float | None = Field(default=None, gt=0, le=MAX_DURATION, description="Of rate: in how many seconds")
    metric: _Pattern = "*"
    device: _Pattern = "*"
    site: _Pattern = "*"
    zone: _Pattern = "*"
    window: int | None = Field(default=None, ge=1, le=MAX_WINDOW, description="Seconds: look at windows, not readings")
    of: Literal["avg", "min", "max", "sum", "count", "last"] | None = Field(default=None, description="Of each window")
    across: Literal["series", "zone", "site"] = Field(default="series", description="Whose windows")
    duration: float = Field(default=0.0, ge=0, le=MAX_DURATION, description="Seconds that it must hold")
    clear: float | None = Field(default=None, description="The level at which it is over")
    severity: Severity = "warning"
    message: str = Field(default="", max_length=MAX_TEXT, description="With {device}, {value} …; empty: a usual one")


class RuleItem(Shape):
    id: str
    rule: RuleBody
    source: Literal["config", "api"] = Field(description="Who said so last")
    who: str = Field(description="Who set it through the api")
    changed: Time


class Preview(Shape):
    rule: RuleBody
    since: str = Field(max_length=64, examples=["2025-12-31T00:00:00Z"])
    until: str = Field(max_length=64, examples=["2026-01-01T00:00:00Z"])


class PreviewedAlert(Shape):
    device: str
    metric: str
    site: str
    zone: str
    value: float | None
    peak: float | None
    threshold: float | None
    time: Time
    fired_at: Time
    resolved_at: Time | None = Field(description="Null: it would still be firing at the end")
    message: str


class Previewed(Shape):
    alerts: list[PreviewedAlert] = Field(description="The first of them, by time")
    count: Count = Field(description="How many there are")
    firing_seconds: float = Field(description="Of all together")
    series: Count = Field(description="That had such an alert; zones or sites, if it is about these")
