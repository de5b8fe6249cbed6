"""The fold: readings into windows, without I/O.

A window is count, sum, least, greatest and last value of one series over one aligned span. Windows are additive: those of
two halves of the readings, merged, are those of the whole, so late readings correct them whenever they come.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sonde.changes import WINDOWS
from sonde.clock import SECOND
from sonde.reading import TIME

Integers = npt.NDArray[np.integer[Any]]
Floats = npt.NDArray[np.float64]

DEFAULT_WIDTHS: Final = (300, 900)
"""Seconds; in force until the log's settings say otherwise."""


def fold(series: Integers, time: Integers, value: Floats, widths: Sequence[int]) -> pa.Table:
    """The windows of readings that are sorted by series and time (µs), for each of ``widths`` (s): ``WINDOWS``.

    Of readings of one series at one time the later in the arrays is the later in the log. Spans are aligned to the epoch.
    """
    parts = []
    for width in sorted(set(widths)) if len(series) else ():
        start = time // (width * SECOND)
        at = run_starts(series, start)
        end = np.append(at[1:], len(series)) - 1
        with np.errstate(over="ignore"):
            total = np.add.reduceat(value, at)
        parts.append(
            _table(
                series[at],
                np.full(len(at), width),
                start[at] * (width * SECOND),
                end - at + 1,
                total,
                np.minimum.reduceat(value, at),
                np.maximum.reduceat(value, at),
                value[end],
                time[end],
            )
        )
    return pa.concat_tables(parts) if parts else WINDOWS.empty_table()


def merge(old: pa.Table, new: pa.Table) -> pa.Table:
    """The windows of all readings that are in ``old`` or ``new`` (both ``WINDOWS``), sorted by width, series and start.

    Of two equal ``last_time``, the one in ``new`` came later.
    """
    table = pa.concat_tables([old, new])
    if not len(table):
        return WINDOWS.empty_table()
    column = {name: table[name].to_numpy() for name in table.column_names}
    start, last_time = _micros(table["start"]), _micros(table["last_time"])
    order = np.lexsort((last_time, start, column["series"], column["width"]))
    series, width, start = column["series"][order], column["width"][order], start[order]
    at = run_starts(series, start, width)
    end = np.append(at[1:], len(order)) - 1
    with np.errstate(over="ignore", invalid="ignore"):
        total = np.add.reduceat(column["sum"][order], at)
    return _table(
        series[at],
        width[at],
        start[at],
        np.add.reduceat(column["count"][order], at),
        total,
        np.minimum.reduceat(column["min"][order], at),
        np.maximum.reduceat(column["max"][order], at),
        column["last"][order][end],
        last_time[order][end],
    )


def run_starts(*keys: Integers) -> npt.NDArray[np.intp]:
    """Where, in rows sorted by ``keys``, each run of equal keys begins; none for no rows."""
    if not len(keys[0]):
        return np.zeros(0, np.intp)
    change = keys[0][1:] != keys[0][:-1]
    for key in keys[1:]:
        change = change | (key[1:] != key[:-1])
    return np.concatenate(([0], np.flatnonzero(change) + 1))


def _micros(times: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    micros: npt.NDArray[np.int64] = times.cast(pa.int64()).to_numpy()
    return micros


def _table(
    series: Integers,
    width: Integers,
    start: Integers,
    count: Integers,
    total: Floats,
    least: Floats,
    greatest: Floats,
    last: Floats,
    last_time: Integers,
) -> pa.Table:
    columns = [
        pa.array(series, pa.int32()),
        pa.array(width, pa.int32()),
        pa.array(start.astype(np.int64), pa.int64()).cast(TIME),
        pa.array(count, pa.int64()),
        pa.array(total, pa.float64()),
        pa.array(least, pa.float64()),
        pa.array(greatest, pa.float64()),
        pa.array(last, pa.float64()),
        pa.array(last_time.astype(np.int64), pa.int64()).cast(TIME),
    ]
    return pa.Table.from_arrays(columns, schema=WINDOWS)
