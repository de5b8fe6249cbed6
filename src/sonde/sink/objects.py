"""Readings one by one: the exact way in. It takes every form, mixed ones too, and names the first thing that is wrong.

Most requests never come here: :mod:`sonde.sink.forms` takes what is plain in whole columns.
"""

import difflib
from collections.abc import Iterable
from typing import Any, Final

from sonde.clock import Micros
from sonde.errors import Invalid, Problem
from sonde.moment import format_time
from sonde.reading import Kind, Quality, Value, label_text
from sonde.sink import names, times
from sonde.sink.columns import NO_LABELS, Columns, Received
from sonde.sink.form import SHORT, SHORT_METRIC, Form, form_of
from sonde.sink.limits import Limits
from sonde.sink.values import kind_of, of_kind, shown, what_is_wrong

_EXAMPLE: Final = '{"device": "…", "metric": "…", "value": 21.5, "time": "2026-01-01T00:00:00Z"}'


class Twice(dict[str, Any]):
    """An object in which a key stood twice: ``key``."""

    key: str = ""


def read(objects: Iterable[Any], now: Micros, limits: Limits) -> Received:
    """The readings in ``objects``; :class:`Invalid` naming the first that cannot be taken."""
    rows: list[tuple[Any, ...]] = []
    forms: set[str] = set()
    timed = True
    for index, thing in enumerate(objects):
        reading = _Reading(index, thing, now, limits)
        rows.append(reading.row())
        forms.add(reading.form.name)
        timed = timed and reading.timed
    devices, metrics, moments, values, sites, zones, labels, qualities, ids = map(list, zip(*rows, strict=True))
    columns = Columns(
        devices=devices,
        metrics=metrics,
        times=moments,
        values=values,
        sites=sites if any(sites) else (),
        zones=zones if any(zones) else (),
        labels=labels if labels.count(NO_LABELS) < len(labels) else (),
        qualities=qualities if any(qualities) else (),
        ids=ids if any(ids) else (),
    )
    form = forms.pop() if len(forms) == 1 else "mixed"
    return Received(form, columns, timed, None not in ids)


class _Reading:
    """One reading on its way into a row; each method takes one field."""

    def __init__(self, index: int, thing: Any, now: Micros, limits: Limits) -> None:
        self._index = index
        self._now = now
        self._limits = limits
        self._thing = thing
        self.form = self._form()
        self.timed = self._get("time") is not None

    def row(self) -> tuple[Any, ...]:
        quality = self._quality()
        return (
            self._name("device"),
            SHORT_METRIC if self.form is SHORT else self._name("metric"),
            self._time(),
            self._value(quality),
            self._name("site", optional=True),
            self._name("zone", optional=True),
            self._labels(),
            quality,
            self._event_id(),
        )

    def _form(self) -> Form:
        thing = self._thing
        if not isinstance(thing, dict):
            raise self._wrong("", f"a reading is an object such as {_EXAMPLE}, not {kind_of(thing)}")
        if isinstance(thing, Twice):
            raise self._wrong(thing.key, "the key stands twice; which value is meant?")
        form = form_of(thing)
        if form is None:
            raise self._wrong("device", f"it is missing; a reading looks like {_EXAMPLE}")
        for key in thing:
            if key not in form.columns:
                raise self._wrong(key, self._unknown(key, form))
        return form

    def _unknown(self, key: str, form: Form) -> str:
        close = difflib.get_close_matches(key[:64], form.columns, 1)
        meant = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(form.columns)}"
        return f"this key is not known in the {form.name} form; {meant}"

    def _get(self, column: str) -> Any:
        key = self.form.keys.get(column)
        return None if key is None else self._thing.get(key)

    def _name(self, column: str, *, optional: bool = False) -> str:
        name = self._get(column)
        if name is None and optional:
            return ""
        if type(name) is not str:
            raise self._bad(column, "it is missing" if name is None else f"it is {kind_of(name)}; a name is text")
        wrong = names.what_is_wrong(name, may_be_empty=optional)
        if wrong is not None:
            raise self._bad(column, wrong)
        if column != "event_id":
            names.remember(name)
        return name

    def _event_id(self) -> str | None:
        return self._name("event_id") if self._get("event_id") is not None else None

    def _labels(self) -> str:
        labels = self._get("labels")
        if labels is None:
            return NO_LABELS
        if isinstance(labels, Twice):
            raise self._bad("labels", f"the key {labels.key!r} stands twice")
        if not isinstance(labels, dict) or any(type(v) is not str for v in labels.values()):
            raise self._bad("labels", 'labels are an object of text to text, such as {"floor": "2"}')
        wrong = names.labels_wrong(labels, self._limits.labels_bytes)
        if wrong is not None:
            raise self._bad("labels", wrong)
        return label_text(labels)

    def _quality(self) -> int:
        quality = self._get("quality")
        if quality is None:
            return Quality.GOOD
        if type(quality) is not int or not 0 <= quality <= max(Quality):
            meanings = ", ".join(f"{q.value} {q.name.lower()}" for q in Quality)
            raise self._bad("quality", f"{shown(quality)} is no quality; there are {meanings}")
        return quality

    def _value(self, quality: int) -> Value:
        key = self.form.keys["value"]
        if key not in self._thing:
            raise self._bad("value", "it is missing; a sensor that failed sends null with a quality such as 1")
        value = self._thing[key]
        if value is None and not quality:
            raise self._bad("value", "null needs a quality that says why, such as 1 (failed)")
        wrong = what_is_wrong(value, self._limits)
        if wrong is not None:
            raise self._bad("value", wrong)
        kind = self._get("kind")
        return value if kind is None else self._of_kind(value, kind)

    def _of_kind(self, value: Value, kind: Any) -> Value:
        if type(kind) is not int or not 0 <= kind <= max(Kind):
            meanings = ", ".join(f"{k.value} {k.name.lower()}" for k in Kind)
            raise self._bad("kind", f"{shown(kind)} is no kind; there are {meanings}")
        fitting = of_kind(value, Kind(kind))
        if fitting is None and not (kind == Kind.NONE and value is None):
            raise self._bad("value", f"{shown(value)} is not of the kind that is given, {Kind(kind).name.lower()}")
        return fitting

    def _time(self) -> Micros:
        given = self._get("time")
        if given is None:
            return self._now
        try:
            moment = times.exact(given)
        except Invalid as error:
            raise self._bad("time", error.problem.message) from None
        if moment > self._now + self._limits.future:
            now = format_time(self._now)
            raise self._bad("time", f"{shown(given)} is too far ahead: here it is {now}. Is the clock right?")
        return moment

    def _bad(self, column: str, message: str) -> Invalid:
        return self._wrong(self.form.key(column), message)

    def _wrong(self, field: str, message: str) -> Invalid:
        return Invalid(Problem(self._index, field[: names.MAX_BYTES], message))
