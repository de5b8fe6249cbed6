"""Columns of a file as readings."""

from collections.abc import Iterator, Mapping
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from sonde.node.sensors.replay_time import Moments
from sonde.reading import SCHEMA, TIME, Kind

_EXACT: Final = 2**53


def part(
    names: Mapping[str, pa.Array], metric: pa.Array, moments: Moments, values: pa.Array, kind: Kind, there: pa.Array
) -> pa.RecordBatch:
    """The readings of one metric, without the blanks."""
    rows = int(pc.sum(there).as_py() or 0)
    values = values.filter(there)
    text = pa.nulls(rows, pa.string())
    number = pa.nulls(rows, pa.float64())
    if kind is Kind.TEXT:
        text = values
    else:
        number = (
            values.cast(pa.float64(), safe=False)
            if kind is not Kind.BOOLEAN
            else values.cast(pa.int8()).cast(pa.float64())
        )
    if kind is Kind.INTEGER and rows and max(abs(pc.min(values).as_py()), abs(pc.max(values).as_py())) > _EXACT:
        inexact = pc.greater(pc.abs_checked(values.cast(pa.float64(), safe=False)), float(_EXACT))
        text = pc.if_else(inexact, values.cast(pa.string()), text)
    columns = [
        names["device"],
        metric,
        names["site"],
        names["zone"],
        pa.repeat(pa.scalar("{}", pa.string()), len(metric)),
    ]
    return pa.RecordBatch.from_arrays(
        [
            *(column.filter(there).dictionary_encode() for column in columns),
            pa.array(moments, pa.int64()).cast(TIME).filter(there),
            pa.repeat(pa.scalar(int(kind), pa.int8()), rows),
            number,
            text,
            pa.repeat(pa.scalar(0, pa.int8()), rows),
            pa.nulls(rows, pa.string()),
        ],
        schema=SCHEMA,
    )


def recut(batches: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows in pieces of exactly ``rows``, but for the last."""
    kept: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        kept.append(batch)
        size += batch.num_rows
        while size >= rows:
            table = pa.Table.from_batches(kept)
            yield from table.slice(0, rows).combine_chunks().to_batches()
            kept, size = table.slice(rows).to_batches(), size - rows
    if size:
        yield from pa.Table.from_batches(kept).combine_chunks().to_batches()
