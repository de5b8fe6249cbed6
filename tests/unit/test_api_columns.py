"""Columns as JSON: what comes out is what is in them."""

import json
import math
import time
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde.api.columns import json_arrays, json_rows, json_texts, raw_texts, value_texts
from sonde.api.export import csv_bytes
from sonde.api.readings import DeviceRows, json_records
from sonde.moment import format_time
from sonde.reading import SCHEMA, TIME, Batch, Reading, Value

PLAIN = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | FLOATS | st.integers(-(2**63), 2**63 - 1) | PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PLAIN, inner, max_size=3),
    max_leaves=6,
)
VALUES = JSON_VALUES.filter(lambda value: value is not None)


def times(values: list[int | None]) -> pa.Array:
    return pa.array(values, pa.int64()).cast(TIME)


@given(
    st.lists(
        st.tuples(PLAIN | st.none(), FLOATS | st.none(), st.integers(-(2**63), 2**63 - 1) | st.none(), st.booleans())
    )
)
def test_rows_are_what_the_columns_hold(rows: list[tuple[Any, ...]]) -> None:
    names = ("a", 'b"', "c", "d")
    types = (pa.string(), pa.float64(), pa.int64(), pa.bool_())
    columns = {n: pa.array([row[i] for row in rows], types[i]) for i, n in enumerate(names)}
    found = json.loads(json_rows({name: json_texts(column) for name, column in columns.items()}))
    assert found == [dict(zip(names, row, strict=True)) for row in rows]
    arrays = json.loads(json_arrays(pa.table(list(columns.values()), names=list(names))))
    assert arrays == [list(row) for row in rows]


@given(st.lists(VALUES, max_size=20))
def test_values_of_readings_come_out_with_their_type(values: list[Value]) -> None:
    batch = Batch.of(Reading(device="d", metric="m", time=n, value=v) for n, v in enumerate(values)).columns
    table = pa.Table.from_batches([batch])
    texts = value_texts(table["kind"], table["value"], table["text"]).to_pylist()
    found = [json.loads("null" if text is None else text) for text in texts]
    assert found == values
    assert [type(a) for a in found] == [type(b) for b in values]


@given(st.lists(st.integers(0, 7_289_654_399_999_999) | st.none()))
def test_times_come_out_as_they_do_one_by_one(micros: list[int | None]) -> None:
    found = json.loads(json_arrays(pa.table({"t": times(micros)})))
    assert found == [[None if m is None else format_time(m)] for m in micros]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_times_of_every_unit_and_zone_come_out_in_utc(unit: str, zone: str | None) -> None:
    column = pa.array([1_767_225_600], pa.timestamp("s")).cast(
        pa.timestamp(unit, zone) if zone is None else pa.timestamp(unit)
    )
    if zone is not None:
        column = column.cast(pa.timestamp(unit, zone))
    assert json_texts(column).to_pylist() == ['"2026-01-01T00:00:00.000000Z"']


def test_what_json_has_no_number_for_is_null() -> None:
    column = pa.array([math.nan, math.inf, -math.inf, -0.0, 1e300, 21.0])
    assert json.loads(json_arrays(pa.table({"x": column}))) == [[None], [None], [None], [-0.0], [1e300], [21.0]]
    assert json_texts(column).to_pylist()[-1] == "21.0"


def test_dictionaries_chunks_and_slices() -> None:
    column = pa.chunked_array(
        [pa.array(["a", None, "b"]).dictionary_encode(), pa.array(["c", "a"]).dictionary_encode()]
    )
    assert json.loads(json_arrays(pa.table({"x": column}).slice(1, 3))) == [[None], ["b"], ["c"]]
    assert json_arrays(pa.table({"x": pa.array([], pa.string())})) == b"[]"
    assert json_rows({"x": pa.array([], pa.string())}) == b"[]"


@given(PLAIN)
def test_what_claims_to_be_json_and_is_not_becomes_a_string(text: str) -> None:
    (found,) = raw_texts(pa.array([text])).to_pylist()
    try:
        expected = msgspec.json.decode(text)
    except msgspec.DecodeError:
        expected = text
    assert msgspec.json.decode(found) == expected


CELLS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b/c", "=x", "ü"]),
        st.sampled_from(["co2", "temperature", "cpu"]),
        st.sampled_from(["{}", '{"core":"0"}', '{"core":"1"}']),
        st.integers(0, 10**15),
        st.floats(-1e6, 1e6) | st.none(),
    ),
    unique_by=lambda row: row[:3],
    max_size=25,
)


@given(CELLS, st.integers(0, 10**15))
def test_devices_are_what_one_gets_row_by_row(rows: list[Any], stale_before: int) -> None:
    table = pa.table(
        {
            "device_id": [r[0] for r in rows],
            "site_id": ["s"] * len(rows),
            "zone_id": ["z"] * len(rows),
            "metric": [r[1] for r in rows],
            "labels": [r[2] for r in rows],
            "time": times([r[3] for r in rows]),
            "kind": pa.array([0 if r[4] is not None else 5 for r in rows], pa.int8()),
            "value": pa.array([r[4] for r in rows], pa.float64()),
            "text": pa.nulls(len(rows), pa.string()),
            "quality": pa.array([0 if r[4] is not None else 1 for r in rows], pa.int8()),
        }
    )
    devices = json.loads(DeviceRows.of(table).json(stale_before, series=True))
    assert [d["device_id"] for d in devices] == sorted({r[0] for r in rows}, key=str.encode)
    for device in devices:
        mine = [r for r in rows if r[0] == device["device_id"]]
        newest = max(r[3] for r in mine)
        assert device["last_seen"] == format_time(newest)
        assert device["stale"] == (newest < stale_before)
        assert set(device["metrics"]) == {r[1] for r in mine}
        for metric, latest in device["metrics"].items():
            of_metric = [r for r in mine if r[1] == metric]
            assert latest["time"] == format_time(max(r[3] for r in of_metric))
        temperatures = [r[4] for r in mine if r[1] == "temperature" and r[4] is not None]
        expected = pytest.approx(sum(temperatures) / len(temperatures)) if temperatures else None
        assert device["avg_temp"] == expected
        assert device["max_co2"] == max((r[4] for r in mine if r[1] == "co2" and r[4] is not None), default=None)
        assert len(device["series"]) == len(mine)


def test_csv_defuses_text_and_leaves_numbers() -> None:
    texts = ["=1+1", "+1", "-1", "@a", "\tb", "\rc", "plain", 'say "x"', "", None]
    table = pa.table({"t": texts, "n": pa.array([-1.5] * len(texts)), "d": pa.array(texts).dictionary_encode()})
    lines = csv_bytes(table).decode()
    assert '"\'=1+1",-1.5,"\'=1+1"' in lines
    assert '"plain",-1.5' in lines
    assert lines.count("'") == 12


def _many(rows: int) -> pa.Table:
    random = np.random.default_rng(1)
    batch = Batch.build(
        device=[f"Site-01/Zone-{n % 5:02d}/device-{n % 15}" for n in range(rows)],
        metric="co2",
        site="Site-01",
        zone="Zone-01",
        labels='{"floor":"3"}',
        time=[1_767_225_600_000_000 + n for n in range(rows)],
        value=random.normal(size=rows).tolist(),
    )
    return pa.Table.from_batches([batch.columns], SCHEMA)


def test_ten_thousand_records_take_well_under_50_ms() -> None:
    rows = _many(10_000)
    taken = []
    for _ in range(5):
        start = time.perf_counter()
        json_records(rows)
        taken.append(time.perf_counter() - start)
    assert min(taken) < 0.05
