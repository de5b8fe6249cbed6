"""Windows: any order, any split, any lateness gives what a slow fold over all readings gives."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from sonde.changes import WINDOWS
from sonde.window import fold, merge

Row = tuple[int, int, float]  # series, time, value
Key = tuple[int, int, int]  # width, series, start
S = 1_000_000

rows = st.lists(
    st.tuples(st.integers(0, 3), st.integers(-400 * S, 2_000 * S), st.integers(-1000, 1000).map(lambda n: n / 4)),
    max_size=60,
)


def table(readings: Sequence[Row], widths: Sequence[int]) -> pa.Table:
    ordered = sorted(readings, key=lambda r: r[:2])  # stable: of equal times the later stays later
    return fold(
        np.array([r[0] for r in ordered], np.int32),
        np.array([r[1] for r in ordered], np.int64),
        np.array([r[2] for r in ordered], np.float64),
        widths,
    )


def slowly(readings: Sequence[Row], widths: Sequence[int]) -> dict[Key, list[float]]:
    windows: dict[Key, list[float]] = {}
    for width in widths:
        for series, time, value in readings:
            start = math.floor(time / (width * S)) * width * S
            seen = windows.setdefault((width, series, start), [0, 0.0, math.inf, -math.inf, 0.0, -math.inf])
            seen[0] += 1
            seen[1] += value
            seen[2] = min(seen[2], value)
            seen[3] = max(seen[3], value)
            if time >= seen[5]:
                seen[4:] = [value, time]
    return windows


def as_dict(windows: pa.Table) -> dict[Key, list[float]]:
    assert windows.schema == WINDOWS
    plain = windows.set_column(2, "start", windows["start"].cast(pa.int64()))
    plain = plain.set_column(8, "last_time", windows["last_time"].cast(pa.int64()))
    listed: list[dict[str, Any]] = plain.to_pylist()
    found = {
        (r["width"], r["series"], r["start"]): [r[c] for c in ("count", "sum", "min", "max", "last", "last_time")]
        for r in listed
    }
    assert len(found) == len(windows)
    return found


@given(rows)
def test_fold_is_what_a_slow_fold_gives(readings: list[Row]) -> None:
    assert as_dict(table(readings, [60, 300, 900])) == slowly(readings, [60, 300, 900])


@given(rows, st.randoms(use_true_random=False))
def test_any_split_gives_the_batch_result(readings: list[Row], random: Any) -> None:
    merged = WINDOWS.empty_table()
    rest = list(readings)
    while rest:
        size = random.randint(1, len(rest))
        merged = merge(merged, table(rest[:size], [300]))
        rest = rest[size:]
    assert as_dict(merged) == slowly(readings, [300])


@given(rows, st.randoms(use_true_random=False))
def test_any_order_gives_the_batch_result_but_for_the_last_of_equal_times(readings: list[Row], random: Any) -> None:
    unique = list({r[:2]: r for r in readings}.values())
    shuffled = list(unique)
    random.shuffle(shuffled)
    half = len(shuffled) // 2
    merged = merge(table(shuffled[half:], [300, 900]), table(shuffled[:half], [300, 900]))
    assert as_dict(merged) == slowly(unique, [300, 900])


def test_of_equal_times_the_later_in_the_log_is_the_last() -> None:
    assert table([(0, 5 * S, 1.0), (0, 5 * S, 2.0)], [300])["last"].to_pylist() == [2.0]
    assert merge(table([(0, 5 * S, 2.0)], [300]), table([(0, 5 * S, 1.0)], [300]))["last"].to_pylist() == [1.0]


def test_mistake_17_average_is_sum_over_count() -> None:
    few, many = [(0, 0, 100.0)], [(0, S, 1.0), (0, 2 * S, 1.0), (0, 3 * S, 1.0)]
    (window,) = merge(table(few, [300]), table(many, [300])).to_pylist()
    assert window["sum"] / window["count"] == 103 / 4


def test_no_readings_and_no_widths_give_no_windows() -> None:
    assert len(table([], [300])) == 0
    assert len(table([(0, 0, 1.0)], [])) == 0
    assert len(merge(WINDOWS.empty_table(), WINDOWS.empty_table())) == 0
