"""What a sensor gave, looked at before it is kept: one bad reading must not cost the others."""

import math
import unicodedata
from typing import Any, Final

import msgspec

from sonde.errors import Invalid, Problem
from sonde.moment import EARLIEST, LATEST
from sonde.reading import Quality, Reading, Value

_NAME_BYTES: Final = 256
_KNOWN_NAMES: Final = 10_000
_DEPTH: Final = 32
_LIMIT: Final = 2**63


class Checker:
    """Checks readings; remembers the names that were fine."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def clean(self, reading: Reading) -> Reading:
        """``reading``, with numbers of other libraries as Python's own; :class:`Invalid` naming the field if it cannot be.

        A value of None without a quality becomes a failed one.
        """
        if not isinstance(reading, Reading):
            raise _invalid("", f"a sensor gives readings, not {type(reading).__name__}")
        self._check_names(reading)
        if type(reading.time) is not int or not EARLIEST <= reading.time < LATEST:
            raise _invalid("time", f"{reading.time!r} is not a moment in microseconds between 1970 and 2200")
        if reading.quality not in range(len(Quality)):
            raise _invalid("quality", f"{reading.quality!r} is none of 0 to {len(Quality) - 1}")
        value = _clean_value(reading.value)
        if value is None and reading.quality == Quality.GOOD:
            return msgspec.structs.replace(reading, value=None, quality=int(Quality.FAILED))
        return reading if value is reading.value else msgspec.structs.replace(reading, value=value)

    def _check_names(self, reading: Reading) -> None:
        for field, name in (("device", reading.device), ("metric", reading.metric)):
            if name not in self._names:
                self._check_name(field, name)
        for field, name in (("site", reading.site), ("zone", reading.zone)):
            if name != "" and name not in self._names:
                self._check_name(field, name)
        for name, value in reading.labels.items():
            for text in (name, value):
                if text not in self._names and text != "":
                    self._check_name("labels", text)
        if reading.event_id is not None:
            self._check_name("event_id", reading.event_id, keep=False)

    def _check_name(self, field: str, name: object, *, keep: bool = True) -> None:
        if not isinstance(name, str) or not name:
            raise _invalid(field, f"{name!r} is not a name; it should be text")
        if not _is_text(name) or any(unicodedata.category(c) in {"Cc", "Cs"} or c in _OVERRIDES for c in name):
            raise _invalid(field, f"{name!r} holds characters that a name may not have")
        if len(name.encode()) > _NAME_BYTES:
            raise _invalid(field, f"{name[:40]!r}… is longer than {_NAME_BYTES} bytes")
        if keep and len(self._names) < _KNOWN_NAMES:
            self._names.add(name)


_OVERRIDES: Final = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u061c")


def _clean_value(value: Any, depth: int = 0) -> Value:
    kind = type(value)
    if kind is float:
        if not math.isfinite(value):
            raise _invalid("value", f"{value!r} is not a number that can be stored")
        return float(value)
    if kind is int:
        if not -_LIMIT <= value < _LIMIT:
            raise _invalid("value", f"{value!r} does not fit into 64 bits")
        return int(value)
    if value is None or kind is bool:
        return value if value is None else bool(value)
    if kind is str:
        if not _is_text(value):
            raise _invalid("value", "a text with a lone surrogate or NUL")
        return str(value)
    return _clean_other(value, depth)


def _clean_other(value: Any, depth: int) -> Value:
    if depth > _DEPTH:
        raise _invalid("value", f"nested deeper than {_DEPTH}")
    if isinstance(value, dict):
        if not all(type(key) is str and _is_text(key) for key in value):
            raise _invalid("value", "an object with a key that is not text")
        return {key: _clean_value(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean_value(item, depth + 1) for item in value]
    for native in (bool, int, float, str):  # a subclass, such as an enumeration
        if isinstance(value, native):
            return _clean_value(native(value), depth + 1)
    item = getattr(value, "item", None)  # a scalar of numpy and its like
    if callable(item):
        return _clean_value(item(), depth + 1)
    raise _invalid("value", f"{type(value).__name__} is not a number, text, boolean, list or object")


def _is_text(text: str) -> bool:
    if text.isascii():
        return "\0" not in text
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _invalid(field: str, message: str) -> Invalid:
    return Invalid(Problem(None, field, message))
