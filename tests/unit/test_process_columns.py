"""Numbers of series, order of rows, quality by profile, identities: what happens to columns."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde.changes import Series
from sonde.entry import Entry, EntryKind
from sonde.process import numbering
from sonde.process.dedupe import Piece
from sonde.process.identity import of_entry, of_events
from sonde.process.marking import Marking
from sonde.process.numbering import Numbering
from sonde.process.rows import Arrived, Rows, sorted_order
from sonde.profile import Metric, Profile
from sonde.reading import Batch, Kind, Quality, Reading, Value

names = st.lists(st.tuples(*[st.sampled_from(["a", "b", "c"])] * 5), min_size=1, max_size=30)


def batch_of(rows: Sequence[tuple[str, ...]]) -> Batch:
    columns = dict(zip(("device", "metric", "site", "zone", "labels"), zip(*rows, strict=True), strict=True))
    arrays: dict[str, Any] = {name: list(column) for name, column in columns.items()}
    return Batch.build(time=[0] * len(rows), value=[1.0] * len(rows), **arrays)


@given(names, names, st.integers(1, 40))
def test_series_are_numbered_in_the_order_in_which_they_appear(
    first: list[tuple[str, ...]], second: list[tuple[str, ...]], dense: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numbering, "_DENSE", dense)  # a small one makes it sort
        given_out = Numbering()
        numbers = [given_out.number(batch_of(rows))[0].tolist() for rows in (first, second)]
    expected = {row: i for i, row in enumerate(dict.fromkeys(first + second))}
    assert numbers == [[expected[row] for row in rows] for rows in (first, second)]
    assert given_out.series == [Series(i, *row) for row, i in expected.items()]
    assert Numbering(reversed(given_out.series)).number(batch_of(second))[1] == []


@given(st.lists(st.tuples(st.sampled_from([0, 1, 2, 65_535, 65_536, 200_000]), st.integers(-(2**40), 2**55))))
def test_rows_are_sorted_by_series_and_time_and_equal_ones_stay(rows: list[tuple[int, int]]) -> None:
    if not rows:
        return
    order = sorted_order(np.array([r[0] for r in rows], np.int32), np.array([r[1] for r in rows], np.int64))
    assert order.tolist() == sorted(range(len(rows)), key=lambda i: rows[i])


def test_times_too_far_apart_for_one_number_are_sorted_too() -> None:
    series, time = np.array([70_000, 0, 70_000], np.int32), np.array([2**62, 5, -(2**62)], np.int64)
    assert sorted_order(series, time).tolist() == [1, 2, 0]


PROFILE = Profile(
    device="d",
    metrics={
        "number": Metric(min=0.0, max=10.0),
        "whole": Metric(data_type="integer"),
        "flag": Metric(data_type="boolean"),
        "word": Metric(data_type="text", enum=["on", "off"]),
        "any": Metric(data_type="json"),
    },
)


@pytest.mark.parametrize(
    ("metric", "value", "quality"),
    [
        ("number", 5.0, Quality.GOOD),
        ("number", 5, Quality.GOOD),
        ("number", 10.5, Quality.RANGE),
        ("number", -1, Quality.RANGE),
        ("number", "5", Quality.TYPE),
        ("number", True, Quality.TYPE),
        ("number", None, Quality.GOOD),
        ("whole", 3, Quality.GOOD),
        ("whole", 3.0, Quality.GOOD),
        ("whole", 3.5, Quality.TYPE),
        ("flag", True, Quality.GOOD),
        ("flag", 1, Quality.TYPE),
        ("word", "on", Quality.GOOD),
        ("word", "broken", Quality.RANGE),
        ("word", 1.0, Quality.TYPE),
        ("any", {"a": [1]}, Quality.GOOD),
        ("any", "text", Quality.GOOD),
        ("undeclared", "text", Quality.GOOD),
    ],
)
def test_quality_says_what_does_not_fit_the_profile(metric: str, value: Any, quality: Quality) -> None:
    others = [
        Reading(device="d", metric="number", time=1, value=5.0),
        Reading(device="e", metric=metric, time=1, value=1),
    ]
    batch = Batch.of([*others, Reading(device="d", metric=metric, time=2, value=value)])
    given_out, marking = Numbering(), Marking()
    series, new = given_out.number(batch)
    marking.learn(new, {"d": PROFILE})
    rows = Rows.of(Arrived.of([batch], [Piece("s", 0, 0, 0, len(batch))]), series)
    marking.mark(rows)
    (at,) = np.flatnonzero(rows.order == 2)
    assert rows.quality[at] == quality
    assert int((rows.quality != Quality.GOOD).sum()) == (quality != Quality.GOOD)


def test_a_mark_that_is_there_stays() -> None:
    batch = Batch.of([Reading(device="d", metric="number", time=1, value=99.0, quality=Quality.FAILED)])
    given_out, marking = Numbering(), Marking()
    series, new = given_out.number(batch)
    marking.learn(new, {"d": PROFILE})
    rows = Rows.of(Arrived.of([batch], [Piece("s", 0, 0, 0, 1)]), series)
    marking.mark(rows)
    assert rows.quality.tolist() == [Quality.FAILED]


def test_values_go_out_as_they_came_in() -> None:
    values: list[Any] = [1.5, 2, True, "text", {"a": 1}, None, 2**60]
    batch = Batch.of([Reading(device="d", metric=f"m{i}", time=5, value=v) for i, v in enumerate(values)])
    series, _ = Numbering().number(batch)
    table = Rows.of(Arrived.of([batch], [Piece("s", 0, 0, 0, len(batch))]), series).readings()
    assert table["kind"].to_pylist() == [Kind.NUMBER, 1, 2, 3, 4, 5, 1]
    assert table["value"].to_pylist() == [1.5, 2.0, 1.0, None, None, None, float(2**60)]
    assert table["text"].to_pylist() == [None, None, None, "text", '{"a":1}', None, str(2**60)]
    assert table["time"].cast(pa.int64()).to_pylist() == [5] * 7


def test_identities_do_not_change_from_version_to_version() -> None:
    """They lie on disk for days: another key for the same thing would store it twice."""
    node = Entry(EntryKind.READINGS, "node-1", 2, b"d" * 16, b"", 2, "e1", 7, 9)
    key = of_entry(node)
    assert key is not None
    assert key.hex() == "4547f47b208e987c970f83400b504432"
    assert of_entry(Entry(EntryKind.READINGS, "web", 1, b"d" * 16, b"k" * 16)) == b"k" * 16
    short = of_entry(Entry(EntryKind.READINGS, "web", 1, b"d" * 16, b"k"))
    assert short is not None
    assert short.hex() == "c429317280f07963fab9e5ff8f68d300"
    assert of_entry(Entry(EntryKind.READINGS, "web", 1, b"d" * 16)) is None
    events = of_events(Batch.of([Reading(device="d", metric="co2", time=1, value=21.5, event_id="e-1")]), None)
    assert events is not None
    assert [events.keys[0].hex(), events.digests[0].hex()] == ["fb9b71c476be6a34507c0a425173e70a", "fdc10bfa03be8492"]


def test_an_event_says_its_metric_and_value_but_not_its_time() -> None:
    said = []
    readings: list[tuple[str, Value, int]] = [
        ("a", 1.0, 1),
        ("a", 1.0, 2),
        ("b", 1.0, 1),
        ("a", 2.0, 1),
        ("a", 1, 1),
        ("a", "x", 1),
    ]
    for metric, value, time in readings:
        keys = of_events(Batch.of([Reading(device="d", metric=metric, time=time, value=value, event_id="e")]), None)
        assert keys is not None
        said.append((keys.keys[0], keys.digests[0]))
    assert said[0] == said[1]
    assert len(set(said)) == 5
    assert len({key for key, _ in said}) == 1
