"""Clients that speak HTTP badly, or too cleverly: no request out of what another carried, no door left open, no connection
kept for ever."""

import contextlib
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.road import Up, wait_for
from tests.integration.raw import ask, head, raw, status_of

TIMES = ("--set", "server.header_timeout=1s", "--set", "server.body_timeout=2s")
GOOD = b'{"device": "d", "metric": "m", "value": 1}'


@pytest.fixture(scope="module", params=["plain", "tls"])
def up(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with Up(
        tmp_path_factory.mktemp("http"), "--no-host", "--no-simulator", *TIMES, tls=request.param == "tls"
    ) as running:
        yield running
        assert "Traceback" not in running.said(), running.said()[-3000:]
        assert running.stop() == 0


def test_requests_one_after_another_without_waiting(up: Up) -> None:
    """Each gets its own answer, in order."""
    bodies = [b'{"device": "pipe", "metric": "m", "value": %d}' % i for i in range(50)]
    bodies[7] = b"nonsense"
    requests = b"".join(head(up, len(body)) + body for body in bodies)
    answers = ask(up, requests + head(up, None, "Connection: close", method="GET", path="/health/live"))
    statuses = [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answers)]
    assert statuses == [202] * 7 + [400] + [202] * 42 + [200]
    up.wait_until_all_is_stored()
    assert up.sql("select count(*) from readings where device = 'pipe'") == [[49]]


@pytest.mark.parametrize("rest", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nA: " + b"a" * 50_000 + b"\r\n\r\n"])
def test_nonsense_behind_a_request_is_not_its_answer(rest: bytes, up: Up) -> None:
    answers = ask(up, 3 * (head(up, len(GOOD)) + GOOD) + rest)
    statuses = [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answers)]
    assert statuses[:3] == [202, 202, 202]
    assert set(statuses[3:]) <= {400, 431}, answers[-500:]


def test_more_requests_at_once_than_may_wait(up: Up) -> None:
    """The first of them are answered, and then the connection is closed; memory does not grow with what was sent."""
    before = up.memory
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            connection = stack.enter_context(raw(up))
            connection.settimeout(0.3)
            with contextlib.suppress(OSError):
                for _ in range(20):
                    connection.sendall(head(up, None, method="GET", path="/openapi.json") * 5000)
        assert up.memory < before + (60 << 20)
    answers = ask(up, (head(up, len(GOOD)) + GOOD) * 500)
    statuses = [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answers)]
    assert set(statuses) == {202}
    assert 50 < len(statuses) < 300


def test_old_and_foreign_protocols(up: Up) -> None:
    old = (
        f"POST /telemetry HTTP/1.0\r\nAuthorization: Bearer {up.token}\r\nContent-Length: {len(GOOD)}\r\n\r\n".encode()
    )
    answer = ask(up, old + GOOD)
    assert status_of(answer) == 202
    for nonsense in (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"\r\n\r\n\r\n",
        b"GET /\r\n\r\n",
        b"\x00" * 1000,
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
    ):
        begun = time.monotonic()
        answer = ask(up, nonsense)
        assert not answer or status_of(answer) in {400, 408, 421, 505}, (nonsense, answer)
        assert time.monotonic() - begun < 4


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: 10", "Content-Length: 11"],
        ["Content-Length: 42", "Transfer-Encoding: chunked"],
        ["Content-Length: -1"],
        ["Content-Length: +42"],
        ["Content-Length: 4 2"],
        ["Content-Length: 0x2a"],
        ["Transfer-Encoding: chunked, identity"],
        ["Transfer-Encoding: gzip"],
        ["Transfer-Encoding : chunked"],
        [" Transfer-Encoding: chunked"],
        ["X\x00Y: 1"],
    ],
)
def test_lengths_that_two_readers_would_read_differently(lines: list[str], up: Up) -> None:
    """Never a second request out of what the first one carried."""
    smuggled = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = ask(up, head(up, None, *lines) + b"0\r\n\r\n" + smuggled)
    assert len(re.findall(rb"HTTP/1\.1 \d{3} ", answer)) <= 1, answer
    assert not answer or 400 <= status_of(answer) < 500


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "a b", "[::1"]
)
def test_another_host_is_refused_where_browsers_could_be_led_here(host: str, up: Up) -> None:
    request = f"GET /devices HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {up.token}\r\nConnection: close\r\n\r\n"
    assert status_of(ask(up, request.encode())) in {400, 403, 421}


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW"])
@pytest.mark.parametrize("path", ["/telemetry", "/ingest", "/uplink"])
def test_other_methods_where_readings_come_in(path: str, method: str, up: Up) -> None:
    answer = ask(up, head(up, len(GOOD), "Connection: close", method=method, path=path) + GOOD)
    assert status_of(answer) in ({400, 405} if method in {"CONNECT", "BREW"} else {405})
    if status_of(answer) == 405:
        assert b"allow: post" in answer.lower()


def test_hanging_up_at_every_place(up: Up) -> None:
    """In the middle of anything; nothing half is stored, and nothing is left open."""
    request = head(up, 4 * len(GOOD)) + b"[" + GOOD
    for end in range(0, len(request), 7):
        with raw(up) as connection:
            connection.sendall(request[:end])
    wait_for(lambda: json.loads(up.request("GET", "/health")[1])["active_connections"] <= 2, "connections being closed")


def test_a_page_in_a_browser_cannot_write_where_older_clients_may(tmp_path: Path) -> None:
    """A page elsewhere may send a body without a type to this machine, and needs no answer for its harm."""
    with Up(tmp_path, "--no-host", "--no-simulator", "--set", "auth.anonymous_scopes=ingest, read") as up:
        up.token, token = "", up.token
        assert up.request("POST", "/telemetry", GOOD)[0] == 202
        for origin in ("https://evil.example", "null", f"http://127.0.0.1:{up.port}"):
            for path in ("/telemetry", "/ingest"):
                assert up.request("POST", path, GOOD, {"Origin": origin})[0] == 403
        assert up.request("POST", "/telemetry", GOOD, {"Origin": "null", "Authorization": f"Bearer {token}"})[0] == 202
        assert up.request("GET", "/devices", None, {"Host": "evil.example"})[0] == 421
        assert up.stop() == 0


def test_more_connections_than_it_takes(tmp_path: Path) -> None:
    """The one too many is told so, and gets in when another has gone."""
    with Up(tmp_path, "--no-host", "--no-simulator", "--set", "server.max_connections=20") as up:
        with contextlib.ExitStack() as stack:
            many = [stack.enter_context(raw(up)) for _ in range(20)]
            for connection in many:
                connection.sendall(b"GET / HTTP/1.1\r\n")
            status, headers, _ = up.ask("GET", "/health/live")
            assert (status, headers["Retry-After"]) == (503, "5")
        wait_for(lambda: up.request("GET", "/health/live")[0] == 200, "being let in again")
        assert up.stop() == 0
