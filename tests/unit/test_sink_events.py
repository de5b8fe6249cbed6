"""What other programs write into the log: each event as it was meant, or why it means nothing."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde.clock import DAY, SECOND
from sonde.entry import Body, EntryKind, decode_body, encode_body
from sonde.errors import Forbidden, Invalid, Reject
from sonde.reading import Reading
from sonde.sink.events import SOURCE, read_events, refuse_events

NOW = 1_767_225_600 * SECOND  # 2026-01-01T00:00:00Z
BUILDING = {
    "event_id": "6f1c1c4e-0000-4000-8000-000000000001",
    "device_id": "co2-1",
    "site_id": "Site-01",
    "zone_id": "Zone-03",
    "sensor_type": "co2",
    "value": 812.5,
    "ts_event": "2026-01-01T00:00:00Z",
}
READ = Reading(
    device="co2-1",
    metric="co2",
    time=NOW,
    value=812.5,
    site="Site-01",
    zone="Zone-03",
    event_id="6f1c1c4e-0000-4000-8000-000000000001",
)
GOLDEN: list[tuple[Any, list[Reading]]] = [
    (BUILDING, [READ]),
    ([BUILDING], [READ]),
    (
        [BUILDING, BUILDING | {"event_id": "2", "value": True, "ts_event": 1767225601}],
        [
            READ,
            Reading(
                device="co2-1",
                metric="co2",
                time=NOW + SECOND,
                value=True,
                site="Site-01",
                zone="Zone-03",
                event_id="2",
            ),
        ],
    ),
    (
        {"name": "a", "value": 21, "timestamp": 1767225600123},
        [Reading(device="a", metric="value", time=NOW + 123_000, value=21)],
    ),
    ({"device": "d", "metric": "m", "value": "on"}, [Reading(device="d", metric="m", time=NOW + 7, value="on")]),
    (
        {"device": ["a", "b"], "metric": "m", "time": 1767225600, "value": [1, 2]},
        [Reading(device="a", metric="m", time=NOW, value=1), Reading(device="b", metric="m", time=NOW, value=2)],
    ),
]


def read(thing: Any, now: int = NOW + 7) -> Body:
    return read_events(thing if isinstance(thing, bytes) else json.dumps(thing).encode(), now)


def readings(body: Body) -> list[Reading]:
    assert body.batch is not None
    return list(body.batch.readings())


@pytest.mark.parametrize(("written", "meant"), GOLDEN)
def test_events_are_read_as_they_were_meant(written: Any, meant: list[Reading]) -> None:
    body = read(written)
    assert readings(body) == meant
    [entry] = body.entries
    assert (entry.kind, entry.source, entry.rows, entry.epoch) == (EntryKind.READINGS, SOURCE, len(meant), "")


def test_events_with_ids_are_known_by_them_and_others_by_their_record_if_each_has_a_time() -> None:
    without_id = {key: value for key, value in BUILDING.items() if key != "event_id"}
    without_time = {key: value for key, value in without_id.items() if key != "ts_event"}
    assert read(BUILDING).entries[0].key == b""
    key = read(without_id).entries[0].key
    assert len(key) == 16
    assert read(without_id, NOW + DAY).entries[0].key == key
    assert read([without_id]).entries[0].key not in {b"", key}
    assert read(without_time).entries[0].key == b""


def test_the_same_record_is_read_the_same_whatever_was_read_before() -> None:
    first = read(BUILDING)
    read([{"device": f"d{i}", "metric": "m", "value": i} for i in range(50)])
    assert encode_body(read(BUILDING)) == encode_body(first)


def test_a_time_far_ahead_is_taken_here_since_the_processor_marks_it() -> None:
    assert readings(read(BUILDING | {"ts_event": "2100-01-01T00:00:00Z"}))[0].time > NOW + 70 * 365 * DAY


def test_without_a_time_of_its_own_it_needs_that_of_the_record() -> None:
    event = {"device": "d", "metric": "m", "value": 1}
    assert readings(read(event, NOW))[0].time == NOW
    with pytest.raises(Invalid, match="does not say when"):
        read(event, 0)


@pytest.mark.parametrize(
    ("written", "why"),
    [
        (b"", "empty"),
        (b"\xff\xfe\x00", ""),
        (b"hello", ""),
        (b"[]", "no reading"),
        (b"null", "not"),
        (b"[1, 2]", "not a number|not an integer|is an object"),
        (BUILDING | {"unit": "ppm"}, "unit"),
        (BUILDING | {"value": None}, "null"),
        ({"site_id": "s", "value": 1}, "device"),
        (BUILDING | {"ts_event": "2026-01-01T00:00:00"}, "offset"),
        (json.dumps(BUILDING).encode()[:-1], ""),
        (b'{"device": "d", "device": "e", "metric": "m", "value": 1}', "twice"),
        (b'{"device": "d", "metric": "m", "value": NaN}', ""),
    ],
)
def test_what_is_no_event_says_why(written: Any, why: str) -> None:
    with pytest.raises(Reject, match=f"(?i){why}"):
        read(written)


def test_where_events_are_not_allowed_the_way_out_is_told() -> None:
    with pytest.raises(Forbidden, match=r"plain_events = yes.*sonde dlq retry"):
        refuse_events(json.dumps(BUILDING).encode(), NOW)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_body_or_rejected(record: bytes) -> None:
    try:
        body = read_events(record, NOW)
    except Reject:
        return
    assert decode_body(encode_body(body)).readings == body.readings > 0


names = st.text("abcdefäß-./", min_size=1, max_size=12)
values = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**63), 2**63 - 1), st.booleans(), names
)
events = st.fixed_dictionaries(
    {"device_id": names, "sensor_type": names, "value": values, "ts_event": st.integers(1_000_000_000, 4_000_000_000)},
    optional={"event_id": names, "site_id": names, "zone_id": names},
)


@given(st.lists(events, min_size=1, max_size=6))
def test_whatever_events_say_comes_out(written: list[dict[str, Any]]) -> None:
    body = read(written)
    for event, got in zip(written, readings(body), strict=True):
        assert (got.device, got.metric, got.time) == (
            event["device_id"],
            event["sensor_type"],
            event["ts_event"] * SECOND,
        )
        assert (type(got.value), got.value) == (type(event["value"]), event["value"])
        assert (got.event_id, got.site, got.zone) == (
            event.get("event_id"),
            event.get("site_id", ""),
            event.get("zone_id", ""),
        )
    with_id = ["event_id" in event for event in written]
    assert bool(body.entries[0].key) == (not all(with_id))


junk = st.sampled_from(
    [None, True, 0, -1, 2**70, 1e308, float("inf"), float("nan"), "", "x", "\x00", [], [1, "a"], {}, {"a": 1}]
)


@given(st.dictionaries(st.sampled_from([*BUILDING, "labels", "quality", "unit"]), junk), st.booleans())
def test_what_has_the_right_keys_and_any_values_is_a_body_or_rejected(event: dict[str, Any], several: bool) -> None:
    try:
        read([event, BUILDING] if several else event)
    except Reject:
        return
