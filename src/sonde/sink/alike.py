"""The quick way in: many objects with the same keys, as one sender writes them.

They are decoded into structs made for those keys, and each column is checked as a whole. Where anything is out of the
ordinary there is no answer (``None``), and the exact way decides.
"""

import json
from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Any, Final

import msgspec

from sonde.clock import Micros
from sonde.sink import syntax
from sonde.sink.columns import Received
from sonde.sink.form import BUILDING, OWN, SHORT, SHORT_METRIC, Form, form_of
from sonde.sink.limits import Limits
from sonde.sink.plain import Plain

_SNIFFED: Final = 8192  # bytes in which the first reading should end
_TYPES: Final[dict[str, Any]] = {
    "device": str,
    "metric": str,
    "value": Any,
    "time": int | float,  # or text, as in the first reading
    "site": str,
    "zone": str,
    "labels": dict[str, str],
    "quality": int,
    "event_id": str,
}
_TEXTS: Final = frozenset({"device", "metric", "site", "zone", "event_id"})
_TIME_KEYS: Final = tuple(form.key("time") for form in (OWN, BUILDING, SHORT))
_sniff: Final = json.JSONDecoder().raw_decode


def read(body: bytes, now: Micros, limits: Limits, *, lines: bool = False) -> Received | None:
    """The readings of an array, or of ``lines``, if they are all alike and good."""
    shape = _shape_of(body)
    if shape is None or (b"\\" in body and b"\\u0000" in body):
        return None
    try:
        rows = shape.lines(body) if lines else shape.array(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not rows:
        return None
    if len(rows) > limits.readings:
        raise limits.too_many()
    given = _columns(rows, shape.has)
    if shape.form is SHORT:
        given["metric"] = [SHORT_METRIC] * len(rows)
    plain = Plain(given, limits)
    columns = plain.columns(now)
    if columns is None or shape.texts * len(rows) + plain.texts != syntax.texts_in(body):
        return None  # fewer texts than stand there: a key stood twice
    return Received(shape.form.name, columns, "time" in shape.has, "event_id" in shape.has)


def _columns(rows: list[Any], has: Collection[str]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {"device": [r.device for r in rows], "value": [r.value for r in rows]}
    if "metric" in has:
        columns["metric"] = [r.metric for r in rows]
    if "time" in has:
        columns["time"] = [r.time for r in rows]
    if "site" in has:
        columns["site"] = [r.site for r in rows]
    if "zone" in has:
        columns["zone"] = [r.zone for r in rows]
    if "labels" in has:
        columns["labels"] = [r.labels for r in rows]
    if "quality" in has:
        columns["quality"] = [r.quality for r in rows]
    if "event_id" in has:
        columns["event_id"] = [r.event_id for r in rows]
    return columns


class _Shape:
    """A form, the keys of it that the readings have, and whether their times are text."""

    def __init__(self, form: Form, keys: tuple[str, ...], text_times: bool) -> None:
        columns = [form.columns[key] for key in keys]
        types = _TYPES | {"time": str} if text_times else _TYPES
        struct = msgspec.defstruct(
            "Row",
            [(column, types[column]) for column in columns],
            rename=dict(zip(columns, keys, strict=True)),
            forbid_unknown_fields=True,
            gc=False,
        )
        self.form = form
        self.has = frozenset(columns)
        self.texts = len(columns) + len(_TEXTS & self.has)  # of a reading: keys, and what is always text
        self.array: Callable[[bytes], list[Any]] = msgspec.json.Decoder(list[struct]).decode  # type: ignore[valid-type]
        self.lines: Callable[[bytes], list[Any]] = msgspec.json.Decoder(struct).decode_lines


@lru_cache(maxsize=256)
def _shape(keys: tuple[str, ...], text_times: bool) -> _Shape | None:
    form = form_of(keys)
    if form is None or not all(form.columns.get(key) in _TYPES for key in keys):
        return None
    columns = {form.columns[key] for key in keys}
    needed = {"device", "value"} if form is SHORT else {"device", "metric", "value"}
    return _Shape(form, keys, text_times) if needed <= columns and len(columns) == len(keys) else None


def _shape_of(body: bytes) -> _Shape | None:
    start = body.find(b"{", 0, _SNIFFED)
    if start < 0:
        return None
    try:
        first, _ = _sniff(body[start : start + _SNIFFED].decode(errors="ignore"))
    except (ValueError, RecursionError):
        return None
    return _shape(tuple(first), any(type(first.get(key)) is str for key in _TIME_KEYS))
