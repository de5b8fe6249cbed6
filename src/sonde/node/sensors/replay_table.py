"""CSV and Parquet files as pieces of a table, and what each column holds."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from sonde.errors import Hold
from sonde.reading import Kind

_BLOCK: Final = 1 << 20
_HEAD: Final = 64 << 10
_NOTHING: Final = ["", "NA", "N/A", "n/a", "NULL", "null", "None", "NaN", "nan", "-nan"]
_TRUTH: Final = {"true", "false"}


@dataclass(frozen=True, slots=True)
class TableFile:
    """One file: the names of its columns, in order, and what each holds. A column without a name is left out."""

    path: Path
    columns: dict[str, Kind] = field(default_factory=dict)
    rows: int = 0

    @classmethod
    def inspect(cls, path: Path) -> "TableFile":
        """Read the whole file once, so that a column has one type from its first row to its last."""
        kinds: dict[str, Kind] = {}
        rows = 0
        for piece in pieces(path):
            rows += piece.num_rows
            for name in piece.schema.names:
                found = _kind(piece.column(name))
                kinds[name] = found if name not in kinds else _both(kinds[name], found)
        if not kinds:
            raise Hold(f"{path} holds no rows")
        return cls(path, kinds, rows)


def pieces(path: Path) -> Iterator[pa.RecordBatch]:
    """The file in pieces of any size; columns of a CSV file are text, with blanks as nulls."""
    try:
        yield from _parquet(path) if path.suffix == ".parquet" else _csv(path)
    except FileNotFoundError:
        raise Hold(f"there is no file {path}") from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise Hold(f"{path} cannot be read: {error}") from None


def _parquet(path: Path) -> Iterator[pa.RecordBatch]:
    with pa.parquet.ParquetFile(path) as file:
        yield from file.iter_batches(batch_size=50_000, use_threads=False)


def _csv(path: Path) -> Iterator[pa.RecordBatch]:
    names, delimiter = _header(path)
    named = [name for name in names if name]
    reader = pyarrow.csv.open_csv(
        path,
        read_options=pyarrow.csv.ReadOptions(
            column_names=_unique(names), skip_rows=1, block_size=_BLOCK, use_threads=False
        ),
        parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=False),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(named, pa.string()),
            include_columns=named,
            null_values=_NOTHING,
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
        ),
    )
    with reader:
        yield from reader


def _header(path: Path) -> tuple[list[str], str]:
    """The columns' names, and what stands between them. One name too few: the first column is an index without one."""
    with pa.input_stream(str(path)) as stream:
        head = stream.read(_HEAD)
    try:
        lines = head.decode("utf-8-sig", errors="ignore").splitlines()
    except UnicodeDecodeError:
        lines = []
    if not lines or not lines[0].strip():
        raise Hold(f"{path} has no header", hint="Its first line should name the columns")
    delimiter = max(",;\t|", key=lines[0].count)
    rows = list(csv.reader(io.StringIO("\n".join(lines[:2])), delimiter=delimiter))
    names = [name.strip() for name in rows[0]]
    if len(rows) > 1 and len(rows[1]) == len(names) + 1:
        names = ["", *names]
    double = {name for name in names if name and names.count(name) > 1}
    if double:
        raise Hold(f"{path} has two columns named {min(double)!r}")
    return names, delimiter


def _unique(names: Sequence[str]) -> list[str]:
    return [name or f"\0{place}" for place, name in enumerate(names)]


def _kind(column: pa.Array) -> Kind:
    """What a piece of a column holds; NONE if all of it is blank, or nested."""
    kind = column.type
    if column.null_count == len(column) or pa.types.is_nested(kind):
        return Kind.NONE
    for meant, is_it in _TYPES.items():
        if any(test(kind) for test in is_it):
            return meant
    return _kind_of_text(trimmed(column)) if _is_text(kind) else Kind.TEXT


_TYPES: Final[dict[Kind, tuple[Callable[[pa.DataType], bool], ...]]] = {
    Kind.BOOLEAN: (pa.types.is_boolean,),
    Kind.INTEGER: (pa.types.is_integer,),
    Kind.NUMBER: (pa.types.is_floating, pa.types.is_decimal),
}


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind))


def _kind_of_text(text: pa.Array) -> Kind:
    for target, meant in ((pa.int64(), Kind.INTEGER), (pa.float64(), Kind.NUMBER)):
        try:
            text.cast(target)
        except pa.ArrowInvalid:
            continue
        return meant
    words = set(pc.unique(pc.utf8_lower(text)).to_pylist()) - {None}
    return Kind.BOOLEAN if words <= _TRUTH else Kind.TEXT


def _both(one: Kind, other: Kind) -> Kind:
    """What holds all that either holds."""
    if one == other or other is Kind.NONE:
        return one
    if one is Kind.NONE:
        return other
    return Kind.NUMBER if {one, other} == {Kind.NUMBER, Kind.INTEGER} else Kind.TEXT


def trimmed(column: pa.Array) -> pa.Array:
    """A column as text without blanks around it."""
    return pc.utf8_trim_whitespace(column.cast(pa.string()))


def typed(column: pa.Array, kind: Kind) -> pa.Array:
    """A column as what ``kind`` says: int64, float64, boolean or text."""
    if kind is Kind.TEXT:
        return column.cast(pa.string())
    source = trimmed(column) if _is_text(column.type) else column
    if kind is Kind.BOOLEAN:
        return pc.equal(pc.utf8_lower(source), "true") if _is_text(source.type) else source
    return source.cast(pa.int64() if kind is Kind.INTEGER else pa.float64(), safe=kind is Kind.INTEGER)
