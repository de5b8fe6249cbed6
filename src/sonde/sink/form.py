"""The forms in which callers write a reading, and the names that each has for the columns."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Form:
    """``keys`` are the caller's names of our columns."""

    name: str
    keys: dict[str, str]
    columns: dict[str, str]

    def key(self, column: str) -> str:
        return self.keys.get(column, column)


def _form(name: str, **keys: str) -> Form:
    return Form(name, keys, {key: column for column, key in keys.items()})


_ALL: Final = ("device", "metric", "value", "time", "site", "zone", "labels", "quality", "kind", "event_id")

OWN: Final = _form("own", **{name: name for name in _ALL})
BUILDING: Final = _form(
    "building",
    device="device_id",
    metric="sensor_type",
    value="value",
    time="ts_event",
    site="site_id",
    zone="zone_id",
    labels="labels",
    quality="quality",
    event_id="event_id",
)
SHORT: Final = _form("short", device="name", value="value", time="timestamp", quality="quality", event_id="event_id")
SHORT_METRIC: Final = "value"


def form_of(keys: Iterable[Any]) -> Form | None:
    """The form of an object with these keys; ``None`` if they are of none."""
    if "device" in keys:
        return OWN
    if "device_id" in keys:
        return BUILDING
    if "name" in keys:
        return SHORT
    return None
