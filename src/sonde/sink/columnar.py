"""The columnar form: one object of arrays; a single text in place of an array stands for all readings."""

from collections.abc import Mapping
from typing import Any, Final

from sonde.clock import Micros
from sonde.errors import Invalid, Problem
from sonde.reading import Batch
from sonde.sink import objects
from sonde.sink.columns import Columns, Received
from sonde.sink.form import OWN
from sonde.sink.limits import Limits
from sonde.sink.plain import Plain

_TEXT: Final[tuple[set[type], ...]] = ({str},)
_TYPES: Final[Mapping[str, tuple[set[type], ...]]] = {
    "device": _TEXT,
    "metric": _TEXT,
    "site": _TEXT,
    "zone": _TEXT,
    "event_id": _TEXT,
    "time": ({str}, {int, float}),
    "quality": ({int},),
    "value": ({float, int, bool, str, list, dict, type(None)},),
}
_COLUMNS: Final = ("device", "metric", "time", "site", "zone", "quality", "kind", "event_id", "labels")


def is_columnar(thing: Mapping[str, Any]) -> bool:
    """Whether an object is meant as columns. An array in ``value`` alone is one reading whose value is an array."""
    return any(type(thing.get(column)) is list for column in _COLUMNS)


def read(thing: Mapping[str, Any], now: Micros, limits: Limits) -> Received:
    """The readings in ``thing``; :class:`Invalid` naming what is wrong with which."""
    rows = _rows(thing, limits)
    quick = _plain(thing, rows, now, limits)
    if quick is not None:
        return Received("columnar", quick, "time" in thing, "event_id" in thing)
    columns = [
        (key, given if type(given) is list else [given] * rows) for key, given in thing.items() if given is not None
    ]
    keys = [key for key, _ in columns]
    received = objects.read(
        (dict(zip(keys, row, strict=True)) for row in zip(*(c for _, c in columns), strict=True)), now, limits
    )
    received.form = "columnar"
    return received


def _plain(thing: Mapping[str, Any], rows: int, now: Micros, limits: Limits) -> Columns | Batch | None:
    """The readings in columns, if their types are those that are expected."""
    if not {"device", "metric"} <= thing.keys() <= _TYPES.keys():
        return None
    given = {key: column if type(column) is list else [column] * rows for key, column in thing.items()}
    for key, column in given.items():
        types = set(map(type, column))
        if not any(types <= allowed for allowed in _TYPES[key]):
            return None
    return Plain(given, limits).columns(now)


def _rows(thing: Mapping[str, Any], limits: Limits) -> int:
    values = thing.get("value")
    if type(values) is not list:
        raise _wrong("value", "it is an array in the columnar form, with one value for each reading")
    if len(values) > limits.readings:
        raise limits.too_many()
    if not values:
        raise _wrong("value", "there is no reading in it; send at least one")
    for key, given in thing.items():
        if type(given) is list and len(given) != len(values):
            raise _wrong(key, f"it has {len(given)} items and value has {len(values)}; all arrays have one length")
        if key == "event_id" and type(given) is str and len(values) > 1:
            raise _wrong(key, "one event_id cannot stand for several readings; send an array")
        if key not in OWN.columns:
            raise _wrong(key, f"this key is not known in the columnar form; there are {', '.join(OWN.columns)}")
    return len(values)


def _wrong(field: str, message: str) -> Invalid:
    return Invalid(Problem(None, field[:256], message))
