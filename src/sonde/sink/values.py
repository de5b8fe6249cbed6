"""What a value may be, and what is wrong with one that may not."""

import math
from typing import Any, Final

import msgspec

from sonde.reading import Kind, Value
from sonde.sink.limits import Limits

INTEGERS: Final = range(-(2**63), 2**63)
_KINDS: Final = {
    float: "a number",
    int: "a number",
    bool: "true or false",
    str: "text",
    list: "an array",
    type(None): "null",
}
_SHOWN: Final = 64


def kind_of(thing: Any) -> str:
    """What ``thing`` is, in words."""
    return _KINDS.get(type(thing), "an object")


def shown(thing: Any) -> str:
    """``thing`` for a message: JSON, and short."""
    if isinstance(thing, float) and not math.isfinite(thing):
        return "a number too large"
    if type(thing) is int and thing.bit_length() > 256:
        return "a number too large"
    text = ascii(thing) if isinstance(thing, str) else str(thing)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def what_is_wrong(value: Any, limits: Limits) -> str | None:
    """Why ``value`` cannot be one, and what would be right; ``None`` if it can."""
    match value:
        case bool() | None:
            return None
        case float():
            return None if math.isfinite(value) else "it is not a finite number"
        case int():
            return None if value in INTEGERS else f"{shown(value)} is not in -2^63 to 2^63 - 1; send it as text"
        case str():
            return _wrong_text(value, limits)
        case list() | dict():
            return _wrong_json(value, limits)
    return f"it is {kind_of(value)}"


def of_kind(value: Value, kind: Kind) -> Value:
    """``value`` as one of ``kind``, or ``None`` if it is of another."""
    match kind, value:
        case (Kind.BOOLEAN, bool()) | (Kind.TEXT, str()) | (Kind.JSON, list() | dict()):
            return value
        case (_, bool()):
            return None
        case (Kind.NUMBER, int() | float()):
            return float(value)
        case (Kind.INTEGER, int()):
            return value
    return None


def _wrong_text(text: str, limits: Limits) -> str | None:
    if "\0" in text:
        return "it holds the character U+0000, which text cannot have"
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        return "it holds half of a surrogate pair, which is no character"
    return None if size <= limits.value_bytes else _too_long(size, limits)


def _wrong_json(value: Any, limits: Limits) -> str | None:
    wrong = _wrong_inside(value, limits, limits.depth)
    if wrong is not None:
        return wrong
    size = len(msgspec.json.encode(value))
    return None if size <= limits.value_bytes else _too_long(size, limits)


def _wrong_inside(value: Any, limits: Limits, depth: int) -> str | None:
    if not isinstance(value, list | dict):
        return what_is_wrong(value, limits)
    if depth == 0:
        return f"it is nested more than {limits.depth} deep"
    if isinstance(value, dict):
        for key in value:
            wrong = _wrong_text(key, limits)
            if wrong is not None:
                return f"a key in it: {wrong}"
        twice = getattr(value, "key", None)
        if twice is not None:
            return f"the key {shown(twice)} stands twice in it"
    for inner in value.values() if isinstance(value, dict) else value:
        wrong = _wrong_inside(inner, limits, depth - 1)
        if wrong is not None:
            return wrong
    return None


def _too_long(size: int, limits: Limits) -> str:
    return f"it has {size} bytes; a value has at most {limits.value_bytes}"
