"""Readings as an Arrow stream: columns named as in the own form, of any types that can be understood."""

import struct
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sonde.clock import Micros
from sonde.errors import Invalid, Problem, TooLarge
from sonde.reading import NAMES, SCHEMA, TIME, Batch, Kind
from sonde.sink import arrow_message, batches, times
from sonde.sink.columns import Received
from sonde.sink.limits import Limits
from sonde.sink.values import shown

_KNOWN: Final = tuple(SCHEMA.names)
_NAME: Final = SCHEMA.field("device").type
_DEFAULTS: Final = {"site": "", "zone": "", "labels": "{}"}
_EXACT: Final = 2**53


def read(body: bytes, now: Micros, limits: Limits) -> Received:
    """The readings in a stream; :class:`Invalid`, or :class:`TooLarge`."""
    table = _table(body, limits)
    given = {name: table.column(name).combine_chunks() for name in table.column_names}
    kind, number, text = _values(given)
    columns = {name: _names(given.get(name), name, len(table)) for name in NAMES}
    ids = _texts(given["event_id"], "event_id") if "event_id" in given else pa.nulls(len(table), pa.string())
    columns |= {"time": _times(given.get("time"), now, len(table)), "kind": kind, "value": number, "text": text}
    columns |= {"quality": _small(given.get("quality"), "quality", len(table)), "event_id": ids}
    batch = batches.checked(
        Batch(pa.RecordBatch.from_arrays([columns[name] for name in SCHEMA.names], schema=SCHEMA)), limits
    )
    batches.refuse_ahead(batch, now, limits)
    return Received("arrow", batch, "time" in given, ids.null_count == 0)


def _table(body: bytes, limits: Limits) -> pa.Table:
    try:
        rows, size = arrow_message.size_of(body)
        if rows > limits.readings:
            raise limits.too_many()
        if size > limits.decompressed_bytes:
            raise TooLarge(f"the columns have more than {limits.decompressed_bytes} bytes", hint="Send fewer at once")
        table = pa.ipc.open_stream(body).read_all()
        table.validate(full=True)
        _ = [(field.name, getattr(field.type, "tz", None)) for field in table.schema]  # fails on what is no UTF-8
    except (pa.ArrowException, struct.error, OSError, ValueError, IndexError) as error:
        raise Invalid(Problem(None, "", f"not an Arrow stream ({error})"), syntax=True) from None
    _check_names(table.column_names)
    if not len(table):
        raise Invalid(Problem(None, "", "there is no reading in it; send at least one"))
    return table


def _check_names(columns: list[str]) -> None:
    for name in columns:
        if name not in _KNOWN:
            raise _wrong(name[:256], f"this column is not known; there are {', '.join(_KNOWN)}")
        if columns.count(name) > 1:
            raise _wrong(name, "the column stands twice")
    for name in ("device", "metric", "value"):
        if name not in columns:
            raise _wrong(name, "the column is missing")


def _names(column: pa.Array | None, name: str, rows: int) -> pa.Array:
    default = _DEFAULTS.get(name)
    if column is None:
        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([default], pa.string()))
    if pa.types.is_dictionary(column.type) and column.type != _NAME:
        column = column.cast(column.type.value_type)
    if column.type == _NAME:
        column = column if not column.null_count and not column.dictionary.null_count else column.cast(pa.string())
    else:
        column = _texts(column, name)
    if column.null_count and default is not None:
        column = pc.fill_null(column, default)
    _no_null(column, name)
    return column if column.type == _NAME else column.dictionary_encode()


def _texts(column: pa.Array, name: str) -> pa.Array:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        if pa.types.is_null(kind):
            return pa.nulls(len(column), pa.string())
        raise _wrong(name, f"the column holds {column.type}; it should hold text")
    return column.cast(pa.string())


def _times(column: pa.Array | None, now: Micros, rows: int) -> pa.Array:
    if column is None:
        return pa.array(np.full(rows, now)).view(TIME)
    _no_null(column, "time")
    kind = column.type
    if pa.types.is_timestamp(kind):
        if kind.tz is None:
            raise _wrong("time", "the column has no zone; make it a timestamp in UTC")
        try:
            return column.cast(TIME, safe=kind.unit != "ns")
        except pa.ArrowInvalid:
            raise _wrong("time", "a time is out of range") from None
    moments = None
    if pa.types.is_integer(kind) and kind != pa.uint64():
        moments = times.from_integers(column.cast(pa.int64()).to_numpy())
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        moments = times.from_texts(column.cast(pa.string()))
    elif not pa.types.is_floating(kind) and not pa.types.is_integer(kind):
        raise _wrong("time", f"the column holds {kind}; it should be a timestamp with a zone, numbers, or RFC 3339")
    return pa.array(_each_time(column) if moments is None else moments).view(TIME)


def _each_time(column: pa.Array) -> Any:
    moments = np.empty(len(column), np.int64)
    for row, given in enumerate(column.to_pylist()):
        try:
            moments[row] = times.exact(given)
        except Invalid as error:
            raise Invalid(Problem(row, "time", error.problem.message)) from None
    return moments


def _small(column: pa.Array | None, name: str, rows: int) -> pa.Array:
    """A column of small integers; 0 where there are none."""
    if column is None:
        return pa.array(np.zeros(rows, np.int8))
    if not pa.types.is_integer(column.type):
        raise _wrong(name, f"the column holds {column.type}; it should hold integers")
    try:
        return pc.fill_null(column.cast(pa.int8()), 0)
    except pa.ArrowInvalid:
        raise _wrong(name, "a number in it is too large") from None


def _values(given: dict[str, Any]) -> tuple[pa.Array, pa.Array, pa.Array]:
    """The columns ``kind``, ``value`` and ``text``."""
    value = given["value"]
    rows = len(value)
    no_text = pa.nulls(rows, pa.string())
    if "text" in given:
        if "kind" not in given:
            raise _wrong("kind", "the column is missing; with text it says what each value is")
        _no_null(given["kind"], "kind")
        return _small(given["kind"], "kind", rows), _floats(value), _texts(given["text"], "text")
    kind = value.type
    if pa.types.is_integer(kind):
        kinds, number, text = _integers(value)
    elif pa.types.is_boolean(kind):
        kinds, number, text = Kind.BOOLEAN, value.cast(pa.int8()).cast(pa.float64()), no_text
    elif pa.types.is_floating(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind):
        kinds, number, text = Kind.NUMBER, _floats(value), no_text
    else:
        kinds, number, text = Kind.TEXT, pa.nulls(rows, pa.float64()), _texts(value, "value")
    present = value.is_valid().to_numpy(zero_copy_only=False)
    wanted = _small(given["kind"], "kind", rows).to_numpy() if "kind" in given else np.full(rows, kinds, np.int8)
    _fitting(kinds, wanted, present, value)
    return pa.array(np.where(present, wanted, Kind.NONE).astype(np.int8)), number, text


def _fitting(kind: Kind, wanted: Any, present: Any, value: pa.Array) -> None:
    """Each kind that is given must be one that a column of this type can hold."""
    allowed = {
        Kind.NUMBER: (Kind.NUMBER, Kind.INTEGER, Kind.BOOLEAN),
        Kind.INTEGER: (Kind.INTEGER, Kind.NUMBER),
        Kind.TEXT: (Kind.TEXT, Kind.JSON),
    }.get(kind, (kind,))
    wrong = present & ~np.isin(wanted, allowed)
    if wrong.any():
        row = int(wrong.argmax())
        raise Invalid(Problem(row, "kind", f"{shown(value[row].as_py())} cannot be of kind {wanted[row]}"))


def _floats(column: pa.Array) -> pa.Array:
    if not (pa.types.is_floating(column.type) or pa.types.is_decimal(column.type) or pa.types.is_null(column.type)):
        raise _wrong("value", f"the column holds {column.type}; beside text it should hold float64")
    return column.cast(pa.float64())


def _integers(column: pa.Array) -> tuple[Kind, pa.Array, pa.Array]:
    try:
        integers = column.cast(pa.int64())
    except pa.ArrowInvalid:
        raise _wrong("value", "an integer in it is beyond 2^63 - 1; send it as text") from None
    large = pc.or_(pc.greater(integers, _EXACT), pc.less(integers, -_EXACT))
    text = pc.if_else(large, integers.cast(pa.string()), None) if pc.any(large).as_py() else None
    nothing = pa.nulls(len(column), pa.string())
    return Kind.INTEGER, integers.cast(pa.float64(), safe=False), nothing if text is None else text


def _no_null(column: pa.Array, name: str) -> None:
    if column.null_count:
        row = int(column.is_null().to_numpy(zero_copy_only=False).argmax())
        raise Invalid(Problem(row, name, "it is missing; every reading needs one"))


def _wrong(field: str, message: str) -> Invalid:
    return Invalid(Problem(None, field, message))
