"""Clients that are slow, greedy or malicious, against the real server: each is told what was wrong or cut off, others are
served meanwhile, and memory stays within its bounds (I6)."""

import contextlib
import gzip
import socket
import time
from collections.abc import Callable, Iterator

import pyarrow as pa
import pytest

from tests.crash.road import JSON, Up
from tests.integration.raw import answer_of, ask, head, raw, status_of

MEMORY = 600 << 20
TIMES = ("--set", "server.header_timeout=1s", "--set", "server.body_timeout=2s")
GOOD = b'{"device": "d", "metric": "m", "value": 1}'


@pytest.fixture(scope="module", params=["plain", pytest.param("tls", marks=pytest.mark.all)])
def up(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with Up(
        tmp_path_factory.mktemp("clients"), "--no-host", "--no-simulator", *TIMES, tls=request.param == "tls"
    ) as running:
        yield running
        assert running.stop() == 0


@pytest.fixture(autouse=True)
def still_serves(up: Up) -> Iterator[None]:
    """After whatever a client did: others are served, nothing of ours failed, and memory is bounded."""
    yield
    begun = time.monotonic()
    assert up.request("POST", "/telemetry", GOOD, JSON)[0] == 202
    assert up.request("GET", "/health/ready")[0] == 200
    assert time.monotonic() - begun < 2.0
    assert up.memory < MEMORY
    assert "Traceback" not in up.said(), up.said()[-3000:]


# -- slow


def drip(up: Up, first: bytes, rest: bytes) -> tuple[bytes, float]:
    """A byte now and then, for as long as the server bears it."""
    begun = time.monotonic()
    with raw(up) as connection:
        connection.sendall(first)
        connection.settimeout(0.05)
        for byte in rest:
            try:
                connection.send(bytes([byte]))
                got = connection.recv(1 << 16)
            except TimeoutError:
                continue
            except OSError:
                return b"", time.monotonic() - begun
            connection.settimeout(5)
            return got + (answer_of(connection) if got else b""), time.monotonic() - begun
    raise AssertionError("it was borne to the end")


def test_a_head_byte_by_byte(up: Up) -> None:
    answer, seconds = drip(up, b"POST /telemetry HTTP/1.1\r\nHost: localhost\r\n", b"X-Long: " + b"a" * 200)
    assert 0.5 < seconds < 3.5
    assert status_of(answer) == 408


def test_a_body_byte_by_byte(up: Up) -> None:
    answer, seconds = drip(up, head(up, 1000), b" " * 200)
    assert 1.5 < seconds < 5.0
    assert status_of(answer) == 408


def test_a_client_that_says_nothing(up: Up) -> None:
    begun = time.monotonic()
    with raw(up) as connection:
        assert connection.recv(100) == b""
    assert time.monotonic() - begun < 4


def test_a_client_that_never_reads(up: Up) -> None:
    """It is not read from either, so its answers do not pile up in memory."""
    with raw(up) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(1.0)
        request = head(up, None, method="GET", path="/openapi.json") * 1000
        with pytest.raises(TimeoutError):
            connection.sendall(request * 500)
        assert up.request("GET", "/health/live")[0] == 200
        assert up.memory < MEMORY


def test_three_hundred_slow_ones_harm_nobody(up: Up) -> None:
    with contextlib.ExitStack() as stack:
        slow = []
        for i in range(300):
            slow.append(stack.enter_context(raw(up)))
            slow[-1].sendall(head(up, 1000)[: 40 + i] if i % 2 else head(up, 1000) + b"[")
        begun = time.monotonic()
        for _ in range(20):
            assert up.request("POST", "/telemetry", GOOD, JSON)[0] == 202
        assert time.monotonic() - begun < 2.0
        statuses = {status_of(answer_of(connection)) for connection in slow}
    assert statuses == {408}


# -- greedy


def test_five_thousand_headers(up: Up) -> None:
    many = [f"X-{i}: {i}" for i in range(5000)]
    assert status_of(ask(up, head(up, len(GOOD), *many) + GOOD)) == 431
    few = [f"X-{i}: {i}" for i in range(101)]
    assert b"there are more than 100 headers" in ask(up, head(up, len(GOOD), *few) + GOOD)


@pytest.mark.parametrize("size", [33 << 10, 1 << 20])
def test_large_headers(size: int, up: Up) -> None:
    assert status_of(ask(up, head(up, len(GOOD), "X-Large: " + "a" * size) + GOOD)) == 431


def test_a_long_url(up: Up) -> None:
    assert status_of(ask(up, head(up, None, method="GET", path="/" + "a" * 9000))) == 414


def test_a_head_without_end(up: Up) -> None:
    assert status_of(ask(up, b"GET / HTTP/1.1\r\nX: " + b"a" * (10 << 20))) in {400, 431}
    assert status_of(ask(up, b"A" * (10 << 20))) in {400, 431}


def test_a_body_that_says_it_is_large_is_refused_before_it_comes(up: Up) -> None:
    answer = ask(up, head(up, 33 << 20) + b"[")
    assert status_of(answer) == 413
    assert b"33554432" in answer
    assert status_of(ask(up, head(up, 10**17))) == 413
    assert status_of(ask(up, head(up, 10**30))) == 400


def test_chunks_without_end(up: Up) -> None:
    with raw(up) as connection:
        connection.sendall(head(up, None, "Transfer-Encoding: chunked"))
        sent = 0
        with contextlib.suppress(OSError):
            while sent < 200 << 20:
                connection.sendall(b"100000\r\n" + b" " * (1 << 20) + b"\r\n")
                sent += 1 << 20
        assert 30 << 20 < sent < 60 << 20
        assert status_of(answer_of(connection)) == 413


def test_chunks_of_one_byte(up: Up) -> None:
    begun = time.monotonic()
    pieces = b"".join(b"1\r\n%c\r\n" % byte for byte in GOOD)
    whole = head(up, None, "Transfer-Encoding: chunked", "Connection: close") + pieces + b"0\r\n\r\n"
    assert status_of(ask(up, whole)) == 202
    endless = head(up, None, "Transfer-Encoding: chunked") + b"1\r\n \r\n" * 2_000_000
    assert status_of(ask(up, endless)) in {408, 413}
    assert time.monotonic() - begun < 20


def zstd(data: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(data, asbytes=True))


@pytest.mark.parametrize(("name", "compress"), [("gzip", gzip.compress), ("zstd", zstd)])
@pytest.mark.parametrize("size", [65 << 20, 512 << 20])
def test_bombs(size: int, name: str, compress: Callable[[bytes], bytes], up: Up) -> None:
    bomb = compress(b" " * size)
    assert len(bomb) < 1 << 20
    status, answer = up.request("POST", "/telemetry", bomb, {**JSON, "Content-Encoding": name})
    assert status == 413, answer
    assert str(64 << 20).encode() in answer
    twice = compress(bomb)
    assert up.request("POST", "/telemetry", twice, {**JSON, "Content-Encoding": f"{name}, {name}"})[0] == 415
    assert up.memory < MEMORY


@pytest.mark.parametrize("opening", [b"[", b'{"device":', b'{"device": "d", "metric": "m", "value": [', b'[{"value":'])
def test_nesting_of_a_hundred_thousand(opening: bytes, up: Up) -> None:
    for body in (opening * 100_000, opening + b"[" * 100_000 + b"]" * 100_000):
        status, answer = up.request("POST", "/telemetry", body, JSON)
        assert status in {400, 422}, answer
        assert len(answer) < 2000


@pytest.mark.parametrize("separator", ["array", "lines"])
def test_a_million_items(separator: str, up: Up) -> None:
    count = up.sql("select count(*) from readings where device = 'million'")
    item = b'{"device":"million","name":"a"}' if separator == "array" else b'{"name":"million","value":1}'
    body = b"[" + b",".join([item] * 1_000_000) + b"]" if separator == "array" else b"\n".join([item] * 1_000_000)
    media = "application/json" if separator == "array" else "application/x-ndjson"
    status, answer = up.request("POST", "/telemetry", body, {"Content-Type": media})
    assert status in {413, 422}, answer
    assert up.sql("select count(*) from readings where device = 'million'") == count


def test_many_large_bodies_at_once(up: Up) -> None:
    """What arrives at the same time is bounded too: some are told to come again, none harms the others."""
    with contextlib.ExitStack() as stack:
        many = [stack.enter_context(raw(up)) for _ in range(30)]
        for connection in many:
            connection.settimeout(10)
            with contextlib.suppress(OSError):
                connection.sendall(head(up, 31 << 20) + b" " * (20 << 20))
        assert up.memory < MEMORY
        assert up.request("POST", "/telemetry", GOOD, JSON)[0] == 202
        answers = [answer_of(connection) for connection in many]
    statuses = {status_of(answer) for answer in answers if answer}
    assert statuses <= {408, 503}
    assert 503 in statuses or up.tls, "the bound was never reached; through TLS they come too slowly for it"
    assert all(b"retry-after" in answer.lower() for answer in answers if b" 503 " in answer[:20])
