"""The sink over HTTP, plain and through TLS: statuses and headers as promised, and clients that mean no good."""

import asyncio
import contextlib
import gzip
import hashlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from sonde.access import Access
from sonde.clock import SECOND, SystemClock
from sonde.control.memory import MemoryControl
from sonde.entry import EntryKind, Lane
from sonde.errors import Conflict, Hold, Retry
from sonde.frame import Codec, Opener
from sonde.keyring import KeyRing
from sonde.log.memory import MemoryLog
from sonde.log.segments import SegmentLog
from sonde.metrics import Metrics
from sonde.ports import Credential, Log, Outgoing, StreamId
from sonde.reading import Batch, Reading, encode
from sonde.sink.limits import Limits
from sonde.sink.sink import Sink
from sonde.token import Token
from sonde.transport.clocks import NodeClocks
from sonde.transport.guard import Guard
from sonde.transport.http import App, Receive, Scope, Send, TelemetryApp
from sonde.transport.serving import Server, serve
from sonde.transport.tls import ClientTls, server_context
from sonde.transport.uplink_wire import HttpWire
from tests.certificates import Authorities, trusting
from tests.crash.road import wait_for

RING = KeyRing.generate()
READING = b'{"device":"d","metric":"m","value":1.5,"time":"2026-01-01T00:00:00Z"}'
PROBLEM = "application/problem+json"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        assert self.headers["content-type"] == PROBLEM
        said: dict[str, Any] = json.loads(self.body)
        assert said["status"] == self.status
        assert said["detail"]
        return said


class Running:
    """A sink behind a server, in a thread of its own; it speaks TLS while ``world`` is there."""

    world: ClassVar[Authorities | None] = None

    def __init__(
        self,
        *,
        log: Log | None = None,
        limits: Limits | None = None,
        guard: Guard | None = None,
        otherwise: App | None = None,
        **options: int,
    ) -> None:
        clock = SystemClock()
        self.control = MemoryControl(clock)
        self.metrics = Metrics()
        self.log = log or MemoryLog()
        access = Access(self.control, clock, metrics=self.metrics)
        self.sink = Sink(
            self.log, RING, Codec.AES_GCM, access, clock=clock, metrics=self.metrics, limits=limits or Limits()
        )
        clocks = NodeClocks(clock, self.metrics)
        app = TelemetryApp(self.sink, otherwise, metrics=self.metrics, clocks=clocks, **options)
        tls = server_context(self.world.server()) if self.world else None
        self.server: Server = serve(app, "127.0.0.1", 0, guard=guard or Guard(), tls=tls, metrics=self.metrics)
        self.port, self.url = self.server.port, self.server.url
        self._trust = trusting(self.world.ca) if self.world else None
        self._thread = threading.Thread(target=lambda: asyncio.run(self.server.run_until_stopped()))
        self._thread.start()
        self.token = self.make_token()

    def make_token(self, *scopes: str, devices: Sequence[str] = (), node: str = "") -> str:
        token = Token.make()
        made = Credential(token.id, token.id, frozenset(scopes or ("ingest",)), tuple(devices), node)
        self.control.create_token(made, token.digest)
        return token.text

    def close(self) -> None:
        self.server.stop()
        self._thread.join(15)
        assert not self._thread.is_alive()
        self.sink.close()

    def post(self, body: Any = READING, path: str = "/telemetry", method: str = "POST", **headers: str) -> Answer:
        connection = self.connection()
        given = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, {k: v for k, v in given.items() if v}, encode_chunked=False)
        response = connection.getresponse()
        answer = Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        connection.close()
        return answer

    def connection(self) -> http.client.HTTPConnection:
        if self._trust is None:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10, context=self._trust)

    def connect(self) -> socket.socket:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        return self._trust.wrap_socket(plain, server_hostname="127.0.0.1") if self._trust else plain

    def wire(self, token: str) -> HttpWire:
        return HttpWire(self.url, token, tls=ClientTls(self.world.ca) if self.world else None)

    def readings(self) -> list[Reading]:
        opener = Opener(RING)
        frames = [opener.open(r.frame) for r in self.log.read(0, 0, 1 << 30)]
        return [r for f in frames if f.body.batch is not None for r in f.body.batch.readings()]


@contextlib.contextmanager
def running(**options: Any) -> Iterator[Running]:
    server = Running(**options)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture(scope="module", autouse=True, params=["plain", "tls"])
def speech(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Every test here runs over plain HTTP and through TLS."""
    Running.world = Authorities.make(tmp_path_factory.mktemp("tls")) if request.param == "tls" else None
    yield
    Running.world = None


@pytest.fixture(scope="module")
def shared(speech: None) -> Iterator[Running]:
    with running() as server:
        yield server


def everything(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            data += piece
    return data


# -- statuses


@pytest.mark.parametrize("path", ["/telemetry", "/ingest"])
def test_accepted(shared: Running, path: str) -> None:
    before = len(shared.readings())
    answer = shared.post(path=path)
    assert (answer.status, json.loads(answer.body)) == (202, {"status": "accepted", "accepted": 1})
    assert answer.headers["content-type"] == "application/json"
    assert len(shared.readings()) == before + 1


def test_a_problem_names_the_reading_and_the_field(shared: Running) -> None:
    problem = shared.post(b"[%s,%s]" % (READING, READING.replace(b"1.5", b"null"))).problem
    assert (problem["status"], problem["index"], problem["field"]) == (422, 1, "value")
    problem = shared.post(b"[%s,{" % READING).problem
    assert (problem["status"], problem["index"]) == (400, 1)


@pytest.mark.parametrize("token", ["", "Bearer nonsense", "Basic dTpw", "Bearer", "Bearer sonde_a_b_c"])
def test_without_a_right_token(shared: Running, token: str) -> None:
    answer = shared.post(Authorization=token)
    assert answer.problem["status"] == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_forbidden(shared: Running) -> None:
    assert shared.post(Authorization=f"Bearer {shared.make_token('read')}").problem["status"] == 403
    answer = shared.post(Authorization=f"bearer {shared.make_token('ingest', devices=['x-*'])}")
    assert answer.problem["status"] == 403
    assert "'d'" in answer.problem["detail"]


def test_too_large_before_it_is_sent(shared: Running) -> None:
    with shared.connect() as connection:
        head = f"POST /telemetry HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {shared.token}\r\n"
        connection.sendall(head.encode() + b"Content-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n")
        answer = everything(connection)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer
    assert str(Limits().body_bytes).encode() in answer


def test_too_large_in_pieces() -> None:
    with running(body_bytes=10_000) as server:
        pieces = (b" " * 1_000 for _ in range(20))
        answer = _chunked(server, pieces)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert server.post(b" " * 10_001).problem["status"] == 413


def _chunked(server: Running, pieces: Iterator[bytes]) -> bytes:
    with server.connect() as connection:
        head = f"POST /telemetry HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\nConnection: close\r\n"
        connection.sendall(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
            connection.sendall(b"0\r\n\r\n")
        return everything(connection)


def test_mistake_12_a_chunked_body_is_taken(shared: Running) -> None:
    body = b"[" + b",".join([READING] * 100) + b"]"
    answer = _chunked(shared, (body[i : i + 777] for i in range(0, len(body), 777)))
    assert answer.startswith(b"HTTP/1.1 202 ")
    assert answer.endswith(b'{"status":"accepted","accepted":100}')


def test_mistake_12_a_chunked_body_above_the_capacity_is_taken_when_the_budget_is_whole() -> None:
    body = b"[" + b",".join([READING] * 100) + b"]"
    with running(limits=Limits(bytes_per_second=10, burst_bytes=1_000)) as server:
        assert _chunked(server, iter([body])).startswith(b"HTTP/1.1 202 ")
        again = _chunked(server, iter([body]))
        assert again.startswith(b"HTTP/1.1 429 ")
        assert b"retry-after: " in again


def test_over_the_budget() -> None:
    with running(limits=Limits(token_bytes_per_second=10, token_burst_bytes=100)) as server:
        assert server.post().status == 202
        answer = server.post()
        assert answer.problem["status"] == 429
        assert 1 <= int(answer.headers["retry-after"]) <= 10
        assert len(server.readings()) == 1


@pytest.mark.parametrize("headers", [{"Content_Type": "text/csv"}, {"Content_Encoding": "br"}])
def test_not_understood(shared: Running, headers: dict[str, str]) -> None:
    answer = shared.post(**headers)
    assert answer.problem["status"] == 415
    assert "There are" in answer.problem["detail"] or "Send gzip" in answer.problem["detail"]


def test_compressed(shared: Running) -> None:
    assert shared.post(gzip.compress(READING), Content_Encoding="gzip").status == 202


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH", "HEAD"])
@pytest.mark.parametrize("path", ["/telemetry", "/ingest", "/uplink"])
def test_other_methods(shared: Running, method: str, path: str) -> None:
    answer = shared.post(path=path, method=method)
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


def test_the_rest_goes_on() -> None:
    async def otherwise(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"hi"})

    with running(otherwise=otherwise) as server:
        assert server.post(path="/health", method="GET").body == b"hi"
        assert server.post().status == 202
    with running() as server:
        assert server.post(path="/health", method="GET").problem["status"] == 404


class FullLog(MemoryLog):
    """Its disk is full until told otherwise."""

    full = True

    def append(self, partition: int, frames: Sequence[bytes]) -> int:
        if self.full:
            raise Retry("the disk is full", hint="Free some space", after=12.0)
        return super().append(partition, frames)


def test_mistake_10_a_full_disk_is_never_accepted() -> None:
    log = FullLog()
    with running(log=log) as server:
        answer = server.post()
        assert answer.problem["status"] == 503
        assert answer.headers["retry-after"] == "12"
        assert server.readings() == []
        log.full = False
        assert server.post().status == 202


def test_shutting_down_is_503() -> None:
    with running() as server:
        server.sink.stop()
        answer = server.post()
        assert answer.problem["status"] == 503
        assert "retry-after" in answer.headers


def test_mistake_20_no_surprise_is_a_500(shared: Running) -> None:
    for body in (b'{"device":"d","metric":"m","value":NaN}', b'{"device":"\\ud800"}', b"\xff\xfe", b"[" * 5000, b"nul"):
        assert shared.post(body).problem["status"] in (400, 422)
    for length in ("-1", "abc", "1e3", ""):
        assert shared.post(b"", Content_Length=length).status in (400, 422)


def test_an_idempotency_key_travels(shared: Running) -> None:
    assert shared.post(Idempotency_Key="once").status == 202
    assert shared.post(Idempotency_Key="x" * 300).problem["field"] == "Idempotency-Key"


def test_requests_are_counted() -> None:
    with running() as server:
        server.post()
        server.post()
        labels = {"route": "/telemetry", "status": "202"}
        count = server.metrics.registry.get_sample_value
        wait_for(lambda: count("sonde_sink_requests_total", labels) == 2, "both being counted, each after its answer")


def test_many_connections_at_once_into_files(tmp_path: Path) -> None:
    log = SegmentLog(tmp_path / "log")
    with running(log=log) as server:

        def work(number: int) -> None:
            connection = server.connection()
            headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
            for i in range(20):
                body = json.dumps({"device": f"d{number}", "metric": "m", "value": i, "time": 1_767_225_600 + i})
                connection.request("POST", "/telemetry", body, headers)
                response = connection.getresponse()
                assert (response.status, response.read()) == (202, b'{"status":"accepted","accepted":1}')
            connection.close()

        threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = {(r.device, r.value) for r in server.readings()}
        assert len(server.readings()) == len(found) == 320
        assert log.ends()[0][1] < 320
    log.close()


# -- nodes


def _outgoing(seq: int, rows: int = 2) -> Outgoing:
    content = encode(Batch.of(Reading(device="d", metric="m", time=seq * SECOND, value=float(i)) for i in range(rows)))
    return Outgoing(EntryKind.READINGS, seq, seq, rows, seq * rows, _digest(content), content)


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()[:16]


def test_a_node_over_http() -> None:
    with running() as server:
        wire = server.wire(server.make_token("ingest", node="attic"))
        stream = StreamId("epoch-1", Lane.LIVE)
        assert wire.send(stream, 0, [_outgoing(1), _outgoing(2)]) == 2
        with pytest.raises(Conflict) as refused:
            wire.send(stream, 2, [_outgoing(4)])
        assert refused.value.known == 2
        large = [_outgoing(seq, 5_000) for seq in range(3, 10)]
        assert wire.send(stream, 2, [Outgoing(*_counted(o, i)) for i, o in enumerate(large)]) == 9
        assert len(server.readings()) == 4 + 35_000
        wire.close()
        stranger = server.wire(server.token)
        with pytest.raises(Hold, match="no node"):
            stranger.send(stream, 0, [_outgoing(1)])
        stranger.close()


def _counted(entry: Outgoing, index: int) -> tuple[Any, ...]:
    return (entry.kind, entry.seq, entry.until, entry.readings, 4 + 5_000 * (index + 1), entry.digest, entry.content)


def test_what_is_no_message_of_a_node(shared: Running) -> None:
    assert shared.post(path="/uplink").problem["status"] == 415
    headers = {"Content_Type": "application/vnd.sonde.uplink", "Content_Encoding": "zstd"}
    assert shared.post(b"junk", "/uplink", **headers).problem["status"] == 400
    assert shared.post(b"junk", "/uplink", Sonde_Length="5", **headers).problem["status"] == 400
    assert shared.post(b"junk", "/uplink", Sonde_Length="999999999", **headers).problem["status"] == 413


# -- clients that mean no good, or are slow

QUICK = Guard(header_seconds=0.6, body_seconds=0.6, idle_seconds=0.6, connections=10)


def drip(connection: socket.socket, data: bytes, seconds: float) -> None:
    """A byte every so often, until the other side has had enough."""
    end = time.monotonic() + seconds
    with contextlib.suppress(ConnectionError):
        for i in range(len(data)):
            connection.sendall(data[i : i + 1])
            if time.monotonic() > end or select_readable(connection, 0.05):
                return


def select_readable(connection: socket.socket, seconds: float) -> bool:
    connection.settimeout(seconds)
    try:
        return connection.recv(1, socket.MSG_PEEK) is not None
    except TimeoutError:
        return False
    finally:
        connection.settimeout(10)


def head(server: Running, *lines: str) -> bytes:
    token = f"Authorization: Bearer {server.token}"
    return "\r\n".join(["POST /telemetry HTTP/1.1", "Host: x", token, *lines, "", ""]).encode()


def test_headers_byte_by_byte() -> None:
    with running(guard=QUICK) as server, server.connect() as connection:
        start = time.monotonic()
        drip(connection, b"POST /telemetry HTTP/1.1\r\nX-Slow: " + b"a" * 1_000, 5)
        answer = everything(connection)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"headers" in answer
        assert time.monotonic() - start < 3
        assert server.post().status == 202


def test_a_body_byte_by_byte() -> None:
    with running(guard=QUICK) as server, server.connect() as connection:
        connection.sendall(head(server, "Content-Length: 1000"))
        drip(connection, b" " * 1_000, 5)
        answer = everything(connection)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"body" in answer
        assert server.readings() == []
        assert server.post().status == 202


def test_a_slow_second_request() -> None:
    with running(guard=QUICK) as server, server.connect() as connection:
        whole = head(server, f"Content-Length: {len(READING)}") + READING
        connection.sendall(whole)
        assert select_readable(connection, 5)
        drip(connection, b"POST /telemetry HTTP/1.1\r\nX-Slow: " + b"a" * 1_000, 5)
        answer = everything(connection)
        assert answer.startswith(b"HTTP/1.1 202 ")
        assert b"HTTP/1.1 408 " in answer


def test_idle_and_silent_connections_are_closed() -> None:
    with running(guard=QUICK) as server:
        with server.connect() as connection:
            assert everything(connection) == b""
        with server.connect() as connection:
            connection.sendall(head(server, f"Content-Length: {len(READING)}") + READING)
            assert everything(connection).startswith(b"HTTP/1.1 202 ")


def test_5_000_headers() -> None:
    with running() as server, server.connect() as connection:
        connection.sendall(head(server, *(f"X-{i}: y" for i in range(5_000))))
        answer = everything(connection)
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert b"100 headers" in answer


@pytest.mark.parametrize("size", [33 << 10, 10 << 20])
def test_large_headers(size: int) -> None:
    with running() as server, server.connect() as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(b"POST /telemetry HTTP/1.1\r\nX-Large: " + b"a" * size)
            connection.sendall(b"\r\n\r\n")
        answer = everything(connection)
        assert answer.startswith(b"HTTP/1.1 431 ") or (not answer and size > 1 << 20)
        assert server.post().status == 202


def test_as_many_headers_as_are_allowed(shared: Running) -> None:
    with shared.connect() as connection:
        length = f"Content-Length: {len(READING)}"
        connection.sendall(head(shared, "Connection: close", length, *(f"X-{i}: y" for i in range(96))) + READING)
        assert everything(connection).startswith(b"HTTP/1.1 202 ")


def test_a_long_url(shared: Running) -> None:
    with shared.connect() as connection:
        connection.sendall(b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        assert everything(connection).startswith(b"HTTP/1.1 414 ")


@pytest.mark.parametrize(
    "nonsense", [b"hello\r\n\r\n", b"\x16\x03\x01\x02\x00", b"GET /\xff HTTP/1.1\r\n\r\n", b"POST / HTTP/9\r\n\r\n"]
)
def test_what_is_not_http(shared: Running, nonsense: bytes) -> None:
    with shared.connect() as connection:
        connection.sendall(nonsense)
        answer = everything(connection)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert PROBLEM.encode() in answer


def test_too_many_connections() -> None:
    with running(guard=QUICK) as server:
        held = [server.connect() for _ in range(10)]
        with server.connect() as connection:
            answer = everything(connection)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after" in answer
        for connection in held:
            connection.close()
        deadline = time.monotonic() + 10
        while server.server.connections and time.monotonic() < deadline:
            threading.Event().wait(0.02)
        assert server.post().status == 202


def test_bodies_that_arrive_at_once_are_bounded() -> None:
    with running(arriving_bytes=200_000) as server:
        held = []
        for _ in range(2):
            connection = server.connect()
            connection.sendall(head(server, "Content-Length: 150000") + b" " * 140_000)
            held.append(connection)
        answers = b"".join(everything(c) for c in held if select_readable(c, 2))
        assert answers.startswith(b"HTTP/1.1 503 ")
        for connection in held:
            connection.close()


def test_a_client_that_hangs_up_in_the_middle(shared: Running) -> None:
    before = len(shared.readings())
    for cut in range(0, 300, 7):
        with shared.connect() as connection:
            connection.sendall((head(shared, f"Content-Length: {len(READING) + 100}") + READING)[:cut])
    assert shared.post().status == 202
    assert len(shared.readings()) == before + 1


def test_several_requests_in_one_packet(shared: Running) -> None:
    one = head(shared, f"Content-Length: {len(READING)}") + READING
    last = head(shared, "Connection: close", f"Content-Length: {len(READING)}") + READING
    with shared.connect() as connection:
        connection.sendall(one * 5 + last)
        assert everything(connection).count(b"HTTP/1.1 202 ") == 6


def test_an_answer_comes_in_one_piece(shared: Running) -> None:
    with shared.connect() as connection:
        connection.sendall(head(shared, f"Content-Length: {len(READING)}") + READING)
        assert connection.recv(65536).endswith(b'"accepted":1}')


def test_stopping_finishes_requests_under_way() -> None:
    server = Running()
    with server.connect() as connection:
        connection.sendall(head(server, f"Content-Length: {len(READING)}") + READING[:10])
        deadline = time.monotonic() + 5
        while not server.server.connections and time.monotonic() < deadline:
            threading.Event().wait(0.01)
        server.server.stop()
        with contextlib.suppress(ConnectionError):
            connection.sendall(READING[10:])
        answer = everything(connection)
    server.close()
    assert answer.startswith(b"HTTP/1.1 202 ") or answer == b""
    assert len(server.readings()) == (1 if answer else 0)


def test_a_port_that_is_taken() -> None:
    with running() as server, pytest.raises(Hold, match=str(server.port)):
        serve(TelemetryApp(server.sink), "127.0.0.1", server.port)
