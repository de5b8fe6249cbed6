"""Columns of a request in which nothing is out of the ordinary; what is not plain is left to the exact way.

Types of names, times and ids are the caller's to check; here it is what they hold.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa

from sonde.clock import Micros
from sonde.errors import Invalid
from sonde.reading import Batch, Quality, label_text
from sonde.sink import names, syntax, times
from sonde.sink.columns import Columns, Values
from sonde.sink.known import Known
from sonde.sink.limits import Limits
from sonde.sink.values import INTEGERS, what_is_wrong

_FEW: Final = 256  # up to so many readings stay Python values; more become numbers at once, which are smaller

_KNOWN: Final = {
    "device": Known(may_be_empty=False),
    "metric": Known(may_be_empty=False),
    "site": Known(may_be_empty=True),
    "zone": Known(may_be_empty=True),
}

_VERY_FEW: Final = 24  # up to so many times, one by one is faster


class _Doubt(Exception):
    """A column is not plain."""


class Plain:
    """Columns as they were decoded, by our names. ``texts``: the texts found in times, values and labels, keys too."""

    def __init__(self, given: Mapping[str, list[Any]], limits: Limits) -> None:
        self._given = given
        self._limits = limits
        self._rows = len(given["value"])
        self.texts = 0

    def columns(self, now: Micros) -> Columns | Batch | None:
        """The readings, if all are good; many of them with ids as a batch, because ids cannot be numbers."""
        given = self._given
        try:
            columns = Columns(
                devices=self._names("device"),
                metrics=self._names("metric"),
                times=self._times(now),
                values=self._values(),
                sites=self._names("site", optional=True) if "site" in given else (),
                zones=self._names("zone", optional=True) if "zone" in given else (),
                labels=self._labels() if "labels" in given else (),
                qualities=self._qualities() if "quality" in given else (),
                ids=self._ids() if "event_id" in given else (),
            )
        except _Doubt:
            return None
        return columns.batch() if isinstance(columns.ids, pa.Array) else columns

    def _names(self, name: str, *, optional: bool = False) -> Any:
        column = self._given[name]
        if self._rows <= _FEW:
            return _sure(column, names.all_good(set(column), may_be_empty=optional))
        encoded = _KNOWN[name].encode(column)
        return _sure(encoded, encoded is not None)

    def _times(self, now: Micros) -> Any:
        given = self._given.get("time")
        if given is None:
            return [now] * self._rows
        text = type(given[0]) is str
        self.texts += self._rows if text else 0
        if self._rows <= _VERY_FEW:
            return self._each_time(given, now)
        until = now + self._limits.future + 1
        moments = times.from_texts(pa.array(given, pa.string()), until) if text else times.from_numbers(given, until)
        return _sure(moments, moments is not None)

    def _each_time(self, given: list[Any], now: Micros) -> list[Micros]:
        try:
            moments = [times.exact(time) for time in given]
        except Invalid:
            raise _Doubt from None
        return list(_sure(moments, max(moments) <= now + self._limits.future))

    def _values(self) -> Values:
        values = self._given["value"]
        types = set(map(type, values))
        if types == {float}:
            return values if self._rows <= _FEW else np.array(values)
        if int in types:
            integers = [v for v in values if type(v) is int]
            _sure(None, min(integers) in INTEGERS and max(integers) in INTEGERS)
        _sure(None, type(None) not in types or "quality" in self._given)
        for kind in types & {str, list, dict}:
            for value in values:
                if type(value) is kind:
                    _sure(None, what_is_wrong(value, self._limits) is None)
                    self.texts += 1 if kind is str else syntax.texts_of(value)
        return values

    def _qualities(self) -> list[int]:
        qualities = self._given["quality"]
        failed = (v is None and not q for v, q in zip(self._given["value"], qualities, strict=True))
        return list(_sure(qualities, min(qualities) >= 0 and max(qualities) <= max(Quality) and not any(failed)))

    def _labels(self) -> list[str]:
        given = self._given["labels"]
        texts = [label_text(labels) for labels in given]
        different = dict(zip(texts, given, strict=True)).values()
        self.texts += 2 * sum(map(len, given))
        return list(_sure(texts, not any(names.labels_wrong(d, self._limits.labels_bytes) for d in different)))

    def _ids(self) -> Any:
        ids = self._given["event_id"]
        if self._rows <= _FEW:
            return _sure(ids, not any(map(names.what_is_wrong, ids)))
        encoded = pa.array(ids, pa.string())
        return _sure(encoded, names.all_plain(encoded))


def _sure(column: Any, good: bool | np.bool_) -> Any:
    if not good:
        raise _Doubt
    return column
