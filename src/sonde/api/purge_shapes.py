"""The shapes of purges, for the OpenAPI document."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from sonde.api.answers import Shape, Time

_ONE_OF_THREE: dict[str, Any] = {"anyOf": [{"required": [name]} for name in ("device", "metric", "before")]}
_Pattern = Annotated[str, Field(min_length=1, max_length=500)]


class NewPurge(Shape):
    """What to forget. At least one of `device`, `metric` and `before`."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_ONE_OF_THREE)

    device: _Pattern = Field(
        default="*", description="Pattern of the devices; absent: every one", examples=["press-7/*"]
    )
    metric: _Pattern = Field(default="*", description="Pattern of the metrics; absent: every one")
    before: Time = Field(
        default="",
        description="Only what is older; rounded down to where windows of every width begin. Absent: all of it",
    )
    note: str = Field(default="", max_length=500, description="Why; kept in the audit trail and in `/gaps`")
    dry_run: bool = Field(default=False, description="Only count")


class Purged(Shape):
    device: str | None = Field(description="Pattern of the devices")
    metric: str | None = Field(description="Pattern of the metrics")
    before: Time | None = Field(description="Only what is older")
    readings: int = Field(ge=0, description="How many readings match")
    devices: int = Field(ge=0, description="Of how many devices")
    done: bool = Field(description="False if it was only counted")
