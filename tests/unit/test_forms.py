"""Every form of readings comes in as it was meant, and everything that is wrong is named."""

import gzip
import io
import json
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonde.clock import DAY, SECOND
from sonde.errors import Invalid, SondeError, TooLarge, Unsupported
from sonde.ports import Telemetry
from sonde.reading import Batch, Reading
from sonde.sink import alike, forms, objects
from sonde.sink.coded import Coded
from sonde.sink.columns import Columns, Received, merge
from sonde.sink.limits import Limits

NOW = 1_767_225_600 * SECOND  # 2026-01-01T00:00:00Z
LIMITS = Limits()
NDJSON = "application/x-ndjson"
ARROW = "application/vnd.apache.arrow.stream"
OWN = {"device": "d", "metric": "m", "value": 21.5, "time": "2026-01-01T00:00:00Z"}


def received(body: bytes | Any, content_type: str = "application/json", encoding: str = "") -> Received:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return forms.read(Telemetry(data, content_type, encoding), NOW, LIMITS)[0]


def readings(*args: Any, **kwargs: Any) -> list[Reading]:
    return list(merge([received(*args, **kwargs).readings]).readings())


def arrow(columns: dict[str, Any], compression: str | None = None) -> bytes:
    table = pa.table(columns)
    out = io.BytesIO()
    with pa.ipc.new_stream(out, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table)
    return out.getvalue()


# -- what comes in


def test_the_short_form() -> None:
    body = {"name": "sensor_A", "value": 21, "timestamp": 1752400800123}
    assert readings(body) == [Reading(device="sensor_A", metric="value", time=1752400800123000, value=21)]


def test_the_building_form() -> None:
    body = {
        "event_id": "6f1c1c4e-0000-4000-8000-000000000001",
        "device_id": "co2-1",
        "site_id": "Site-01",
        "zone_id": "Zone-03",
        "sensor_type": "co2",
        "value": 812.5,
        "ts_event": "2026-01-01T00:00:00Z",
    }
    [reading] = readings(body)
    assert reading == Reading(
        device="co2-1",
        metric="co2",
        time=NOW,
        value=812.5,
        site="Site-01",
        zone="Zone-03",
        event_id="6f1c1c4e-0000-4000-8000-000000000001",
    )


def test_the_own_form_with_everything() -> None:
    body = OWN | {"site": "s", "zone": "z", "labels": {"b": "2", "a": "1"}, "quality": 2, "event_id": "e", "kind": 0}
    [reading] = readings(body)
    assert reading == Reading(
        device="d",
        metric="m",
        time=NOW,
        value=21.5,
        site="s",
        zone="z",
        labels={"a": "1", "b": "2"},
        quality=2,
        event_id="e",
    )


def test_the_columnar_form() -> None:
    body = {
        "device": ["a", "b"],
        "metric": "m",
        "time": [NOW // SECOND, NOW // SECOND + 1],
        "value": [1, 2.5],
        "site": "s",
    }
    assert [(r.device, r.metric, r.time, r.value, r.site) for r in readings(body)] == [
        ("a", "m", NOW, 1, "s"),
        ("b", "m", NOW + SECOND, 2.5, "s"),
    ]


def test_one_reading_whose_value_is_an_array_is_no_columns() -> None:
    [reading] = readings(OWN | {"value": [1, 2, 3]})
    assert reading.value == [1, 2, 3]


@pytest.mark.parametrize("rows", [1, 2, 300])
@pytest.mark.parametrize(
    "value",
    [
        0,
        -0.0,
        1.5,
        1e308,
        5e-324,
        2**53 + 1,
        2**63 - 1,
        -(2**63),
        True,
        False,
        "",
        "text ☃ 😀",
        [1, "a", None],
        {"a": {"b": []}},
    ],
    ids=repr,
)
def test_a_value_comes_out_as_it_went_in(value: Any, rows: int) -> None:
    out = readings([OWN | {"value": value}] * rows)
    assert len(out) == rows
    assert {(type(r.value), json.dumps(r.value)) for r in out} == {(type(value), json.dumps(value))}


@pytest.mark.parametrize("rows", [1, 300])
def test_null_with_a_quality_is_a_sensor_that_failed(rows: int) -> None:
    assert {(r.value, r.quality) for r in readings([OWN | {"value": None, "quality": 1}] * rows)} == {(None, 1)}


def test_forms_may_be_mixed_and_keys_may_differ() -> None:
    body = [OWN, {"name": "s", "value": 1}, {"device_id": "b", "sensor_type": "co2", "value": 2}, OWN | {"site": "x"}]
    assert [(r.device, r.metric, r.site) for r in readings(body)] == [
        ("d", "m", ""),
        ("s", "value", ""),
        ("b", "co2", ""),
        ("d", "m", "x"),
    ]


def test_null_stands_for_absent() -> None:
    [reading] = readings(
        OWN | {"site": None, "zone": None, "labels": None, "event_id": None, "quality": None, "time": None}
    )
    assert reading == Reading(device="d", metric="m", time=NOW, value=21.5)


@pytest.mark.parametrize("rows", [1, 3, 300])
def test_lines(rows: int) -> None:
    lines = b"\r\n\n".join(json.dumps(OWN | {"value": i}).encode() for i in range(rows)) + b"\n"
    assert [r.value for r in readings(lines, NDJSON)] == list(range(rows))


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "GZIP", "identity"])
def test_compressed(encoding: str) -> None:
    body = json.dumps([OWN] * 1000).encode()
    packed = body
    if encoding.lower() == "gzip":
        packed = gzip.compress(body)
    elif encoding == "zstd":
        packed = pa.Codec("zstd").compress(body, asbytes=True)
    out, plain = forms.read(Telemetry(packed, "application/json", encoding), NOW, LIMITS)
    assert len(out) == 1000
    assert plain == body


@pytest.mark.parametrize(
    ("given", "micros"),
    [
        (1_767_225_600, NOW),
        (1_767_225_600.25, NOW + SECOND // 4),
        (1_767_225_600_000, NOW),
        (1_767_225_600_000_000, NOW),
        (1_767_225_600_000_000_999, NOW),
        (0, 0),
        ("2026-01-01T00:00:00Z", NOW),
        ("2026-01-01T00:00:00.1Z", NOW + SECOND // 10),
        ("2026-01-01T00:00:00.123456789Z", NOW + 123456),
        ("2026-01-01t02:00:00+02:00", NOW),
        ("2025-12-31 19:00:00-05:00", NOW),
        ("2025-12-31T23:59:60Z", NOW),
    ],
)
@pytest.mark.parametrize("rows", [1, 300])
def test_times(given: Any, micros: int, rows: int) -> None:
    assert {r.time for r in readings([OWN | {"time": given}] * rows)} == {micros}
    assert {r.time for r in readings({"device": ["d"] * rows, "metric": "m", "value": [1] * rows, "time": given})} == {
        micros
    }


def test_units_of_numbers_may_differ_from_reading_to_reading() -> None:
    times = [1_767_225_600, 1_767_225_600_000, 1_767_225_600_000_000, 1_767_225_600_000_000_000] * 100
    assert {r.time for r in readings([OWN | {"time": t} for t in times])} == {NOW}


def test_without_a_time_it_is_the_moment_of_receipt() -> None:
    got = received([{"device": "d", "metric": "m", "value": 1}] * 2)
    assert not got.timed
    assert {r.time for r in merge([got.readings]).readings()} == {NOW}


def test_a_time_up_to_a_day_ahead() -> None:
    [reading] = readings(OWN | {"time": (NOW + DAY) // SECOND})
    assert reading.time == NOW + DAY


def test_what_has_an_identity_is_known() -> None:
    assert received([OWN]).timed
    assert not received([OWN]).identified
    assert received([OWN | {"event_id": "a"}]).identified
    assert not received([OWN | {"event_id": "a"}, OWN]).identified
    assert received([OWN | {"event_id": str(i)} for i in range(400)]).identified


# -- what is refused

Case = tuple[Any, int, int | None, str, str]
LONG = "x" * 257
REFUSED: dict[str, Case] = {
    # body, status, index, field, a word of the message
    "nothing": (b"", 400, None, "", "empty"),
    "spaces": (b"  \n ", 400, None, "", "empty"),
    "no reading": (b"[]", 422, None, "", "no reading"),
    "not JSON": (b"hello", 400, 0, "", "not JSON"),
    "cut short": (b'[{"device":"d","metric":"m","value":1},{"device"', 400, 1, "", "not JSON"),
    "a comma too many": (b'[{"device":"d","metric":"m","value":1},]', 400, 1, "", "not JSON"),
    "two values": (b'{"device":"d","metric":"m","value":1} {}', 400, None, "", "follows the end"),
    "UTF-16": (json.dumps(OWN).encode("utf-16"), 400, None, "", "UTF-8"),
    "BOM": (b"\xef\xbb\xbf" + json.dumps(OWN).encode(), 400, None, "", "byte order mark"),
    "not UTF-8": (b'{"device":"\xff","metric":"m","value":1}', 400, None, "", "UTF-8"),
    "a control character": (b'{"device":"a\nb","metric":"m","value":1}', 400, 0, "", "not JSON"),
    "NaN": (b'[{"device":"d","metric":"m","value":1},{"device":"d","metric":"m","value":NaN}]', 400, 1, "", "NaN"),
    "Infinity": (b'{"device":"d","metric":"m","value":-Infinity}', 400, 0, "", "Infinity"),
    "1e999": (b'[{"device":"d","metric":"m","value":1e999}]', 422, 0, "value", "finite"),
    "2^63": ([OWN, OWN | {"value": 2**63}], 422, 1, "value", "2^63"),
    "-2^63 - 1": ([OWN, OWN | {"value": -(2**63) - 1}], 422, 1, "value", "2^63"),
    "an integer of 5,000 digits": (
        b'{"device":"d","metric":"m","value":' + b"1" * 5000 + b"}",
        422,
        0,
        "value",
        "2^63",
    ),
    "2^63 inside": ([OWN | {"value": [2**63]}], 422, 0, "value", "2^63"),
    "deep": ([OWN, OWN | {"value": json.loads("[" * 70 + "]" * 70)}], 422, 1, "value", "nested"),
    "very deep": (b'{"device":"d","metric":"m","value":' + b"[" * 100_000, 400, 0, "", "nested"),
    "deep alone": (b"[" * 100_000, 400, 0, "", "nested"),
    "a key twice": (b'[{"device":"d","metric":"m","value":1,"value":2}]', 422, 0, "value", "twice"),
    "a key twice, escaped": (b'{"device":"d","metric":"m","value":1,"v\\u0061lue":2}', 422, 0, "value", "twice"),
    "a key twice inside": (b'{"device":"d","metric":"m","value":{"a":1,"a":2}}', 422, 0, "value", "twice"),
    "a label twice": (b'{"device":"d","metric":"m","value":1,"labels":{"a":"1","a":"2"}}', 422, 0, "labels", "twice"),
    "a column twice": (b'{"device":["d"],"metric":"m","value":[1],"value":[2]}', 422, 0, "value", "twice"),
    "an unknown key": ([OWN, OWN | {"vlaue": 1}], 422, 1, "vlaue", "'value'"),
    "an unknown form": ({"sensor": "x", "value": 1}, 422, 0, "device", "missing"),
    "a number for a reading": ([OWN, 5], 422, 1, "", "object"),
    "an array for a reading": ([[OWN]], 422, 0, "", "object"),
    "null": (b"null", 422, 0, "", "object"),
    "no metric": ({"device": "d", "value": 1}, 422, 0, "metric", "missing"),
    "no value": ({"device": "d", "metric": "m"}, 422, 0, "value", "missing"),
    "null without a quality": ([OWN | {"value": None}], 422, 0, "value", "quality"),
    "null and good": ([OWN | {"value": None, "quality": 0}] * 300, 422, 0, "value", "quality"),
    "an empty name": ([OWN, OWN | {"device": ""}], 422, 1, "device", "empty"),
    "an empty metric": ([OWN | {"metric": ""}], 422, 0, "metric", "empty"),
    "an empty event_id": ([OWN | {"event_id": ""}], 422, 0, "event_id", "empty"),
    "a long name": ([OWN | {"device": LONG}], 422, 0, "device", "257"),
    "a long zone": ([OWN | {"zone": "ä" * 129}], 422, 0, "zone", "258"),
    "a number for a name": ([OWN | {"device": 5}], 422, 0, "device", "text"),
    "true for a name": ([OWN | {"device": True}], 422, 0, "device", "true or false"),
    "NUL in a name": ([OWN | {"device": "a\0"}], 422, 0, "device", "U+0000"),
    "newline in a name": ([OWN | {"metric": "a\nb"}], 422, 0, "metric", "U+000A"),
    "direction override": ([OWN] * 299 + [OWN | {"device": "a\u202eb"}], 422, 299, "device", "U+202E"),
    "isolate": ([OWN | {"site": "\u2066a"}], 422, 0, "site", "U+2066"),
    "a C1 control": ([OWN | {"site": "\u0085"}], 422, 0, "site", "U+0085"),
    "half a surrogate pair": (b'{"device":"\\ud800","metric":"m","value":1}', 422, 0, "device", "U+D800"),
    "half a pair in a value": (b'[{"device":"d","metric":"m","value":"a\\udc00b"}]', 422, 0, "value", "surrogate"),
    "half a pair inside": (b'[{"device":"d","metric":"m","value":["\\udc00"]}]', 422, 0, "value", "surrogate"),
    "NUL in a value": ([OWN | {"value": "a\0b"}] * 300, 422, 0, "value", "U+0000"),
    "NUL inside": ([OWN | {"value": {"k": ["a\0b"]}}], 422, 0, "value", "U+0000"),
    "a value too long": ([OWN | {"value": "x" * (LIMITS.value_bytes + 1)}], 422, 0, "value", "bytes"),
    "JSON too long": ([OWN | {"value": ["x" * 1000] * 1100}], 422, 0, "value", "bytes"),
    "a naive time": ([OWN, OWN | {"time": "2026-01-01T00:00:00"}], 422, 1, "time", "offset"),
    "a date": ([OWN | {"time": "2026-01-01"}], 422, 0, "time", "offset"),
    "no time": ([OWN | {"time": "yesterday"}], 422, 0, "time", "RFC 3339"),
    "the 30th of February": ([OWN | {"time": "2026-02-30T00:00:00Z"}], 422, 0, "time", "2026-02-30"),
    "hour 25": ([OWN | {"time": "2026-01-01T25:00:00Z"}] * 300, 422, 0, "time", "25:00"),
    "without seconds": ([OWN | {"time": "2026-01-01T00:00Z"}] * 300, 422, 0, "time", "RFC 3339"),
    "offset without a colon": ([OWN | {"time": "2026-01-01T00:00:00+0200"}] * 300, 422, 0, "time", "RFC 3339"),
    "1969": ([OWN | {"time": "1969-12-31T23:59:59Z"}], 422, 0, "time", "1970"),
    "before 1970": ([OWN] * 299 + [OWN | {"time": "1960-01-01T00:00:00Z"}], 422, 299, "time", "1970"),
    "-1": ([OWN | {"time": -1}], 422, 0, "time", "1970"),
    "2201": ([OWN | {"time": "2201-01-01T00:00:00Z"}], 422, 0, "time", "2200"),
    "a huge number for a time": ([OWN | {"time": 10**30}], 422, 0, "time", "2200"),
    "1e400 for a time": (b'{"device":"d","metric":"m","value":1,"time":1e400}', 422, 0, "time", "2200"),
    "true for a time": ([OWN | {"time": True}], 422, 0, "time", "true or false"),
    "tomorrow and more": ([OWN, OWN | {"time": (NOW + DAY) / SECOND + 1}], 422, 1, "time", "ahead"),
    "tomorrow in many": ([OWN] * 299 + [OWN | {"time": "2027-01-01T00:00:00Z"}], 422, 299, "time", "ahead"),
    "labels as text": ([OWN | {"labels": "a=b"}], 422, 0, "labels", "object"),
    "a number in labels": ([OWN | {"labels": {"a": 1}}], 422, 0, "labels", "text to text"),
    "an empty label": ([OWN | {"labels": {"": "x"}}], 422, 0, "labels", "empty"),
    "a control in a label": ([OWN | {"labels": {"a": "x\x07"}}] * 300, 422, 0, "labels", "U+0007"),
    "too many labels": ([OWN | {"labels": {f"k{i}": "x" * 200 for i in range(30)}}], 422, 0, "labels", "4096"),
    "quality 9": ([OWN | {"quality": 9}], 422, 0, "quality", "clock"),
    "quality as text": ([OWN | {"quality": "good"}], 422, 0, "quality", "good"),
    "quality true": ([OWN | {"quality": True}], 422, 0, "quality", "no quality"),
    "kind 9": ([OWN | {"kind": 9}], 422, 0, "kind", "number"),
    "the wrong kind": ([OWN | {"kind": 3}], 422, 0, "value", "text"),
    "kind none with a value": ([OWN | {"kind": 5}], 422, 0, "value", "none"),
    "columns of two lengths": ({"device": ["a", "b"], "metric": "m", "value": [1]}, 422, None, "device", "one length"),
    "columns without values": ({"device": ["a"], "metric": "m", "value": 1}, 422, None, "value", "array"),
    "empty columns": ({"device": [], "metric": "m", "value": []}, 422, None, "value", "no reading"),
    "an unknown column": ({"device": ["a"], "metric": "m", "value": [1], "x": 1}, 422, None, "x", "not known"),
    "a wrong cell": ({"device": ["a", 5], "metric": "m", "value": [1, 2]}, 422, 1, "device", "text"),
    "a wrong time in columns": (
        {"device": "a", "metric": "m", "value": [1, 2], "time": ["2026-01-01T00:00:00Z", "x"]},
        422,
        1,
        "time",
        "RFC",
    ),
    "one id for two": (
        {"device": ["a", "b"], "metric": "m", "value": [1, 2], "event_id": "e"},
        422,
        None,
        "event_id",
        "one",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_refused_and_named(name: str) -> None:
    body, status, index, field, word = REFUSED[name]
    with pytest.raises(Invalid) as refused:
        received(body)
    problem = refused.value.problem
    assert (400 if refused.value.syntax else 422) == status
    assert (problem.index, problem.field) == (index, field)
    assert word in problem.message


@pytest.mark.parametrize(
    ("lines", "syntax", "index", "word"),
    [
        (b"", False, None, "no reading"),
        (b'{"device":"d","metric":"m","value":1}\n{"device":', True, 1, "not JSON"),
        (b'{"device":"d","metric":"m","value":1}\n[1]', False, 1, "object"),
        (
            b'{"device":"d","metric":"m","value":1}\n\n{"device":"d","metric":"m","value":1,"value":1}',
            False,
            1,
            "twice",
        ),
    ],
)
def test_what_is_wrong_in_lines(lines: bytes, syntax: bool, index: int | None, word: str) -> None:
    with pytest.raises(Invalid) as refused:
        received(lines, NDJSON)
    assert (refused.value.syntax, refused.value.problem.index) == (syntax, index)
    assert word in refused.value.problem.message


def test_at_most_100_000_readings() -> None:
    reading = b'{"name":"a","value":1}'
    assert len(received(b"[" + b",".join([reading] * 100_000) + b"]")) == 100_000
    for body in (b"[" + b",".join([reading] * 100_001) + b"]", b"[{}," + b",".join([reading] * 100_000) + b"]"):
        with pytest.raises(TooLarge, match="100000"):
            received(body)
    with pytest.raises(TooLarge, match="100000"):
        received({"device": "a", "metric": "m", "site": [], "value": [1] * 100_001})
    with pytest.raises(TooLarge, match="100000"):
        received(b"[" + b",".join([b"1"] * 1_000_000) + b"]")


@pytest.mark.parametrize("media", ["text/plain", "application/xml", "application/json; charset=utf-16", "", "json"])
def test_other_content_types_are_named(media: str) -> None:
    with pytest.raises(Unsupported, match=r"application/x-ndjson.*arrow"):
        received([OWN], media)


@pytest.mark.parametrize(
    "media", ["application/json; charset=utf-8", "Application/JSON", 'application/json;charset="UTF-8"']
)
def test_spellings_of_the_content_type(media: str) -> None:
    assert len(received([OWN], media)) == 1


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip"])
def test_other_encodings_are_named(encoding: str) -> None:
    with pytest.raises(Unsupported, match="gzip, zstd"):
        received([OWN], encoding=encoding)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize("body", [b"junk", b"\x1f\x8b", b"\x28\xb5\x2f\xfd"])
def test_what_is_not_compressed_as_it_says(encoding: str, body: bytes) -> None:
    with pytest.raises(Invalid, match=f"not {encoding}") as refused:
        received(body, encoding=encoding)
    assert refused.value.syntax


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_bomb_fills_no_memory(encoding: str) -> None:
    zeros = bytes(300 << 20)
    bomb = gzip.compress(zeros, 1) if encoding == "gzip" else pa.Codec("zstd").compress(zeros, asbytes=True)
    with pytest.raises(TooLarge, match="decompressed"):
        received(bomb, encoding=encoding)


def test_a_body_too_large() -> None:
    with pytest.raises(TooLarge, match=str(LIMITS.body_bytes)):
        received(b" " * (LIMITS.body_bytes + 1))


# -- the quick ways and the exact way agree

names = st.sampled_from(["a", "B-2", "ü☃", "x" * 256, "", "bad\n", "\u202e", "x" * 257])
values = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(2**64), 2**64),
    st.booleans(),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    st.none(),
    st.lists(st.one_of(st.integers(-5, 5), st.text('ab\\"\0', max_size=3)), max_size=3),
    st.dictionaries(st.text("ab", max_size=2), st.integers(0, 3), max_size=2),
)
moments = st.one_of(
    st.integers(-5, 2**64),
    st.integers(0, 2 * NOW // SECOND),
    st.floats(-1e9, 1e18),
    st.sampled_from(
        ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.5+01:00", "2026-01-01", "x", "2026-01-01T00:00:00.1234567Z"]
    ),
    st.booleans(),
)
own_objects = st.fixed_dictionaries(
    {"device": names, "metric": names, "value": values},
    optional={
        "time": moments,
        "site": names,
        "zone": names,
        "labels": st.dictionaries(names, names, max_size=2),
        "quality": st.integers(-1, 5),
        "event_id": names,
    },
)


def outcome(read: Callable[[], Received]) -> Any:
    try:
        got = read()
    except SondeError as error:
        return str(error)
    return got.timed, got.identified, msgspec.json.encode(list(merge([got.readings]).readings()))


@settings(max_examples=300, deadline=None)
@given(st.lists(own_objects, min_size=1, max_size=3), st.integers(1, 130), st.booleans())
def test_the_quick_ways_never_differ_from_the_exact_one(things: list[dict[str, Any]], times: int, pretty: bool) -> None:
    many = things * times
    body = json.dumps(many, indent=1 if pretty else None, ensure_ascii=pretty).encode()
    exact = outcome(lambda: objects.read(many, NOW, LIMITS))
    assert outcome(lambda: received(body)) == exact
    lines = b"\n".join(json.dumps(thing).encode() for thing in many)
    assert outcome(lambda: received(lines, NDJSON)) == exact
    alone = outcome(lambda: objects.read(things[:1], NOW, LIMITS))
    for _ in range(2):  # the second time its names are known
        assert outcome(lambda: received(json.dumps(things[0]).encode())) == alone


@pytest.mark.parametrize("rows", [2, 300])
@pytest.mark.parametrize(
    "body",
    [[OWN | {"value": i * 0.5} for i in range(300)], [{"name": "a", "value": i, "timestamp": 5} for i in range(300)]],
)
def test_what_is_plain_is_taken_quickly(body: list[Any], rows: int) -> None:
    """Not a matter of right or wrong, but of ten times the speed."""
    assert alike.read(json.dumps(body[:rows]).encode(), NOW, LIMITS) is not None
    columns = received(body[:rows]).readings
    assert isinstance(columns, Columns)
    assert isinstance(columns.devices, list if rows < 256 else Coded)


# -- Arrow


def test_arrow_with_a_zone_that_is_no_text() -> None:
    times = pa.array([0, 1], pa.timestamp("us", "ABCDEFGH"))
    body = arrow({"device": ["a", "b"], "metric": ["m", "m"], "time": times, "value": [1.0, 2.0]})
    with pytest.raises(Invalid, match="not an Arrow stream"):
        readings(body.replace(b"ABCDEFGH", b"\x8fBCDEFGH"), ARROW)


def test_arrow_with_all_columns_of_ours() -> None:
    given = [
        Reading(
            device="d",
            metric="m",
            time=NOW,
            value=value,
            site="s",
            labels={"a": "b"},
            quality=1 if value is None else 0,
        )
        for value in (1.5, 7, 2**53 + 1, True, "text", [1], {"a": 1}, None)
    ]
    body = arrow(dict(zip(Batch.of(given).columns.schema.names, Batch.of(given).columns.columns, strict=True)))
    assert readings(body, ARROW) == given


@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
@pytest.mark.parametrize(
    "times",
    [
        pa.array([NOW, NOW], pa.timestamp("us", "UTC")),
        pa.array([NOW * 1000 + 999, NOW * 1000], pa.timestamp("ns", "Europe/Berlin")),
        pa.array([NOW // SECOND] * 2, pa.timestamp("s", "UTC")),
        pa.array([NOW // SECOND, NOW // 1000]),
        pa.array([NOW / SECOND, NOW / 1000]),
        pa.array(["2026-01-01T00:00:00Z", "2026-01-01t01:00:00+01:00"]),
    ],
    ids=lambda a: str(a.type),
)
def test_arrow_times(times: pa.Array, compression: str | None) -> None:
    body = arrow({"device": ["a", "b"], "metric": ["m", "m"], "time": times, "value": [1.0, 2.0]}, compression)
    assert [r.time for r in readings(body, ARROW)] == [NOW, NOW]


@pytest.mark.parametrize(
    ("values", "out"),
    [
        (pa.array([1.5, 2.5]), [1.5, 2.5]),
        (pa.array([1.5, 2.5], pa.float32()), [1.5, 2.5]),
        (pa.array([1, -2], pa.int8()), [1, -2]),
        (pa.array([2**53 + 1, 2**63 - 1]), [2**53 + 1, 2**63 - 1]),
        (pa.array([1, 2], pa.uint64()), [1, 2]),
        (pa.array([True, False]), [True, False]),
        (pa.array(["a", "b"]), ["a", "b"]),
        (pa.array(["a", "b"], pa.large_string()), ["a", "b"]),
        (pa.array(["a", "a"]).dictionary_encode(), ["a", "a"]),
    ],
    ids=lambda a: str(getattr(a, "type", "")),
)
def test_arrow_values(values: pa.Array, out: list[Any]) -> None:
    body = arrow({"device": ["a", "b"], "metric": pa.array(["m", "m"]).dictionary_encode(), "value": values})
    assert [(type(r.value), r.value) for r in readings(body, ARROW)] == [(type(v), v) for v in out]


def test_arrow_with_kinds_and_failed_sensors() -> None:
    body = arrow(
        {"device": ["a"] * 3, "metric": ["m"] * 3, "value": ["[1]", "x", None], "kind": [4, 3, 3], "quality": [0, 0, 1]}
    )
    assert [r.value for r in readings(body, ARROW)] == [[1], "x", None]


A = {"device": ["a", "b"], "metric": ["m", "m"], "value": [1.0, 2.0]}
ARROW_REFUSED: dict[str, tuple[dict[str, Any], int | None, str, str]] = {
    "NaN": (A | {"value": [1.0, float("nan")]}, 1, "value", "finite"),
    "infinite": (A | {"value": [1.0, float("-inf")]}, 1, "value", "finite"),
    "null": (A | {"value": [1.0, None]}, 1, "quality", "why"),
    "2^63": (A | {"value": pa.array([1, 2**63], pa.uint64())}, None, "value", "2^63"),
    "bytes": (A | {"value": [b"a", b"b"]}, None, "value", "binary"),
    "naive": (A | {"time": pa.array([1, 2], pa.timestamp("us"))}, None, "time", "zone"),
    "naive text": (A | {"time": ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00"]}, 1, "time", "offset"),
    "no time": (A | {"time": pa.array([NOW, None], pa.timestamp("us", "UTC"))}, 1, "time", "missing"),
    "a date": (A | {"time": pa.array([1, 2], pa.date32())}, None, "time", "date32"),
    "1960": (A | {"time": pa.array([NOW, -1], pa.timestamp("us", "UTC"))}, 1, "time", "1970"),
    "far": (A | {"time": pa.array([NOW, 2**62], pa.timestamp("us", "UTC"))}, 1, "time", "2200"),
    "out of range": (A | {"time": pa.array([2**60, 0], pa.timestamp("s", "UTC"))}, None, "time", "range"),
    "ahead": (A | {"time": pa.array([NOW, NOW + 2 * DAY], pa.timestamp("us", "UTC"))}, 1, "time", "ahead"),
    "a bad name": (A | {"device": ["a", "b\n"]}, 1, "device", "U+000A"),
    "an empty name": (A | {"device": ["a", ""]}, 1, "device", "empty"),
    "no name": (A | {"device": ["a", None]}, 1, "device", "missing"),
    "numbers as names": (A | {"device": [1, 2]}, None, "device", "text"),
    "an unknown column": (A | {"x": [1, 2]}, None, "x", "not known"),
    "no metric": ({"device": ["a"], "value": [1.0]}, None, "metric", "missing"),
    "labels that are no JSON": (A | {"labels": ["{}", "a=b"]}, 1, "labels", "JSON"),
    "quality 9": (A | {"quality": [0, 9]}, 1, "quality", "9"),
    "quality 300": (A | {"quality": [0, 300]}, None, "quality", "large"),
    "kind 9": (A | {"kind": [0, 9]}, 1, "kind", "9"),
    "kind that does not fit": (A | {"kind": [0, 3]}, 1, "kind", "3"),
    "decimals in an integer": (A | {"value": [1.0, 2.5], "kind": [1, 1]}, 1, "value", "decimals"),
    "a boolean of 2": (A | {"value": [1.0, 2.0], "kind": [2, 2]}, 1, "value", "0 or 1"),
    "JSON that is none": (A | {"value": ["[1]", "[1"], "kind": [4, 4]}, 1, "text", "JSON"),
    "a number as JSON": (A | {"value": ["[1]", "1"], "kind": [4, 4]}, 1, "text", "array or an object"),
    "text for a number": (A | {"kind": [0, 0], "text": ["x", None]}, 0, "text", "large integers"),
    "no text": (
        A | {"value": pa.array([None, None], pa.float64()), "kind": [3, 3], "text": ["x", None]},
        1,
        "text",
        "missing",
    ),
    "another integer in text": (A | {"kind": [1, 1], "text": [None, "3"]}, 1, "text", "not the integer"),
    "an empty event_id": (A | {"event_id": ["", "x"]}, 0, "event_id", "empty"),
    "no rows": (
        {"device": pa.array([], pa.string()), "metric": pa.array([], pa.string()), "value": pa.array([], pa.float64())},
        None,
        "",
        "no reading",
    ),
}


@pytest.mark.parametrize("name", ARROW_REFUSED)
def test_what_is_wrong_in_arrow_is_refused_and_named(name: str) -> None:
    columns, index, field, word = ARROW_REFUSED[name]
    with pytest.raises(Invalid) as refused:
        received(arrow(columns), ARROW)
    assert not refused.value.syntax
    problem = refused.value.problem
    assert (problem.index, problem.field) == (index, field)
    assert word in problem.message


@pytest.mark.parametrize("body", [b"", b"ARROW1", b"\xff\xff\xff\xff\x10\x00\x00\x00" + bytes(16), arrow(A)[:-40]])
def test_what_is_no_arrow_stream(body: bytes) -> None:
    with pytest.raises(Invalid) as refused:
        received(body, ARROW)
    assert refused.value.problem.message


def test_arrow_bombs() -> None:
    text = pa.array(["x" * 10_000_000] * 20)
    packed = arrow({"device": ["d"] * 20, "metric": ["m"] * 20, "value": text}, "zstd")
    assert len(packed) < 1 << 20
    with pytest.raises(TooLarge, match="bytes"):
        received(packed, ARROW)
    with pytest.raises(TooLarge, match="readings"):
        received(arrow({"device": pa.nulls(10**9), "metric": pa.nulls(10**9), "value": pa.nulls(10**9)}), ARROW)


def test_an_arrow_dictionary_with_doubles_gaps_and_strangers() -> None:
    device = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2], pa.int8()), pa.array(["a", "a", "b", "never\nused"]))
    got = received(arrow({"device": device, "metric": ["m"] * 3, "value": [1.0, 2.0, 3.0]}), ARROW)
    assert isinstance(got.readings, Batch)
    assert got.readings.columns.column("device").dictionary.to_pylist() == ["a", "b"]
    assert list(got.devices()) == ["a", "b"]


def test_labels_have_one_form_in_arrow_too() -> None:
    body = arrow(A | {"labels": ['{"b":"2", "a":"1"}', '{"a":"1","b":"2"}']})
    got = received(body, ARROW)
    assert isinstance(got.readings, Batch)
    assert got.readings.columns.column("labels").dictionary.to_pylist() == ['{"a":"1","b":"2"}']


def test_many_rows_in_several_arrow_batches() -> None:
    table = pa.table({"device": ["a", "b"] * 50, "metric": ["m"] * 100, "value": np.arange(100.0)})
    out = io.BytesIO()
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    assert [r.value for r in readings(out.getvalue(), ARROW)] == list(range(100))


def test_columns_of_several_requests_are_joined_in_order() -> None:
    parts = [
        received([OWN | {"value": 1, "site": "s"}]).readings,
        received([{"name": "x", "value": True}]).readings,
        received([OWN | {"value": float(i)} for i in range(300)]).readings,
        received([OWN | {"labels": {"a": "b"}, "value": None, "quality": 1, "event_id": "e"}]).readings,
        received([OWN | {"value": "t"}]).readings,
    ]
    out = list(merge(parts).readings())
    assert [r.value for r in out] == [1, True, *map(float, range(300)), None, "t"]
    assert [out[i].site for i in (0, 1, 2)] == ["s", "", ""]
    assert out[302].labels == {"a": "b"}
    assert (out[302].event_id, out[302].quality, out[303].event_id) == ("e", 1, None)
