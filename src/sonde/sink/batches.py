"""Batches that others made, column by column: what :class:`sonde.reading.Batch` promises must be true of them too."""

from collections.abc import Callable
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sonde.clock import Micros
from sonde.errors import Invalid, Problem
from sonde.moment import EARLIEST, FIRST_YEAR, LAST_YEAR, LATEST, format_time
from sonde.reading import NAMES, SCHEMA, Batch, Kind, Quality, label_text
from sonde.sink import names
from sonde.sink.limits import Limits
from sonde.sink.values import INTEGERS, shown, what_is_wrong

_OPTIONAL: Final = ("site", "zone")
_EXACT: Final = 2.0**53
_decode_labels: Final = msgspec.json.Decoder(dict[str, str]).decode
_decode_json: Final = msgspec.json.Decoder().decode


def checked(batch: Batch, limits: Limits) -> Batch:
    """``batch`` with its names, times and values checked, but for times too far ahead; :class:`Invalid` naming the first
    reading that is wrong, and the field."""
    columns = batch.columns
    if not len(batch):
        return batch
    for name in NAMES:
        column = columns.column(name)
        checked_column = _labels(column, limits) if name == "labels" else _names(column, name)
        if checked_column is not column:
            columns = columns.set_column(columns.schema.get_field_index(name), SCHEMA.field(name), checked_column)
    moments = times_of(batch)
    _refuse((moments < EARLIEST) | (moments >= LATEST), "time", _years)
    quality = columns.column("quality").to_numpy()
    _refuse((quality < 0) | (quality > max(Quality)), "quality", lambda i: f"{quality[i]} is no quality")
    _values(columns, quality, limits)
    _ids(columns.column("event_id"))
    return Batch(columns)


def times_of(batch: Batch) -> npt.NDArray[np.int64]:
    """The times of a batch in microseconds."""
    moments: npt.NDArray[np.int64] = batch.columns.column("time").cast(pa.int64()).to_numpy()
    return moments


def refuse_ahead(batch: Batch, now: Micros, limits: Limits) -> None:
    """:class:`Invalid` if a reading is too far ahead of ``now``."""
    moments = times_of(batch)
    _refuse(
        moments > now + limits.future,
        "time",
        lambda i: (
            f"{format_time(int(moments[i]))} is too far ahead: here it is {format_time(now)}. Is the clock right?"
        ),
    )


def mark_ahead(batch: Batch, now: Micros, limits: Limits) -> Batch:
    """``batch`` with the quality of readings too far ahead of ``now`` marked *clock*: a node's clock may be wrong, its
    other readings must not wait for that."""
    ahead = times_of(batch) > now + limits.future
    if not ahead.any():
        return batch
    quality = np.where(ahead, Quality.CLOCK, batch.columns.column("quality").to_numpy()).astype(np.int8)
    place = SCHEMA.get_field_index("quality")
    return Batch(batch.columns.set_column(place, SCHEMA.field("quality"), pa.array(quality)))


def _names(column: pa.DictionaryArray, field: str) -> pa.DictionaryArray:
    optional = field in _OPTIONAL
    column = _compact(column)
    given = column.dictionary.to_pylist()
    if names.all_good(given, may_be_empty=optional):
        return column
    used = set(column.indices.unique().to_pylist())
    wrong = {i: names.what_is_wrong(name, may_be_empty=optional) for i, name in enumerate(given) if i in used}
    _refuse_names(column, {i: why for i, why in wrong.items() if why is not None}, field)
    return column.cast(pa.string()).dictionary_encode()


def _labels(column: pa.DictionaryArray, limits: Limits) -> pa.DictionaryArray:
    """Labels in their one form: JSON with sorted keys."""
    column = _compact(column)
    texts: list[str] = []
    wrong: dict[int, str] = {}
    for i, text in enumerate(column.dictionary.to_pylist()):
        try:
            labels = _decode_labels(text or "{}")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            wrong[i] = f'{shown(text)} is not JSON such as {{"floor": "2"}}, text to text'
            labels = {}
        why = names.labels_wrong(labels, limits.labels_bytes)
        if why is not None:
            wrong[i] = why
        texts.append(label_text(labels))
    _refuse_names(column, wrong, "labels")
    return _compact(pa.DictionaryArray.from_arrays(column.indices, pa.array(texts, pa.string())))


def _compact(column: pa.DictionaryArray) -> pa.DictionaryArray:
    """``column`` with each name once in its dictionary, and not many more names than rows."""
    dictionary = column.dictionary
    if not dictionary.null_count and len(dictionary) <= len(column) and len(pc.unique(dictionary)) == len(dictionary):
        return column
    return column.cast(pa.string()).dictionary_encode()


def _refuse_names(column: pa.DictionaryArray, wrong: dict[int, str], field: str) -> None:
    if wrong:
        indices = column.indices.to_numpy()
        _refuse(np.isin(indices, list(wrong)), field, lambda row: wrong[int(indices[row])])


def _years(row: int) -> str:
    return f"it is not in the years {FIRST_YEAR} to {LAST_YEAR}"


def _values(columns: pa.RecordBatch, quality: npt.NDArray[np.int8], limits: Limits) -> None:
    kind, text = columns.column("kind").to_numpy(), columns.column("text")
    number = columns.column("value")
    numbers = number.to_numpy(zero_copy_only=False)
    finite = np.isfinite(numbers)
    if not kind.any() and text.null_count == len(text) and finite.all():
        return  # numbers, all good: by far the most
    _refuse((kind < 0) | (kind > max(Kind)), "kind", lambda i: f"{kind[i]} is no kind")
    numeric = kind <= Kind.BOOLEAN
    no_number, no_text = number.is_null().to_numpy(zero_copy_only=False), text.is_null().to_numpy(zero_copy_only=False)
    _refuse(numeric & ~finite, "value", lambda i: "it is not a finite number; a sensor that failed sends none")
    _refuse(~numeric & ~no_number, "value", lambda i: "text, JSON and failed readings have no number")
    texts = (kind == Kind.TEXT) | (kind == Kind.JSON)
    _refuse(texts & no_text, "text", lambda i: "it is missing")
    _refuse(
        ~texts & (kind != Kind.INTEGER) & ~no_text, "text", lambda i: "only text, JSON and large integers have text"
    )
    _refuse(
        (kind == Kind.NONE) & (quality == 0), "quality", lambda i: "a reading without a value needs one that says why"
    )
    _refuse((kind == Kind.BOOLEAN) & (numbers != 0) & (numbers != 1), "value", lambda i: "a boolean is 0 or 1")
    integers = kind == Kind.INTEGER
    _refuse(integers & (numbers != np.rint(numbers)), "value", lambda i: "an integer has no decimals")
    _refuse(integers & (np.abs(numbers) > _EXACT) & no_text, "text", lambda i: "an integer beyond 2^53 stands here too")
    for row in np.flatnonzero(~no_text).tolist():
        why = _text_wrong(kind[row], text[row].as_py(), numbers[row], limits)
        if why is not None:
            raise Invalid(Problem(row, "text", why))


def _text_wrong(kind: int, text: str, number: float, limits: Limits) -> str | None:
    if kind == Kind.TEXT:
        return what_is_wrong(text, limits)
    try:
        value: Any = int(text) if kind == Kind.INTEGER else _decode_json(text)
    except (ValueError, RecursionError):
        return f"{shown(text)} is not {'an integer' if kind == Kind.INTEGER else 'JSON'}"
    if kind == Kind.INTEGER:
        return None if value in INTEGERS and float(value) == number else f"{shown(text)} is not the integer in value"
    if not isinstance(value, list | dict):
        return "JSON here is an array or an object; other values have kinds of their own"
    return what_is_wrong(value, limits)


def _ids(column: pa.Array) -> None:
    if column.null_count == len(column) or names.all_plain(column):
        return
    for row, event_id in enumerate(column.to_pylist()):
        why = names.what_is_wrong(event_id) if event_id is not None else None
        if why is not None:
            raise Invalid(Problem(row, "event_id", why))


def _refuse(rows: npt.NDArray[np.bool_], field: str, why: Callable[[int], str]) -> None:
    if rows.any():
        row = int(rows.argmax())
        raise Invalid(Problem(row, field, why(row)))
