"""What readings may not be, once more through the real server: refused whole, with a message that says where, what, and what
would be right; and nothing of it is ever stored."""

import json
import time
from collections.abc import Iterator

import pytest

from tests.crash.road import JSON, Up

LINES = {"Content-Type": "application/x-ndjson"}
GOOD = '{"device": "bad", "metric": "m", "value": 1, "time": "2026-01-01T00:00:00Z"}'


@pytest.fixture(scope="module", params=["plain", pytest.param("tls", marks=pytest.mark.all)])
def up(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """At the end: of all that was refused nothing is there, and what was right is."""
    with Up(tmp_path_factory.mktemp("bad"), "--no-host", "--no-simulator", tls=request.param == "tls") as running:
        assert running.request("POST", "/telemetry", GOOD.replace("bad", "good").encode(), JSON)[0] == 202
        yield running
        running.wait_until_all_is_stored()
        assert running.sql("select distinct device from readings") == [["good"]]
        assert "Traceback" not in running.said()
        assert running.stop() == 0


def own(**fields: str) -> str:
    """A reading in JSON whose fields are given as JSON."""
    whole = {"device": '"bad"', "metric": '"m"', "value": "1", "time": '"2026-01-01T00:00:00Z"', **fields}
    return "{" + ", ".join(f'"{name}": {value}' for name, value in whole.items() if value) + "}"


def soon(seconds: float) -> str:
    return f'"{time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))}"'


FIELDS = {  # one field that is wrong, and what the message says
    "NaN": ({"value": "NaN"}, 400, ""),
    "Infinity": ({"value": "Infinity"}, 400, ""),
    "-Infinity": ({"value": "-Infinity"}, 400, ""),
    "1e999": ({"value": "1e999"}, 422, "value"),
    "-1e999": ({"value": "-1e999"}, 422, "value"),
    "1e999 within": ({"value": "[1e999]"}, 422, ""),
    "2^63": ({"value": "9223372036854775808"}, 422, "value"),
    "-2^63 - 1": ({"value": "-9223372036854775809"}, 422, "value"),
    "a long integer": ({"value": "9" * 5000}, 422, "value"),
    "2^63 within": ({"value": "[9223372036854775808]"}, 422, "value"),
    "a leading zero": ({"value": "01"}, 400, ""),
    "a plus": ({"value": "+1"}, 400, ""),
    "hexadecimal": ({"value": "0x1F"}, 400, ""),
    "a bare point": ({"value": ".5"}, 400, ""),
    "a single quote": ({"value": "'a'"}, 400, ""),
    "null alone": ({"value": "null"}, 422, "quality"),
    "no value": ({"value": ""}, 422, "value"),
    "NUL in text": ({"value": '"a\\u0000b"'}, 422, "value"),
    "NUL within": ({"value": '{"a": ["\\u0000"]}'}, 422, ""),
    "a lone surrogate": ({"value": '"\\ud800"'}, 422, "surrogate"),
    "a lone low surrogate": ({"value": '"\\udc00"'}, 422, "surrogate"),
    "a lone surrogate as a name": ({"device": '"\\ud800"'}, 422, "device"),
    "a raw control character": ({"value": '"a\nb"'}, 400, ""),
    "text of 2 MB": ({"value": '"%s"' % ("a" * (2 << 20))}, 422, "value"),
    "nested too deep": ({"value": "[" * 100 + "]" * 100}, 422, "value"),
    "a naive time": ({"time": '"2026-01-01T00:00:00"'}, 422, "offset"),
    "a date": ({"time": '"2026-01-01"'}, 422, "time"),
    "no time at all": ({"time": '"yesterday"'}, 422, "time"),
    "an empty time": ({"time": '""'}, 422, "time"),
    "the 30th of February": ({"time": '"2026-02-30T00:00:00Z"'}, 422, "time"),
    "the 25th hour": ({"time": '"2026-01-01T25:00:00Z"'}, 422, "time"),
    "a year too early": ({"time": '"1969-12-31T23:59:59Z"'}, 422, "time"),
    "a year too late": ({"time": '"2201-01-01T00:00:00Z"'}, 422, "time"),
    "a negative time": ({"time": "-1"}, 422, "time"),
    "a time that is true": ({"time": "true"}, 422, "time"),
    "a time that is an object": ({"time": "{}"}, 422, "time"),
    "two days ahead": ({"time": soon(2 * 86_400)}, 422, "ahead"),
    "an offset of 99 hours": ({"time": '"2026-01-01T00:00:00+99:00"'}, 422, "time"),
    "an empty device": ({"device": '""'}, 422, "device"),
    "an empty metric": ({"metric": '""'}, 422, "metric"),
    "no device": ({"device": ""}, 422, "device"),
    "no metric": ({"metric": ""}, 422, "metric"),
    "257 bytes": ({"device": '"%s"' % ("a" * 257)}, 422, "256"),
    "257 bytes, 129 letters": ({"device": '"%sa"' % ("é" * 128)}, 422, "256"),
    "a control character": ({"device": '"a\\u0007b"'}, 422, "device"),
    "DEL": ({"metric": '"a\\u007fb"'}, 422, "metric"),
    "a right-to-left override": ({"device": '"a\\u202eb"'}, 422, "device"),
    "an isolate": ({"site": '"a\\u2066b"'}, 422, "site"),
    "a zone with a line": ({"zone": '"a\\nb"'}, 422, "zone"),
    "a device that is a number": ({"device": "7"}, 422, "device"),
    "a site that is a number": ({"site": "1"}, 422, "site"),
    "labels that are text": ({"labels": '"a"'}, 422, "labels"),
    "a label that is a number": ({"labels": '{"a": 1}'}, 422, "labels"),
    "a label with an empty name": ({"labels": '{"": "a"}'}, 422, "labels"),
    "labels of 5 KB": ({"labels": '{"a": "%s"}' % ("x" * 5000)}, 422, "labels"),
    "quality 5": ({"quality": "5"}, 422, "quality"),
    "quality -1": ({"quality": "-1"}, 422, "quality"),
    "quality true": ({"quality": "true"}, 422, "quality"),
    "quality 1.5": ({"quality": "1.5"}, 422, "quality"),
    "an empty event_id": ({"event_id": '""'}, 422, "event_id"),
    "an event_id that is a number": ({"event_id": "1"}, 422, "event_id"),
    "an unknown key": ({"colour": '"red"'}, 422, "colour"),
    "a key of another form": ({"ts_event": '"2026-01-01T00:00:00Z"'}, 422, ""),
}


@pytest.mark.parametrize("name", FIELDS)
def test_one_field_that_is_wrong(name: str, up: Up) -> None:
    """Alone, behind one that is right, and in lines: the same verdict, and the index of the one."""
    fields, status, says = FIELDS[name]
    bad = own(**fields)
    check(up, bad, status, says)
    check(up, f"[{GOOD}, {bad}, {GOOD}]", status, says, index=1)
    if "\n" not in bad:
        check(up, f"{GOOD}\n{bad}\n", status, says, index=1, headers=LINES)


def check(
    up: Up, body: str, status: int, says: str, *, index: int | None = None, headers: dict[str, str] = JSON
) -> None:
    got, head, answer = up.ask("POST", "/telemetry", body.encode("utf-8", "surrogatepass"), headers)
    assert got == status, (body[:200], answer)
    assert head["Content-Type"] == "application/problem+json"
    problem = json.loads(answer)
    assert problem["status"] == status
    assert says in problem["detail"], problem
    assert len(answer) < 2000, "the answer repeats what it was sent"
    if status == 422 and index is not None:
        assert problem.get("index") == index, problem


BODIES = {  # as a whole
    "nothing": (b"", 400),
    "white space": (b" \n ", 400),
    "a word": (b"hello", 400),
    "half a reading": (GOOD.encode()[:-1], 400),
    "two readings without an array": ((GOOD + GOOD).encode(), 400),
    "a reading and a word": ((GOOD + " x").encode(), 400),
    "a number": (b"1", 422),
    "null": (b"null", 422),
    "a text": (b'"a"', 422),
    "true": (b"true", 422),
    "no reading": (b"[]", 422),
    "an empty object": (b"{}", 422),
    "an array of arrays": (f"[[{GOOD}]]".encode(), 422),
    "an array with null": (f"[{GOOD}, null]".encode(), 422),
    "a trailing comma": (f"[{GOOD},]".encode(), 400),
    "a comment": (f"{GOOD} // one".encode(), 400),
    "a byte order mark": (b"\xef\xbb\xbf" + GOOD.encode(), 400),
    "UTF-16": (GOOD.encode("utf-16"), 400),
    "Latin-1": (GOOD.replace("bad", "bäd").encode("latin-1"), 400),
    "overlong UTF-8": (GOOD.encode().replace(b"bad", b"b\xc0\xafd"), 400),
    "a duplicate key": (b'{"device": "bad", "device": "good", "metric": "m", "value": 1}', 422),
    "a duplicate key within": (own(value='{"a": 1, "a": 2}').encode(), 422),
    "a duplicate label": (own(labels='{"a": "1", "a": "2"}').encode(), 422),
    "columns of other lengths": (b'{"device": "bad", "metric": ["a", "b"], "value": [1]}', 422),
    "columns without rows": (b'{"device": [], "metric": "m", "value": []}', 422),
    "columns with a value of NaN": (b'{"device": ["bad"], "metric": "m", "value": [NaN]}', 400),
    "columns with 2^63": (b'{"device": ["bad"], "metric": "m", "value": [9223372036854775808]}', 422),
    "columns with an empty name": (b'{"device": ["bad", ""], "metric": "m", "value": [1, 2]}', 422),
    "columns with a naive time": (
        b'{"device": ["bad"], "metric": "m", "value": [1], "time": ["2026-01-01T00:00:00"]}',
        422,
    ),
    "100,001 readings": (b'[{"name":"bad","value":1}' + b',{"name":"bad","value":1}' * 100_000 + b"]", 413),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_wrong(name: str, up: Up) -> None:
    body, status = BODIES[name]
    for path in ("/telemetry", "/ingest"):
        got, head, answer = up.ask("POST", path, body, JSON)
        assert got == status, answer
        assert head["Content-Type"] == "application/problem+json"
        assert len(answer) < 2000
        problem = json.loads(answer)
        assert len(problem["detail"]) > 10
        assert not {"traceback", "pyarrow", "msgspec"} & set(problem["detail"].lower().split())


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/csv"}, 415),
        ({"Content-Type": "application/xml"}, 415),
        ({"Content-Type": "application/vnd.apache.arrow.stream"}, 400),
        ({"Content-Type": "application/vnd.sonde.uplink"}, 415),
        ({"Content-Encoding": "br"}, 415),
        ({"Content-Encoding": "gzip"}, 400),
        ({"Content-Encoding": "zstd"}, 400),
        ({"Idempotency-Key": ""}, 422),
        ({"Idempotency-Key": "a" * 300}, 422),
        ({"Idempotency-Key": "a\x7fb"}, 400),
        ({"Authorization": "Bearer sonde_aaaaaaaa_bbbb_cccc"}, 401),
        ({"Authorization": "Basic dTpw"}, 401),
        ({"Authorization": "Bearer "}, 401),
    ],
)
def test_headers_that_are_wrong(headers: dict[str, str], status: int, up: Up) -> None:
    got, head, answer = up.ask("POST", "/telemetry", GOOD.encode(), {**JSON, **headers})
    assert got == status, answer
    assert head["Content-Type"] == "application/problem+json"
    if status == 415:
        assert b"application/json" in answer or b"gzip" in answer, "it does not say what is understood"
    if status == 401:
        assert head["WWW-Authenticate"].startswith("Bearer")
