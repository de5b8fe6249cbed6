"""Bodies of frames: entries and rows to bytes and back."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonde.entry import Body, Entry, EntryKind, Lane, decode_body, encode_body
from sonde.errors import Invalid
from sonde.reading import Batch, Reading

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
payloads = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
entries = st.builds(
    Entry,
    kind=st.sampled_from(list(EntryKind)).map(int),
    source=texts,
    rows=st.integers(0, 5),
    digest=st.binary(max_size=32),
    key=st.binary(max_size=16),
    lane=st.sampled_from(list(Lane)).map(int),
    epoch=texts,
    seq=st.integers(0, 2**63 - 1),
    count=st.integers(0, 2**63 - 1),
    payload=payloads,
)


def batch(rows: int) -> Batch:
    return Batch.of(Reading(device="d", metric="m", time=i, value=float(i)) for i in range(rows))


@settings(deadline=None)
@given(st.lists(entries, max_size=5))
def test_a_body_comes_back_as_it_was(some: list[Entry]) -> None:
    rows = sum(e.rows for e in some)
    data = encode_body(Body(some, batch(rows)))
    found = decode_body(data)
    assert list(found.entries) == some
    assert found.readings == rows
    assert (found.batch is None) == (rows == 0)
    if found.batch is not None:
        assert found.batch.columns.equals(batch(rows).columns)


@pytest.mark.parametrize(
    "body",
    [
        Body([Entry(EntryKind.READINGS, rows=2)], batch(3)),
        Body([Entry(EntryKind.READINGS, rows=2)]),
        Body([Entry(EntryKind.READINGS, rows=4), Entry(EntryKind.READINGS, rows=-1)], batch(3)),
        Body([], batch(1)),
    ],
)
def test_entries_that_announce_other_readings(body: Body) -> None:
    with pytest.raises(Invalid):
        decode_body(encode_body(body))


def by_hand(packed: bytes) -> bytes:
    return len(packed).to_bytes(4, "little") + bytes(4) + packed + bytes(-(8 + len(packed)) % 8)


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"\xc1",
        b"\x91\x91\xa1x",  # a kind that is text
        b"\x91\x92\x01\xa1\xff",  # text that is not UTF-8
        b"\x91\x9a\x01\xa0\0\xc4\0\xc4\0\0\xa0\0\0" + b"\x91" * 100_000 + b"\xc0",  # nested without end
        msgspec.msgpack.encode({"kind": 1}),
    ],
)
def test_entries_that_are_none(packed: bytes) -> None:
    with pytest.raises(Invalid):
        decode_body(by_hand(packed))


def test_every_shorter_or_longer_body_is_refused() -> None:
    data = encode_body(Body([Entry(EntryKind.READINGS, rows=3)], batch(3)))
    for size in range(len(data)):
        with pytest.raises(Invalid):
            decode_body(data[:size])
    with pytest.raises(Invalid):
        decode_body(data + b"\0")


def test_kinds_and_lanes_are_numbered_for_ever() -> None:
    assert [(k.value, k.name) for k in EntryKind][:10] == [
        (1, "READINGS"),
        (2, "TOMBSTONE"),
        (3, "PROFILE"),
        (4, "COMMAND"),
        (5, "RULE"),
        (6, "ACKNOWLEDGEMENT"),
        (7, "PURGE"),
        (8, "COUNTERS"),
        (9, "TICK"),
        (10, "SETTINGS"),
    ]
    assert [(lane.value, lane.name) for lane in Lane] == [(0, "DIRECT"), (1, "CONTROL"), (2, "LIVE"), (3, "BACKLOG")]
