"""Both ends of every downlink as a pair: what a node asks reaches the server, and what the server says reaches the node."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import cast

import pytest

from sonde.api.commands.dispatcher import Dispatcher
from sonde.clock import SystemClock
from sonde.command import Poll, Task, Tasks
from sonde.errors import Forbidden, Hold, Retry
from sonde.ports import Credential, Downlink, Store
from sonde.token import Token
from sonde.transport.downlink_wire import HttpDownlink
from sonde.transport.memory import MemoryDownlink
from tests.api_world import build, served

POLL = Poll("epoch", "session", 7)
TASKS = Tasks(8, "log", [Task("c1", "ü-lamp", "flash", {"to": [1, None]}, 59.5, begun=True)])
NODE = Credential("id", "edge", frozenset({"ingest"}), node="edge")


class Server:
    """The other end: answers as it is told, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Poll, float]] = []
        self.answer: Callable[[], Tasks] = lambda: TASKS
        self.hold = False
        self.cancelled = threading.Event()

    async def poll(self, who: Credential, poll: Poll, wait: float) -> Tasks:
        self.asked.append((poll, wait))
        try:
            if self.hold:
                await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return self.answer()


Open = Callable[[Server], contextlib.AbstractContextManager[Downlink]]


@contextlib.contextmanager
def in_memory(server: Server) -> Iterator[Downlink]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    downlink = MemoryDownlink(server, NODE, loop, patience=20.0)
    try:
        yield downlink
    finally:
        downlink.close()
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@contextlib.contextmanager
def listening(server: Server) -> Iterator[tuple[str, str]]:
    """The api with this server behind ``POST /downlink``: its address, and the token of a node."""

    def no_store() -> Store:
        raise Retry("there is no store here")

    house, token = build(no_store), Token.make()
    house.access.control.create_token(NODE, token.digest)
    house.app.state.parts = replace(house.app.state.parts, dispatcher=cast(Dispatcher, server))
    with served(house.app) as url:
        yield url, token.text


@contextlib.contextmanager
def over_http(server: Server) -> Iterator[Downlink]:
    with listening(server) as (url, token):
        downlink = HttpDownlink(url, token, patience=20.0, clock=SystemClock())
        try:
            yield downlink
        finally:
            downlink.close()


@pytest.fixture(params=[in_memory, over_http], ids=["memory", "http"])
def open_(request: pytest.FixtureRequest) -> Open:
    made: Open = request.param
    return made


def test_question_and_answer_arrive_whole(open_: Open) -> None:
    server = Server()
    with open_(server) as downlink:
        for _ in range(3):
            assert downlink.poll(POLL, 0.5) == TASKS
    assert server.asked == [(POLL, 0.5)] * 3


def test_a_node_that_is_not_allowed_must_wait_for_somebody(open_: Open) -> None:
    server = Server()

    def refuse() -> Tasks:
        raise Forbidden("this token belongs to no node")

    server.answer = refuse
    with open_(server) as downlink, pytest.raises(Hold, match="no node"):
        downlink.poll(POLL, 0.0)


def test_what_the_server_cannot_do_now_is_asked_again(open_: Open) -> None:
    server = Server()

    def away() -> Tasks:
        raise Retry("the store is being made again")

    server.answer = away
    with open_(server) as downlink:
        with pytest.raises(Retry, match="made again"):
            downlink.poll(POLL, 0.0)
        server.answer = lambda: TASKS
        assert downlink.poll(POLL, 0.0) == TASKS


def test_closing_ends_a_poll_that_waits(open_: Open) -> None:
    server = Server()
    server.hold = True
    with open_(server) as downlink:
        errors: list[BaseException] = []

        def ask() -> None:
            try:
                downlink.poll(POLL, 30.0)
            except Retry as error:
                errors.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        deadline = time.monotonic() + 30
        while not server.asked:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        downlink.close()
        asking.join(30)
        assert not asking.is_alive()
        assert len(errors) == 1
        assert server.cancelled.wait(30), "the server went on waiting for a node that has gone"


def test_an_address_that_is_none() -> None:
    for url in ("sonde", "ftp://x", "http://", ""):
        with pytest.raises(Hold):
            HttpDownlink(url, "token")


def test_nobody_there_and_somebody_else_there() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with pytest.raises(Retry):
        HttpDownlink(f"http://127.0.0.1:{port}", "token", patience=1.0).poll(POLL, 0.0)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Hold),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", Hold),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", Retry),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort", Retry),
        (b"no HTTP at all\r\n\r\n", Retry),
        (b"", Retry),
    ],
)
def test_answers_that_are_none(answer: bytes, error: type[Exception]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                for _ in range(2):
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(65536)
                        connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        downlink = HttpDownlink(f"http://127.0.0.1:{listener.getsockname()[1]}", "token", patience=10.0)
        with pytest.raises(error):
            downlink.poll(POLL, 0.0)
        downlink.close()


def test_a_connection_that_ended_meanwhile_is_made_again() -> None:
    server = Server()
    with listening(server) as (url, token):
        downlink = HttpDownlink(url, token, patience=20.0)
        assert downlink.poll(POLL, 0.0) == TASKS
        connection = downlink._connection
        assert connection is not None
        connection.sock.shutdown(socket.SHUT_RDWR)
        assert downlink.poll(POLL, 0.0) == TASKS
        downlink.close()
