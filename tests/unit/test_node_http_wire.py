"""The node's end of the wire over HTTP, against servers that misbehave in every way there is."""

import asyncio
import inspect
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import urllib3

from sonde.errors import (
    Conflict,
    Forbidden,
    Hold,
    Invalid,
    Reject,
    Retry,
    SondeError,
    Throttled,
    TooLarge,
    Unauthenticated,
)
from sonde.ports import Intake, StreamId
from sonde.testing.wire_contract import LIVE, NODE, Connect, ScriptedIntake, WireContract, outgoing
from sonde.transport.uplink_wire import CONTENT_TYPE, LENGTH, HttpWire, pack, unpack

Handle = Callable[[socket.socket], None]


class Server:
    """Accepts connections on loopback and leaves each to ``handle``, in a thread of its own."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._connections.append(connection)
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            self._handle(connection)
        except OSError:
            pass  # the node hung up, which is its right
        finally:
            connection.close()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for connection in self._connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in self._threads:
            thread.join()


def receive(connection: socket.socket) -> tuple[dict[str, str], bytes] | None:
    """One request: its headers and body; None when the other side has hung up."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return None
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    while len(body) < int(headers["Content-Length"]):
        body += connection.recv(65536)
    return headers, body


def answer(status: int, body: object = None, **headers: str) -> bytes:
    text = json.dumps(body).encode() if body is not None else b""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(text)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + text


def always(response: bytes) -> Handle:
    def handle(connection: socket.socket) -> None:
        while receive(connection) is not None:
            connection.sendall(response)

    return handle


def send(url: str, **options: float) -> int:
    wire = HttpWire(url, "secret-token", **{"timeout": 5.0, "connect_timeout": 5.0, **options})  # type: ignore[arg-type]
    try:
        return wire.send(LIVE, 0, [outgoing(1)])
    finally:
        wire.close()


@pytest.fixture
def serve() -> Iterator[Callable[[Handle], str]]:
    servers: list[Server] = []

    def make(handle: Handle) -> str:
        servers.append(Server(handle))
        return servers[-1].url

    yield make
    for server in servers:
        server.close()


_STATUS: dict[type[SondeError], int] = {
    Throttled: 429,
    Retry: 503,
    Unauthenticated: 401,
    Forbidden: 403,
    TooLarge: 413,
    Conflict: 409,
    Invalid: 422,
}


def intake_over_http(intake: Intake) -> Handle:
    """The smallest server that speaks the node's wire."""

    def handle(connection: socket.socket) -> None:
        while (request := receive(connection)) is not None:
            headers, body = request
            assert headers["Content-Type"] == CONTENT_TYPE
            try:
                message = unpack(body, headers[LENGTH])
                taking = intake.uplink(NODE, message.stream, message.confirmed, message.entries)
                connection.sendall(answer(200, {"durable_seq": asyncio.run(taking)}))
            except SondeError as error:
                extra = {"Retry_After": f"{error.after:.0f}"} if isinstance(error, Retry) and error.after else {}
                known = {"known_seq": error.known} if isinstance(error, Conflict) else {}
                connection.sendall(answer(_STATUS[type(error)], {"detail": str(error), **known}, **extra))

    return handle


class TestHttp(WireContract):
    @pytest.fixture
    def connect(self, serve: Callable[[Handle], str]) -> Iterator[Connect]:
        wires: list[HttpWire] = []

        def connect(intake: Intake) -> HttpWire:
            wires.append(HttpWire(serve(intake_over_http(intake)), "secret"))
            return wires[-1]

        yield connect
        for wire in wires:
            wire.close()


@pytest.mark.parametrize("status", [*range(201, 209), *range(300, 309), *range(400, 452), *range(500, 512)])
def test_mistake_08_every_status_means_one_thing(serve: Callable[[Handle], str], status: int) -> None:
    """Only what may succeed later is tried again; nothing that speaks of the way, not of the entry, is a dead letter."""
    with pytest.raises(SondeError) as raised:
        send(serve(always(answer(status, {"detail": "why"}))))
    error = raised.value
    if status in {408, 429, 502, 503, 504}:
        assert isinstance(error, Retry)
    elif status == 413:
        assert isinstance(error, TooLarge)
    elif status == 409:
        assert isinstance(error, Conflict)
    elif status in {400, 415, 422}:
        assert isinstance(error, Reject)
    elif status in {401, 403, 404, 405} or not 400 <= status < 500:
        assert isinstance(error, Hold)
    else:
        assert isinstance(error, Hold | Reject)
    assert "why" in str(error) or status in {204, 304}, "but for those that have no body"


@pytest.mark.parametrize(
    ("given", "low", "high"),
    [
        ("7", 7, 7),
        ("0", 0, 0),
        ("999999999", 3600, 3600),
        (timedelta(seconds=90), 60, 91),
        (timedelta(days=-1), 0, 0),
        ("soon", None, None),
        ("-5", None, None),
    ],
)
def test_retry_after_is_a_number_or_a_date(
    serve: Callable[[Handle], str], given: str | timedelta, low: float | None, high: float | None
) -> None:
    text = given if isinstance(given, str) else format_datetime(datetime.now(UTC) + given, usegmt=True)
    with pytest.raises(Retry) as raised:
        send(serve(always(answer(429, Retry_After=text))))
    after = raised.value.after
    if low is None or high is None:
        assert after is None
    else:
        assert after is not None
        assert low <= after <= high


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(Retry, match="refused"):
        send(f"http://127.0.0.1:{port}")


def test_no_such_host() -> None:
    with pytest.raises(Retry):
        send("http://nowhere.invalid")


def reset(connection: socket.socket) -> None:
    connection.recv(10)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def half_open(connection: socket.socket) -> None:
    receive(connection)
    connection.recv(1)  # nothing comes until the node gives up


def cut_off(connection: socket.socket) -> None:
    receive(connection)
    connection.sendall(answer(200, {"durable_seq": 1})[:-4])


def drip(connection: socket.socket) -> None:
    receive(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        connection.sendall(b"x")
        threading.Event().wait(0.05)


def endless(connection: socket.socket) -> None:
    receive(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(b"x" * 65536)


def not_http(connection: socket.socket) -> None:
    receive(connection)
    connection.sendall(b"220 mail.example.org ESMTP\r\n")


def bad_chunks(connection: socket.socket) -> None:
    receive(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nnonsense")


def bad_gzip(connection: socket.socket) -> None:
    receive(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope")


@pytest.mark.parametrize("handle", [reset, half_open, cut_off, drip, endless, not_http, bad_chunks, bad_gzip])
def test_a_connection_that_fails_is_tried_again(serve: Callable[[Handle], str], handle: Handle) -> None:
    with pytest.raises(Retry) as raised:
        send(serve(handle), timeout=0.5)
    assert "secret-token" not in str(raised.value)


def test_a_page_that_is_no_sink_is_not_a_receipt(serve: Callable[[Handle], str]) -> None:
    """As the sign-in page of a hotel's network."""
    page = b"<html>Welcome</html>"
    with pytest.raises(Hold):
        send(serve(always(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(page), page))))
    with pytest.raises(Hold):
        send(serve(always(answer(200, {"durable_seq": "one"}))))


def test_a_connection_is_kept_and_a_closed_one_replaced(serve: Callable[[Handle], str]) -> None:
    connections: list[int] = []

    def two_each(connection: socket.socket) -> None:
        connections.append(0)
        for _ in range(2):
            if receive(connection) is None:
                return
            connections[-1] += 1
            connection.sendall(answer(200, {"durable_seq": 1}))

    wire = HttpWire(serve(two_each), "t")
    sent = 0
    while sent < 6:
        try:
            wire.send(LIVE, 0, [outgoing(1)])
            sent += 1
        except Retry:
            continue  # the server closed just then; the uplink does the same
    wire.close()
    assert connections == [2, 2, 2]


def test_a_refusal_before_the_body_was_read_arrives(serve: Callable[[Handle], str]) -> None:
    """413 before 3 MB have been sent: the node learns that it was too large, or tries again with less."""

    def refuse(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(answer(413, {"detail": "limit"}, Connection="close"))

    wire = HttpWire(serve(refuse), "t")
    noise = b"".join(hash((i, "x")).to_bytes(8, "big", signed=True) for i in range(400_000))
    with pytest.raises((TooLarge, Retry)):
        wire.send(LIVE, 0, [outgoing(1, noise)])
    wire.close()


@pytest.mark.parametrize("url", ["", "nonsense", "ftp://host", "http://", "http://[::1", "http://host:99999999"])
def test_an_address_that_is_none_says_so(url: str) -> None:
    with pytest.raises(Hold, match="address"):
        HttpWire(url, "t")


def _exceptions() -> list[type[urllib3.exceptions.HTTPError]]:
    found = inspect.getmembers(urllib3.exceptions, inspect.isclass)
    return [kind for _, kind in found if issubclass(kind, urllib3.exceptions.HTTPError)]


@pytest.mark.parametrize("kind", _exceptions())
def test_every_exception_of_the_driver_is_mapped(
    monkeypatch: pytest.MonkeyPatch, kind: type[urllib3.exceptions.HTTPError]
) -> None:
    bare = type(kind.__name__, (kind,), {"__init__": Exception.__init__, "__repr__": object.__repr__})

    def fail(*_: object, **__: object) -> None:
        raise bare

    monkeypatch.setattr(urllib3.HTTPConnectionPool, "urlopen", fail)
    with pytest.raises(Retry):
        send("http://127.0.0.1:1")


def test_what_was_packed_is_unpacked() -> None:
    entries = [outgoing(1, b"a"), outgoing(2, until=7), outgoing(8)]
    body, length = pack(LIVE, 0, entries)
    message = unpack(body, str(length))
    assert (message.stream, message.confirmed, message.entries) == (LIVE, 0, entries)


@pytest.mark.parametrize("length", [None, "", "x", "-1", "0", "17", "1e3"])
def test_a_length_that_is_wrong_is_invalid(length: str | None) -> None:
    body, _ = pack(LIVE, 0, [outgoing(1)])
    with pytest.raises(Invalid):
        unpack(body, length)


def test_a_message_above_the_limit_is_too_large() -> None:
    body, length = pack(LIVE, 0, [outgoing(1, bytes(10_000))])
    with pytest.raises(TooLarge, match="9000"):
        unpack(body, length, 9000)


@pytest.mark.parametrize(
    "entries",
    [[], [outgoing(0)], [outgoing(1), outgoing(3)], [outgoing(2), outgoing(1)], [outgoing(5, until=4)]],
)
def test_entries_that_do_not_follow_each_other_are_invalid(entries: list[object]) -> None:
    body, length = pack(LIVE, 0, entries)  # type: ignore[arg-type]
    with pytest.raises(Invalid):
        unpack(body, length)


def test_changed_bytes_are_invalid_or_still_a_message() -> None:
    body, length = pack(StreamId("a" * 16, 2), 0, [outgoing(1, b"x" * 300), outgoing(2)])
    for place in range(len(body)):
        for bit in range(8):
            changed = bytearray(body)
            changed[place] ^= 1 << bit
            try:
                unpack(bytes(changed), length)
            except Invalid:
                continue


def test_mistake_06_the_identity_is_on_the_wire() -> None:
    body, length = pack(LIVE, 4, [outgoing(5)])
    message = unpack(body, length)
    assert (message.epoch, message.lane, message.entries[0].seq) == (LIVE.epoch, LIVE.lane, 5)
    assert len(message.entries[0].digest) == 16


def test_a_scripted_intake_answers_in_order() -> None:
    intake = ScriptedIntake([3, Retry("later")])
    assert asyncio.run(intake.uplink(NODE, LIVE, 0, [outgoing(1)])) == 3
    with pytest.raises(Retry):
        asyncio.run(intake.uplink(NODE, LIVE, 0, [outgoing(1)]))
    assert asyncio.run(intake.uplink(NODE, LIVE, 0, [outgoing(1)])) == 1
