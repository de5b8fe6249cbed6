"""Columns to JSON. Arrow joins the text, so there is no Python object a row, and other threads go on meanwhile.

Times come out as RFC 3339 in UTC with microseconds; what JSON has no number for (NaN, infinities) as null.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sonde.reading import Kind

_encode: Final = msgspec.json.Encoder(decimal_format="number").encode
_TEXT: Final = pa.string()
_MANY: Final = 256  # rows
_AT_ONCE: Final = 16_384  # rows; the texts on the way to JSON take several times its size


@lru_cache(maxsize=256)
def _constant(text: str) -> pa.Scalar:
    """Text that stands in every row. Kept, because Arrow takes 40 µs to take in a Python string of no declared type."""
    return pa.scalar(text, _TEXT)


_EMPTY: Final = _constant("")
_TRUE, _FALSE, _NULL = _constant("true"), _constant("false"), pa.scalar(None, _TEXT)
_NO_NUMBER: Final = pa.scalar(None, pa.float64())
_ZERO, _EXACT = pa.scalar(0.0), pa.scalar(float(2**53))
_KINDS: Final = {kind: pa.scalar(int(kind), pa.int8()) for kind in Kind}


def json_rows(columns: Mapping[str, pa.Array]) -> bytes:
    """``[{…}, …]``: one object a row; each column of :func:`json_texts` or its kin."""
    return _listed(_concat([*_members(columns), _constant("},")]))


def json_arrays(table: pa.Table) -> bytes:
    """``[[…], …]``: one array a row."""
    if table.num_columns == 0:
        return b"[]"
    pieces = [_arrays(table.slice(at, _AT_ONCE)) for at in range(0, table.num_rows, _AT_ONCE)]
    return b"".join((b"[", b",".join(memoryview(piece)[1:-1] for piece in pieces), b"]"))


def _arrays(table: pa.Table) -> bytes:
    parts: list[Any] = []
    for number in range(table.num_columns):
        parts += [_constant("," if number else "["), json_texts(table.column(number))]
    return _listed(_concat([*parts, _constant("],")]))


def _listed(texts: pa.Array) -> bytes:
    """``[a,b,…]`` of texts that each end in a comma. They stand side by side in memory already."""
    if not len(texts):
        return b"[]"
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int32)
    first, last = int(ends[texts.offset]), int(ends[texts.offset + len(texts)])
    return b"".join((b"[", memoryview(data)[first : last - 1], b"]"))


def objects(columns: Mapping[str, pa.Array]) -> pa.Array:
    """For each row its JSON object, as text. Null stands for ``null``."""
    return _concat([*_members(columns), _constant("}")])


def _members(columns: Mapping[str, pa.Array]) -> list[pa.Array | pa.Scalar]:
    """What stands in each object before its closing bracket. A column with one text in all rows becomes part of what stands
    between the others; the last one never, because something has to say how many rows there are."""
    parts: list[pa.Array | pa.Scalar] = []
    between = "{"
    for left, (name, texts) in zip(range(len(columns) - 1, -1, -1), columns.items(), strict=True):
        between += f"{_encode(name).decode()}:"
        if left and _is_one(texts):
            between += f"{texts[0].as_py()},"
        else:
            parts += [_constant(between), texts]
            between = ","
    return parts


def _is_one(texts: pa.Array) -> bool:
    """Whether many rows have one text."""
    same = len(texts) >= _MANY and texts[0].is_valid and texts[0] == texts[-1] and not texts.null_count
    return same and bool(pc.all(pc.equal(texts, texts[0])).as_py())


def members(names: pa.Array, values: pa.Array) -> pa.Array:
    """For each row ``"name":value``, as text; ``names`` and ``values`` are JSON already."""
    return _concat([names, _constant(":"), values])


def join(texts: pa.Array) -> bytes:
    """``[a,b,…]`` of JSON texts; null stands for ``null``."""
    joined = _joined(texts.fill_null("null"), pa.array([0, len(texts)], pa.int32()))[0].as_buffer()
    return b"".join((b"[", joined, b"]"))


def join_runs(texts: pa.Array, starts: np.ndarray[Any, np.dtype[np.int64]], around: str = "{}") -> pa.Array:
    """The JSON texts of each run of rows, joined by commas and put between two brackets; a run ends where the next
    starts."""
    offsets = pa.array(np.append(starts, len(texts)), pa.int32())
    return _concat([_constant(around[0]), _joined(texts, offsets), _constant(around[1])])


def json_texts(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Each value of a column as JSON text."""
    array = whole(column)
    kind = array.type
    for is_kind, encode in _ENCODERS:
        if is_kind(kind):
            return encode(array)
    return pa.array([_encode(value).decode() for value in array.to_pylist()], _TEXT)


def raw_texts(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """A column that holds JSON already, such as labels; what is not JSON becomes a string."""
    return _by_distinct(whole(column), _checked)


def value_texts(kind: pa.ChunkedArray, value: pa.ChunkedArray, text: pa.ChunkedArray) -> pa.Array:
    """The values of readings as JSON, each of the type that came in."""
    kinds, numbers, texts = whole(kind), whole(value), whole(text)
    found = set(pc.unique(kinds).to_pylist())
    if found <= {Kind.NUMBER}:
        return _number_texts(numbers)
    choices: dict[Kind, Callable[[], pa.Array]] = {
        Kind.NUMBER: lambda: _number_texts(numbers),
        Kind.INTEGER: lambda: _integer_texts(numbers, texts),
        Kind.BOOLEAN: lambda: _boolean_texts(pc.greater(numbers, _ZERO)),
        Kind.TEXT: lambda: _by_distinct(texts, _quoted),
        Kind.JSON: lambda: _by_distinct(texts, _checked),
    }
    result = pa.nulls(len(kinds), _TEXT)
    for number, make in choices.items():
        if number in found:
            rows = pc.equal(kinds, _KINDS[number])
            result = pc.if_else(rows, make(), result)
    return result


def time_texts(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Times as RFC 3339 in UTC with microseconds, without quotes."""
    array = whole(column)
    micros = array.cast(pa.timestamp("us", array.type.tz), safe=False).cast(pa.timestamp("us"))
    return pc.binary_join_element_wise(pc.binary_replace_slice(micros.cast(_TEXT), 10, 11, "T"), _constant("Z"), _EMPTY)


def whole(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """A column in one piece."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array


def _quoted(value: str) -> str:
    return _encode(value).decode()


def _checked(value: str) -> str:
    try:
        return bytes(msgspec.json.decode(value, type=msgspec.Raw)).decode()
    except msgspec.DecodeError:
        return _quoted(value)


def _by_distinct(array: pa.Array, encode: Callable[[str], str]) -> pa.Array:
    """Each distinct text is encoded once; null stays null."""
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    encoded = [None if value is None else encode(value) for value in array.dictionary.to_pylist()]
    return pa.array(encoded, _TEXT).take(array.indices)


def _string_texts(array: pa.Array) -> pa.Array:
    return _by_distinct(array, _quoted)


def _quoted_time_texts(array: pa.Array) -> pa.Array:
    quote = _constant('"')
    return pc.binary_join_element_wise(quote, time_texts(array), quote, _EMPTY)


def _number_texts(array: pa.Array) -> pa.Array:
    """A number stays one that reads as a float: ``21.0``, not ``21``."""
    texts = pc.if_else(pc.is_finite(array), array.cast(pa.float64()).cast(_TEXT), _NULL)
    plain = pc.invert(pc.or_(pc.match_substring(texts, "."), pc.match_substring(texts, "e")))
    return pc.if_else(plain, pc.binary_join_element_wise(texts, _constant(".0"), _EMPTY), texts)


def _integer_texts(numbers: pa.Array, texts: pa.Array) -> pa.Array:
    exact = pc.if_else(pc.less_equal(pc.abs(numbers), _EXACT), numbers, _NO_NUMBER)
    return pc.coalesce(texts.cast(_TEXT), exact.cast(pa.int64(), safe=False).cast(_TEXT))


def _boolean_texts(array: pa.Array) -> pa.Array:
    return pc.if_else(array, _TRUE, _FALSE)


def _concat(parts: list[Any]) -> pa.Array:
    return pc.binary_join_element_wise(*parts, _EMPTY, null_handling="replace", null_replacement="null")


def _joined(texts: pa.Array, offsets: pa.Array) -> pa.Array:
    return pc.binary_join(pa.ListArray.from_arrays(offsets, texts), _constant(","))


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


_ENCODERS: Final[tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.Array], pa.Array]], ...]] = (
    (_is_text, _string_texts),
    (pa.types.is_timestamp, _quoted_time_texts),
    (pa.types.is_floating, _number_texts),
    (pa.types.is_integer, lambda array: array.cast(_TEXT)),
    (pa.types.is_boolean, _boolean_texts),
)
