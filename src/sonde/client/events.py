"""What comes out of a live feed besides readings."""

from collections.abc import Sequence
from typing import Any

import msgspec

from sonde.moment import parse_time
from sonde.reading import Reading


class Gap(msgspec.Struct, frozen=True, rename={"first": "from", "until": "to"}):
    """What lies between two cursors did not come. ``reason`` is ``slow``, ``cut`` or ``damaged``."""

    first: str
    until: str
    reason: str
    detail: str = ""


class Corrected(msgspec.Struct, frozen=True, rename={"first": "from", "last": "to"}):
    """Late readings changed the windows of a series between two moments (RFC 3339, ends included). ``series`` has its names
    and labels; none: very many series."""

    series: dict[str, Any] | None
    first: str
    last: str


class AlertTurned(msgspec.Struct, frozen=True):
    """An alert is in another state; ``alert`` is as ``GET /alerts`` gives it."""

    alert: dict[str, Any]


class DeviceNews(msgspec.Struct, frozen=True):
    """An answer of a device to a command (``type`` is ``command_result``), or a word of its own (``device_message``)."""

    type: str
    id: str
    device: str
    value: Any
    timestamp: str


Event = Reading | Gap | Corrected | AlertTurned | DeviceNews


class Message(msgspec.Struct, frozen=True):
    """Any message, as far as it has to be known to go on."""

    type: str
    subscription: str = ""
    cursor: str = ""
    request_id: Any = None
    status: int = 0
    message: str = ""


class _Reading(msgspec.Struct, frozen=True):
    device: str
    metric: str
    site: str
    zone: str
    time: str
    value: Any
    labels: dict[str, str] = {}
    quality: int = 0


class _Data(msgspec.Struct, frozen=True):
    readings: list[_Reading]
    skipped: int = 0


_message = msgspec.json.Decoder(Message).decode
_data = msgspec.json.Decoder(_Data).decode
_KINDS: dict[str, type[Gap | Corrected | AlertTurned | DeviceNews]] = {
    "gap": Gap,
    "corrected": Corrected,
    "alert": AlertTurned,
    "command_result": DeviceNews,
    "device_message": DeviceNews,
}


def read(text: str | bytes) -> tuple[Message, Sequence[Event]]:
    """A message and the events in it. Of types that are not known there are none."""
    message = _message(text)
    if message.type == "data":
        return message, [_reading(found) for found in _data(text).readings]
    kind = _KINDS.get(message.type)
    return message, [] if kind is None else [msgspec.json.decode(text, type=kind)]


def _reading(found: _Reading) -> Reading:
    return Reading(
        device=found.device,
        metric=found.metric,
        time=parse_time(found.time),
        value=found.value,
        site=found.site,
        zone=found.zone,
        labels=found.labels,
        quality=found.quality,
    )
