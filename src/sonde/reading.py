"""Readings, and batches of them in columns.

A :class:`Reading` is one measured value. A :class:`Batch` is many of them as an Arrow record batch, and is what
travels: nothing on the way works reading by reading.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeAlias, cast

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sonde.clock import Micros
from sonde.errors import Invalid, Problem
from sonde.kind import Kind, Quality, check_values

__all__ = [
    "NAMES",
    "SCHEMA",
    "TIME",
    "Batch",
    "Kind",
    "Names",
    "Quality",
    "Reading",
    "Value",
    "decode",
    "encode",
    "label_text",
    "numbers",
    "value_of",
]

Value = float | int | bool | str | list[Any] | dict[str, Any] | None


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """One measured value. ``time`` is in microseconds UTC."""

    device: str
    metric: str
    time: Micros
    value: Value
    site: str = ""
    zone: str = ""
    labels: dict[str, str] = {}
    quality: int = Quality.GOOD
    event_id: str | None = None


_TEXT = pa.dictionary(pa.int32(), pa.string())
TIME: Final = pa.timestamp("us", "UTC")

SCHEMA: Final = pa.schema(
    [
        ("device", _TEXT),
        ("metric", _TEXT),
        ("site", _TEXT),
        ("zone", _TEXT),
        ("labels", _TEXT),
        ("time", TIME),
        ("kind", pa.int8()),
        ("value", pa.float64()),
        ("text", pa.string()),
        ("quality", pa.int8()),
        ("event_id", pa.string()),
    ]
)
"""The columns of a batch. ``labels`` is JSON with sorted keys; ``value`` holds numbers, integers and booleans (0, 1);
``text`` holds text, JSON, and integers that a float64 cannot hold exactly."""

NAMES: Final = ("device", "metric", "site", "zone", "labels")
"""What tells one series from another: the dictionary-encoded columns."""

_ON_WIRE: Final = pa.schema([(f.name, pa.int32() if f.name in NAMES else f.type) for f in SCHEMA])
_EXACT: Final = 2**53
_FEW_NAMES: Final = 64 << 10  # bytes of names that are worth remembering

Names: TypeAlias = str | Sequence[str] | pa.Array


@dataclass(frozen=True, slots=True)
class Batch:
    """Many readings in columns; ``columns`` has :data:`SCHEMA`."""

    columns: pa.RecordBatch

    def __len__(self) -> int:
        return cast(int, self.columns.num_rows)

    @classmethod
    def of(cls, readings: Iterable[Reading]) -> "Batch":
        """The readings as columns, in their order."""
        rows = list(readings)
        return cls.build(
            device=_encoded([r.device for r in rows]),
            metric=_encoded([r.metric for r in rows]),
            site=_encoded([r.site for r in rows]),
            zone=_encoded([r.zone for r in rows]),
            labels=_encoded([label_text(r.labels) for r in rows]),
            time=[r.time for r in rows],
            value=[r.value for r in rows],
            quality=[r.quality for r in rows],
            event_id=[r.event_id for r in rows],
        )

    @classmethod
    def build(
        cls,
        *,
        device: Names,
        metric: Names,
        time: Sequence[Micros] | pa.Array,
        value: Sequence[Value] | npt.NDArray[np.float64],
        site: Names = "",
        zone: Names = "",
        labels: Names = "{}",
        quality: int | Sequence[int] = Quality.GOOD,
        event_id: Sequence[str | None] | pa.Array | None = None,
    ) -> "Batch":
        """Columns from sequences of one length; a single name stands for all rows."""
        rows = len(value)
        names = [_names(column, rows) for column in (device, metric, site, zone, labels)]
        kind, number, text = _values(value)
        qualities = np.full(rows, quality, np.int8) if isinstance(quality, int) else np.array(quality, np.int8)
        times = time if isinstance(time, pa.Array) else pa.array(time, pa.int64()).view(TIME)
        ids = pa.nulls(rows, pa.string()) if event_id is None else event_id
        ids = ids if isinstance(ids, pa.Array) else pa.array(ids, pa.string())
        columns = [*names, times, kind, number, text, numbers(qualities, pa.int8()), ids]
        return cls(pa.RecordBatch.from_arrays(columns, schema=SCHEMA))

    @classmethod
    def concat(cls, batches: Sequence["Batch"]) -> "Batch":
        """All rows of ``batches``, in order."""
        if len(batches) == 1:
            return batches[0]
        table = pa.Table.from_batches([b.columns for b in batches], SCHEMA)
        return cls(_one(table.unify_dictionaries()))

    def slice(self, start: int, rows: int) -> "Batch":
        """``rows`` readings from ``start``; no copy."""
        return Batch(self.columns.slice(start, rows))

    def readings(self) -> Iterator[Reading]:
        """One :class:`Reading` a row, for places where speed does not matter."""
        columns = self.columns.set_column(5, "time", self.columns["time"].cast(pa.int64()))
        for row in columns.to_pylist():
            yield Reading(
                device=row["device"],
                metric=row["metric"],
                time=row["time"],
                value=value_of(row["kind"], row["value"], row["text"]),
                site=row["site"],
                zone=row["zone"],
                labels=msgspec.json.decode(row["labels"]),
                quality=row["quality"],
                event_id=row["event_id"],
            )


def value_of(kind: int, number: float | None, text: str | None) -> Value:
    """The value that the columns ``kind``, ``value`` and ``text`` hold: what came in, type included."""
    match kind:
        case Kind.NUMBER:
            return number
        case Kind.INTEGER:
            return int(text) if text is not None else int(cast(float, number))
        case Kind.BOOLEAN:
            return bool(number)
        case Kind.TEXT:
            return text
        case Kind.JSON:
            return cast(Value, msgspec.json.decode(cast(str, text)))
    return None


def label_text(labels: Mapping[str, str]) -> str:
    """Labels as they stand in a batch: JSON with sorted keys, ``{}`` for none."""
    return msgspec.json.encode(labels, order="sorted").decode() if labels else "{}"


def numbers(values: npt.NDArray[Any], as_type: pa.DataType) -> pa.Array:
    """``values``, of as many bytes each as ``as_type`` has, without a copy. (``pa.array`` lets go of the interpreter's lock,
    and takes it again, three times.)"""
    return pa.Array.from_buffers(as_type, len(values), [None, pa.py_buffer(values)])


def _encoded(names: Sequence[str]) -> pa.Array:
    """Names as Arrow would encode them, without its compute functions: they cost a small node 11 MB once they are loaded."""
    index = {name: place for place, name in enumerate(dict.fromkeys(names))}
    places = pa.array([index[name] for name in names], pa.int32())
    return pa.DictionaryArray.from_arrays(places, pa.array(list(index), pa.string()))


def _names(column: Names, rows: int) -> pa.Array:
    if isinstance(column, str):
        return pa.DictionaryArray.from_arrays(
            pa.repeat(pa.scalar(0, pa.int32()), rows), pa.array([column], pa.string())
        )
    array = column if isinstance(column, pa.Array) else pa.array(column, pa.string())
    return array if pa.types.is_dictionary(array.type) else array.dictionary_encode()


_KIND_OF: Final[dict[type, Kind]] = {
    float: Kind.NUMBER,
    int: Kind.INTEGER,
    bool: Kind.BOOLEAN,
    str: Kind.TEXT,
    list: Kind.JSON,
    dict: Kind.JSON,
    type(None): Kind.NONE,
}


def _values(values: Sequence[Value] | npt.NDArray[np.float64]) -> tuple[pa.Array, pa.Array, pa.Array]:
    """The columns ``kind``, ``value`` and ``text`` of ``values``."""
    rows = len(values)
    types = {float} if isinstance(values, np.ndarray) else set(map(type, values))
    if types == {float}:
        floats = numbers(np.asarray(values, np.float64), pa.float64())
        return numbers(np.zeros(rows, np.int8), pa.int8()), floats, pa.nulls(rows, pa.string())
    if types <= {float, int}:
        try:
            floats = pa.array(values, pa.float64())
        except pa.ArrowInvalid:
            pass  # an integer that float64 cannot hold exactly
        else:
            kinds = np.array([type(v) is int for v in values], np.int8)  # Kind.INTEGER is 1, Kind.NUMBER is 0
            return numbers(kinds, pa.int8()), floats, pa.nulls(rows, pa.string())
    kinds = pa.array([_KIND_OF[type(v)] for v in values], pa.int8())
    plain = [float(v) if isinstance(v, float | int) else None for v in values]
    return kinds, pa.array(plain, pa.float64()), pa.array([_text(v) for v in values], pa.string())


def _text(value: Value) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, list | dict):
        return msgspec.json.encode(value).decode()
    if type(value) is int and not -_EXACT <= value <= _EXACT:
        return str(value)
    return None


def _one(table: pa.Table) -> pa.RecordBatch:
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], SCHEMA)


# On the wire and in frames: u32 length of the names, the names (five JSON arrays of text), zeros up to a multiple of
# eight, then the rows as one Arrow IPC record batch message, with the names as indices.
_LENGTH: Final = struct.Struct("<I")


def encode(batch: Batch) -> bytes:
    """``batch`` in bytes; :func:`decode` gives it back."""
    columns = [batch.columns.column(i) for i in range(len(SCHEMA))]
    for i in range(len(NAMES)):
        if len(columns[i].dictionary) > len(batch):  # a slice of something larger: keep only the names it uses
            columns[i] = columns[i].cast(pa.string()).dictionary_encode()
    names = msgspec.json.encode([c.dictionary.to_pylist() for c in columns[: len(NAMES)]])
    arrays = [c.indices for c in columns[: len(NAMES)]] + columns[len(NAMES) :]
    rows = pa.RecordBatch.from_arrays(arrays, schema=_ON_WIRE).serialize()
    padding = -(_LENGTH.size + len(names)) % 8
    return b"".join((_LENGTH.pack(len(names)), names, bytes(padding), rows))


_decode_labels = msgspec.json.Decoder(dict[str, str]).decode
_decode_names = msgspec.json.Decoder(tuple[list[str], list[str], list[str], list[str], list[str]]).decode


def decode(data: bytes | memoryview | pa.Buffer) -> Batch:
    """The batch that ``data`` holds, whoever sent it: bounds, types, UTF-8 and that every value is of its kind are checked, or
    :class:`Invalid`."""
    view = memoryview(data)
    try:
        (length,) = _LENGTH.unpack_from(view)
        known = _dictionaries if length <= _FEW_NAMES else _dictionaries.__wrapped__
        names = known(bytes(view[_LENGTH.size : _LENGTH.size + length]))
        start = _LENGTH.size + length
        start += -start % 8
        message = pa.ipc.read_message(pa.py_buffer(view[start:]))
        if _is_compressed(message.metadata):
            raise ValueError("its columns are compressed")  # a few bytes could become gigabytes
        rows = pa.ipc.read_record_batch(message, _ON_WIRE)
        rows.validate(full=True)
        encoded = [pa.DictionaryArray.from_arrays(rows.column(i), names[i]) for i in range(len(NAMES))]
        columns = pa.RecordBatch.from_arrays(encoded + rows.columns[len(NAMES) :], schema=SCHEMA)
    except (struct.error, msgspec.MsgspecError, pa.ArrowException, ValueError, OSError, EOFError, IndexError) as error:
        raise Invalid(Problem(None, "batch", f"not a batch in Sonde's encoding ({error})"), syntax=True) from None
    for name in (*NAMES, "time", "kind", "quality"):
        if columns[name].null_count:
            raise Invalid(Problem(None, name, "empty in some rows; every reading needs one"))
    check_values(columns["kind"], columns["value"], columns["text"], columns["quality"])
    return Batch(columns)


@lru_cache(maxsize=8)  # those who write say the same names again and again
def _dictionaries(names: bytes) -> list[pa.Array]:
    """The names of each column, checked."""
    columns = _decode_names(names)
    for labels in columns[NAMES.index("labels")]:
        _check_labels(labels)
    return [pa.array(column, pa.string()) for column in columns]


def _check_labels(text: str) -> None:
    try:
        if label_text(_decode_labels(text)) == text:
            return
        problem = "its keys are not sorted, or not each of them once"
    except (msgspec.DecodeError, RecursionError) as error:
        problem = str(error)
    raise Invalid(Problem(None, "labels", f"{text[:100]!r} is not JSON with sorted keys ({problem})"))


def _is_compressed(metadata: pa.Buffer) -> bool:
    """Whether a record batch message (checked by Arrow before) names a compression of its columns."""

    def field(table: int, number: int) -> int:
        layout = table - struct.unpack_from("<i", metadata, table)[0]
        (size,) = struct.unpack_from("<H", metadata, layout)
        slot = 4 + 2 * number
        return struct.unpack_from("<H", metadata, layout + slot)[0] if slot < size else 0

    (message,) = struct.unpack_from("<I", metadata)
    place = message + field(message, 2)
    return field(place + struct.unpack_from("<I", metadata, place)[0], 3) != 0
