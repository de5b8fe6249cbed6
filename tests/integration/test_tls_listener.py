"""A listener that speaks TLS: what does not get through the handshake, certificates of nodes, new certificates under load."""

import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sonde.metrics import Metrics
from sonde.transport.guard import Guard
from sonde.transport.http import CERTIFICATE, Receive, Scope, Send
from sonde.transport.serving import Server, serve
from sonde.transport.tls import ClientTls, server_context
from tests.certificates import Authorities, long_ago, trusting
from tests.crash.road import wait_for
from tests.integration.raw import answer_of
from tests.integration.serving import served

CREDENTIAL = bytes(range(32))
ASKED = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


async def tell(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the scheme, and what the caller's certificate names."""
    shown = scope.get("extensions", {}).get(CERTIFICATE, {}).get("credential", b"")
    body = f"{scope['scheme']} {shown.hex()}".encode()
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def world(tmp_path: Path) -> Authorities:
    return Authorities.make(tmp_path)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@contextlib.contextmanager
def running(world: Authorities, metrics: Metrics, guard: Guard | None = None) -> Iterator[Server]:
    tls = server_context(world.server(), None, world.ca)
    with served(serve(tell, "127.0.0.1", 0, guard=guard or Guard(), tls=tls, metrics=metrics)) as server:
        yield server


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=30)


def ask(server: Server, context: ssl.SSLContext) -> str:
    connection = http.client.HTTPSConnection("localhost", server.port, timeout=30, context=context)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def refused(metrics: Metrics, reason: str) -> float:
    return metrics.registry.get_sample_value("sonde_tls_refused_total", {"reason": reason}) or 0.0


def test_what_a_caller_showed_is_told(world: Authorities, metrics: Metrics) -> None:
    with running(world, metrics) as server:
        assert server.url.startswith("https://127.0.0.1:")
        assert ask(server, trusting(world.ca)) == "https "
        shown = ClientTls(world.ca, world.node("attic", CREDENTIAL)).context()
        assert ask(server, shown) == f"https {CREDENTIAL.hex()}"


def test_a_certificate_of_a_node_that_has_ended_or_is_of_another_authority(
    world: Authorities, metrics: Metrics, tmp_path: Path
) -> None:
    other = Authorities.make(tmp_path / "other")
    with running(world, metrics) as server:
        for identity in (world.node("attic", CREDENTIAL, long_ago()), other.node("attic", CREDENTIAL)):
            context = trusting(world.ca)
            context.load_cert_chain(identity)
            assert not answers(server, context)
        wait_for(lambda: refused(metrics, "certificate") == 2, "both being counted")
        assert ask(server, trusting(world.ca)) == "https "


def test_a_servers_certificate_is_no_nodes(world: Authorities, metrics: Metrics) -> None:
    context = trusting(world.ca)
    context.load_cert_chain(world.server("impostor"))
    with running(world, metrics) as server:
        assert not answers(server, context)
        assert answers(server, trusting(world.ca))


@pytest.mark.parametrize("beginning", [ASKED, b"P", b"POST /telemetry HTTP/1.1\r\n" + b"x" * 300_000])
def test_plain_http_is_answered_so_that_it_is_understood(
    world: Authorities, metrics: Metrics, beginning: bytes
) -> None:
    with running(world, metrics) as server, connect(server) as connection:
        connection.sendall(beginning)
        connection.shutdown(socket.SHUT_WR)
        answer = answer_of(connection)
        assert answer.startswith(b"HTTP/1.1 426 ")
        assert b"https://" in answer
        assert refused(metrics, "plain") == 1


@pytest.mark.parametrize(
    "nonsense",
    [b"\x16\x03\x01\x00\x05hello", b"\x00" * 100, b"\x80\x2e\x01\x03\x01", b"\x16\x03\x01\xff\xff" + b"z" * 70_000],
)
def test_nonsense_ends_the_handshake(world: Authorities, metrics: Metrics, nonsense: bytes) -> None:
    with running(world, metrics) as server:
        with connect(server) as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(nonsense)
                connection.shutdown(socket.SHUT_WR)
            answer_of(connection)
        wait_for(lambda: refused(metrics, "handshake") == 1, "it being counted")
        assert ask(server, trusting(world.ca)) == "https "


@pytest.mark.parametrize("beginning", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00"])
def test_a_handshake_has_its_time(world: Authorities, metrics: Metrics, beginning: bytes) -> None:
    with running(world, metrics, Guard(handshake_seconds=0.5)) as server:
        with connect(server) as connection:
            connection.sendall(beginning)
            assert answer_of(connection) == b""
        assert ask(server, trusting(world.ca)) == "https "


def test_old_versions_are_not_spoken(world: Authorities, metrics: Metrics) -> None:
    with running(world, metrics) as server:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = trusting(world.ca)
            context.minimum_version = context.maximum_version = version
            assert ask(server, context) == "https "
        context = trusting(world.ca)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("AES128-SHA:@SECLEVEL=0")
        with pytest.raises(ssl.SSLError):
            ask(server, context)


def test_handshakes_under_way_are_bounded(world: Authorities, metrics: Metrics) -> None:
    with running(world, metrics, Guard(connections=5, handshake_seconds=3.0)) as server:
        held = [connect(server) for _ in range(30)]
        wait_for(lambda: refused(metrics, "too_many") == 25, "25 being turned away")
        for connection in held:
            connection.close()
        wait_for(lambda: answers(server, trusting(world.ca)), "others being heard again")


def answers(server: Server, context: ssl.SSLContext) -> bool:
    try:
        return ask(server, context).startswith("https ")
    except OSError:
        return False


def test_hanging_up_at_every_place_of_a_handshake(world: Authorities, metrics: Metrics) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    hello = trusting(world.ca)
    hello.sslsocket_class = ssl.SSLSocket
    with contextlib.suppress(ssl.SSLWantReadError):
        hello.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    whole = outgoing.read()
    with running(world, metrics) as server:
        for cut in range(0, len(whole) + 1, 23):
            with connect(server) as connection:
                connection.sendall(whole[:cut])
        assert ask(server, trusting(world.ca)) == "https "
        wait_for(lambda: server.connections == 0, "all of them being forgotten")


def test_stopping_does_not_wait_for_handshakes(world: Authorities, metrics: Metrics) -> None:
    with contextlib.ExitStack() as held, running(world, metrics, Guard(handshake_seconds=300.0)) as server:
        for _ in range(5):
            held.enter_context(connect(server)).sendall(b"\x16")
        assert ask(server, trusting(world.ca)) == "https "


def test_a_new_certificate_under_load_is_shown_to_new_connections_and_none_is_refused(
    world: Authorities, metrics: Metrics
) -> None:
    """Old connections go on; each new one is served, with the old certificate or the new one."""
    stop = threading.Event()
    failures: list[Exception] = []
    shown: set[bytes | None] = set()

    def knock() -> None:
        while not stop.is_set():
            try:
                with trusting(world.ca).wrap_socket(connect(server), server_hostname="localhost") as connection:
                    connection.sendall(ASKED)
                    assert answer_of(connection).endswith(b"https ")
                    shown.add(connection.getpeercert(binary_form=True))
            except Exception as error:
                failures.append(error)

    with running(world, metrics) as server:
        old = http.client.HTTPSConnection("localhost", server.port, timeout=30, context=trusting(world.ca))
        old.connect()
        before = old.sock.getpeercert(binary_form=True)
        threads = [threading.Thread(target=knock) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for number in range(5):
                seen = len(shown)
                server.tls = server_context(world.server(f"renewed-{number}"), None, world.ca)
                wait_for(lambda seen=seen: len(shown) > seen or bool(failures), "the new one being shown")  # type: ignore[misc]
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert failures == []
        assert len(shown) >= 5
        old.request("GET", "/")
        assert old.getresponse().read() == b"https "
        assert old.sock.getpeercert(binary_form=True) == before
        old.close()
