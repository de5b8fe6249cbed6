"""What a client says on the live feed's WebSocket, and how it is read. What it is told stands in ``docs/live.md``."""

from typing import Annotated, Any, Final, Literal

import msgspec

from sonde.errors import Invalid, Problem

PROTOCOL: Final = "sonde.v1"
TOKEN_PROTOCOL: Final = "sonde.token."  # noqa: S105  # no password; and the token: for browsers, which cannot send headers
MESSAGE_BYTES: Final = 64 << 10
KINDS: Final = ("data", "alert", "corrected", "command_result", "device_message")

Kind = Literal["data", "alert", "corrected", "command_result", "device_message"]
Name = Annotated[str, msgspec.Meta(max_length=64)]
Pattern = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
Patterns = Pattern | Annotated[list[Pattern], msgspec.Meta(min_length=1, max_length=100)]


class Subscribe(msgspec.Struct, frozen=True, tag="subscribe", forbid_unknown_fields=True, omit_defaults=True):
    """Give me what matches. ``device``, ``metric``, ``site`` and ``zone`` are shell-style patterns, one or several; those
    that are absent match everything. ``rate`` is how many readings of one series at most, a second: the newest wins.
    ``cursor`` says from where on, ``since`` from which moment on (a time, or a span before now; of receipt); absent, from now
    on. ``kinds`` are those of :data:`KINDS` that are wanted."""

    id: Name = ""
    device: Patterns | None = None
    metric: Patterns | None = None
    site: Patterns | None = None
    zone: Patterns | None = None
    rate: Annotated[float, msgspec.Meta(gt=0, le=1000)] | None = None
    cursor: Annotated[str, msgspec.Meta(max_length=4096)] | None = None
    since: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    kinds: Annotated[list[Kind], msgspec.Meta(min_length=1, max_length=10)] | None = None
    request_id: Any = None


class Unsubscribe(msgspec.Struct, frozen=True, tag="unsubscribe", forbid_unknown_fields=True, omit_defaults=True):
    """Nothing more of the subscription ``id``."""

    id: Name = ""
    request_id: Any = None


class Ping(msgspec.Struct, frozen=True, tag="ping", forbid_unknown_fields=True, omit_defaults=True):
    """Are you there?"""

    request_id: Any = None


class Command(msgspec.Struct, frozen=True, tag="command", omit_defaults=True):
    """Have a device do something."""

    command: Annotated[str, msgspec.Meta(max_length=256)]
    parameters: dict[str, Any] = {}
    device: Annotated[str, msgspec.Meta(max_length=256)] = ""
    request_id: Any = None


Message = Subscribe | Unsubscribe | Ping | Command
_decode: Final = msgspec.json.Decoder(Message).decode
_decode_any: Final = msgspec.json.Decoder().decode


def read_message(text: str) -> Message:
    """The message in ``text``; :class:`Invalid` if it is none."""
    try:
        message: Message = _decode(text)
    except msgspec.ValidationError as error:
        raise Invalid(Problem(None, "", _plainly(str(error)))) from None
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise Invalid(Problem(None, "", f"this is not JSON ({error})"), syntax=True) from None
    return message


def request_id_of(text: str) -> Any:
    """The ``request_id`` of a message, whatever else is wrong with it."""
    try:
        found = _decode_any(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None
    return found.get("request_id") if isinstance(found, dict) else None


def _plainly(error: str) -> str:
    if "missing required field `type`" in error or error.startswith("Expected `object`"):
        return 'a message is an object with a "type": subscribe, unsubscribe, ping or command'
    return error.replace("Invalid value", "no message has the type", 1) if error.endswith("`$.type`") else error
