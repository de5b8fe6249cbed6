"""Readings to columns and back, and columns to bytes and back."""

import math
import struct
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonde.errors import Invalid
from sonde.reading import NAMES, SCHEMA, Batch, Kind, Quality, Reading, decode, encode, label_text

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
integers = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)])
numbers = st.floats(allow_nan=False, allow_infinity=False)
json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
values = (
    numbers
    | integers
    | st.booleans()
    | texts
    | st.none()
    | st.lists(json, max_size=3)
    | st.dictionaries(texts, json, max_size=3)
)
readings = st.builds(
    Reading,
    device=texts,
    metric=texts,
    time=st.integers(-(2**63), 2**63 - 1),
    value=values,
    site=texts,
    zone=texts,
    labels=st.dictionaries(texts, texts, max_size=3),
    quality=st.sampled_from(list(Quality)),
    event_id=st.none() | texts,
)


def same(one: Reading, other: Reading) -> bool:
    """Equal, and values of one type."""
    return one == other and repr(one.value) == repr(other.value)


@settings(deadline=None)
@given(st.lists(readings, max_size=12))
def test_what_comes_out_is_what_went_in(some: list[Reading]) -> None:
    batch = Batch.of(some)
    assert batch.columns.schema == SCHEMA
    for found in (batch, decode(encode(batch))):
        assert len(found) == len(some)
        assert all(map(same, found.readings(), some))


@settings(deadline=None)
@given(st.lists(readings, min_size=1, max_size=12), st.data())
def test_a_slice_travels_alone(some: list[Reading], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(some)))
    rows = data.draw(st.integers(0, len(some) - start))
    found = decode(encode(Batch.of(some).slice(start, rows)))
    assert all(map(same, found.readings(), some[start : start + rows]))
    assert len(found) == rows
    assert len(found.columns["device"].dictionary) <= max(rows, len(some))


@settings(deadline=None)
@given(st.lists(st.lists(readings, max_size=4), min_size=1, max_size=4))
def test_batches_in_a_row(groups: list[list[Reading]]) -> None:
    joined = Batch.concat([Batch.of(group) for group in groups])
    assert all(map(same, joined.readings(), [r for group in groups for r in group]))
    assert len(decode(encode(joined))) == sum(map(len, groups))


def test_a_slice_of_much_carries_only_its_own_names() -> None:
    batch = Batch.build(device=[f"device-{i}" for i in range(5000)], metric="m", time=[1] * 5000, value=[1.0] * 5000)
    assert len(encode(batch.slice(7, 1))) < 1500


def test_mistake_22_equal_times_are_two_readings() -> None:
    twice = [Reading(device="d", metric="m", time=5, value=v) for v in (1.0, 2.0, 1.0)]
    assert list(decode(encode(Batch.of(twice))).readings()) == twice


def test_labels_have_one_form() -> None:
    assert label_text({"b": "1", "a": "ä"}) == '{"a":"ä","b":"1"}'
    assert label_text({}) == "{}"


def changed(column: str, array: pa.Array) -> bytes:
    """A batch of two readings with a column of its own."""
    columns = Batch.build(device="d", metric="m", time=[1, 2], value=[1.0, 2]).columns
    at = SCHEMA.get_field_index(column)
    return encode(Batch(columns.set_column(at, SCHEMA.field(at), array)))


@pytest.mark.parametrize(
    ("column", "array", "row"),
    [
        ("kind", pa.array([0, 6], pa.int8()), 1),
        ("kind", pa.array([-1, 0], pa.int8()), 0),
        ("quality", pa.array([0, 5], pa.int8()), 1),
        ("kind", pa.array([0, 3], pa.int8()), 1),  # text without text
        ("kind", pa.array([4, 0], pa.int8()), 0),
        ("value", pa.array([None, 1.0]), 0),
        ("value", pa.array([1.0, math.inf]), 1),  # an integer that is none
        ("value", pa.array([1.0, math.nan]), 1),
        ("time", pa.array([1, None], pa.int64()).cast(SCHEMA.field("time").type), None),
        ("kind", pa.array([0, None], pa.int8()), None),
        ("labels", pa.array(['{"b":"1","a":"2"}'] * 2).dictionary_encode(), None),
        ("labels", pa.array(["[]"] * 2).dictionary_encode(), None),
        ("labels", pa.array(['{"a":1}'] * 2).dictionary_encode(), None),
        ("labels", pa.array(['{"a":"1","a":"1"}'] * 2).dictionary_encode(), None),
    ],
)
def test_columns_that_contradict_themselves(column: str, array: pa.Array, row: int | None) -> None:
    with pytest.raises(Invalid) as refused:
        decode(changed(column, array))
    assert refused.value.problem.index == row


@pytest.mark.parametrize(
    "text", ["", "12x", "+1", "0x10", "9223372036854775808", "-9223372036854775809", " 1", "1" * 5000]
)
def test_an_integer_in_text_has_sixty_four_bits(text: str) -> None:
    batch = Batch.of([Reading(device="d", metric="m", time=1, value=2**60)])
    at = SCHEMA.get_field_index("text")
    columns = batch.columns.set_column(at, SCHEMA.field(at), pa.array([text]))
    with pytest.raises(Invalid):
        decode(encode(Batch(columns)))


@pytest.mark.parametrize("text", ["", "{", "NaN", "[1,]", "[" * 100_000])
def test_json_that_is_none(text: str) -> None:
    batch = Batch.of([Reading(device="d", metric="m", time=1, value=[1])])
    at = SCHEMA.get_field_index("text")
    columns = batch.columns.set_column(at, SCHEMA.field(at), pa.array([text]))
    with pytest.raises(Invalid):
        decode(encode(Batch(columns)))


def wire(columns: pa.RecordBatch, names: list[list[str]], **options: Any) -> bytes:
    """The encoding by hand: names, then one Arrow message written with ``options``."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, columns.schema, options=pa.ipc.IpcWriteOptions(**options)) as stream:
        stream.write_batch(columns)
    messages = pa.ipc.MessageReader.open_stream(sink.getvalue())
    messages.read_next_message()
    head = msgspec.json.encode(names)
    padding = -(4 + len(head)) % 8
    rows: bytes = messages.read_next_message().serialize().to_pybytes()
    return struct.pack("<I", len(head)) + head + bytes(padding) + rows


def by_hand(rows: int) -> pa.RecordBatch:
    columns = Batch.build(device="d", metric="m", time=[0] * rows, value=[0.0] * rows).columns
    arrays = [columns.column(i).indices for i in range(len(NAMES))] + columns.columns[len(NAMES) :]
    return pa.RecordBatch.from_arrays(arrays, SCHEMA.names)


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_compressed_columns_are_refused_before_they_grow(compression: str) -> None:
    names = [["d"], ["m"], [""], [""], ["{}"]]
    assert len(decode(wire(by_hand(3), names))) == 3
    bomb = wire(by_hand(200_000), names, compression=compression)
    assert len(bomb) < 100_000
    with pytest.raises(Invalid, match="compressed"):
        decode(bomb)


def test_a_name_that_is_not_in_the_list_of_names() -> None:
    with pytest.raises(Invalid):
        decode(wire(by_hand(3), [[], ["m"], [""], [""], ["{}"]]))


def test_kinds_are_numbered_for_ever() -> None:
    assert [k.name for k in Kind] == ["NUMBER", "INTEGER", "BOOLEAN", "TEXT", "JSON", "NONE"]
    assert [q.name for q in Quality] == ["GOOD", "FAILED", "RANGE", "TYPE", "CLOCK"]
