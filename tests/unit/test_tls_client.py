"""A node on the way to a sink through TLS: what it trusts, what it shows, and what it says when something is wrong."""

import os
import ssl
import warnings
from pathlib import Path

import pytest

from sonde.clock import DAY, Micros, SystemClock
from sonde.errors import Hold, Retry, SondeError
from sonde.testing.wire_contract import LIVE, outgoing
from sonde.transport.tls import ClientTls, explain, server_context
from sonde.transport.uplink_wire import HttpWire
from tests.certificates import Authorities, context_of, listening, long_ago, now, soon

RECEIPT = b'HTTP/1.1 200 OK\r\nContent-Length: 17\r\nConnection: close\r\n\r\n{"durable_seq":1}'
TURNED_AWAY = b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@pytest.fixture
def world(tmp_path: Path) -> Authorities:
    return Authorities.make(tmp_path)


def send(url: str, tls: ClientTls | None = None) -> int:
    wire = HttpWire(url, "secret-token", timeout=10, connect_timeout=10, tls=tls)
    try:
        return wire.send(LIVE, 0, [outgoing(1)])
    finally:
        wire.close()


def held(context: ssl.SSLContext | None, tls: ClientTls | None, host: str = "127.0.0.1", scheme: str = "https") -> str:
    """What a node says that cannot send, and waits for somebody to act."""
    with listening(context, RECEIPT) as port, pytest.raises(SondeError) as raised:
        send(f"{scheme}://{host}:{port}", tls)
    assert isinstance(raised.value, Hold), raised.value
    assert "secret-token" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_the_right_authority_and_name(world: Authorities, host: str) -> None:
    with listening(context_of(world.server()), RECEIPT) as port:
        assert send(f"https://{host}:{port}", ClientTls(world.ca)) == 1


def test_another_authority(world: Authorities, tmp_path: Path) -> None:
    other = Authorities.make(tmp_path / "other")
    assert "authority" in held(context_of(world.server()), ClientTls(other.ca))


def test_the_authorities_of_the_system_do_not_know_ours(world: Authorities) -> None:
    said = held(context_of(world.server()), None)
    assert "[node] ca" in said


def test_another_name(world: Authorities) -> None:
    said = held(context_of(world.server(hosts=("sonde.example.org",))), ClientTls(world.ca))
    assert "other names" in said
    assert "127.0.0.1" in said


def test_a_certificate_that_has_ended_or_not_begun(world: Authorities) -> None:
    said = held(context_of(world.server(at=long_ago())), ClientTls(world.ca))
    assert "has ended" in said
    assert "sonde cert renew" in said
    said = held(context_of(world.server(at=soon())), ClientTls(world.ca))
    assert "not valid yet" in said
    assert "clock" in said


def test_plain_http_at_the_other_end(world: Authorities) -> None:
    assert "speaks no TLS" in held(None, ClientTls(world.ca))


def test_turned_away_for_speaking_plainly_is_no_dead_letter() -> None:
    with listening(None, TURNED_AWAY) as port, pytest.raises(Hold):
        send(f"http://127.0.0.1:{port}")


def test_only_old_versions_at_the_other_end(world: Authorities) -> None:
    old = context_of(world.server())
    old.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    assert "version of TLS" in held(old, ClientTls(world.ca))


def test_a_connection_that_breaks_is_tried_again(world: Authorities) -> None:
    with listening(context_of(world.server()), RECEIPT[:40]) as port, pytest.raises(Retry):
        send(f"https://127.0.0.1:{port}", ClientTls(world.ca))


@pytest.mark.parametrize("at", [now(), long_ago()], ids=["valid", "ended"])
def test_a_nodes_own_certificate_is_shown_while_it_lasts(world: Authorities, at: Micros) -> None:
    identity = world.node("attic", bytes(32), at)
    with listening(context_of(world.server(), world.ca), RECEIPT) as port:
        if at > long_ago():
            assert send(f"https://127.0.0.1:{port}", ClientTls(world.ca, identity)) == 1
        else:
            with pytest.raises(Hold, match="sonde node join"):
                send(f"https://127.0.0.1:{port}", ClientTls(world.ca, identity))


def test_a_nodes_certificate_of_another_authority(world: Authorities, tmp_path: Path) -> None:
    identity = Authorities.make(tmp_path / "other").node("attic", bytes(32))
    said = held(context_of(world.server(), world.ca), ClientTls(world.ca, identity))
    assert "certificate" in said
    assert "sonde node join" in said


def test_files_that_were_renewed_are_read_again(world: Authorities, tmp_path: Path) -> None:
    identity = tmp_path / "identity.pem"
    tls = ClientTls(world.ca, identity)
    first = tls.context()
    assert tls.context() is first
    with listening(context_of(world.server(), world.ca), RECEIPT) as port:
        wire = HttpWire(f"https://127.0.0.1:{port}", "t", tls=tls)
        with pytest.raises(Hold):
            wire.send(LIVE, 0, [outgoing(1)])
        os.replace(world.node("attic", bytes(32)), identity)
        assert tls.context() is not first
        assert wire.send(LIVE, 0, [outgoing(1)]) == 1
        wire.close()


def test_the_very_certificate_needs_no_name_and_no_authority(world: Authorities, tmp_path: Path) -> None:
    shown = world.server(hosts=("sonde.example.org",))
    with listening(context_of(shown), RECEIPT) as port:
        assert send(f"https://127.0.0.1:{port}", ClientTls(shown, exact=True)) == 1
        with pytest.raises(Hold, match="authority"):
            send(f"https://127.0.0.1:{port}", ClientTls(Authorities.make(tmp_path / "b").server(), exact=True))


def test_files_that_are_no_use_say_which(world: Authorities, tmp_path: Path) -> None:
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    missing = tmp_path / "missing.pem"
    certificate, other = world.server("one"), world.server("two")
    for attempt in (
        lambda: ClientTls(nonsense),
        lambda: ClientTls(missing),
        lambda: ClientTls(world.ca, nonsense),
        lambda: server_context(missing),
        lambda: server_context(nonsense),
        lambda: server_context(world.ca),
        lambda: server_context(certificate, missing),
        lambda: server_context(certificate, None, nonsense),
    ):
        with pytest.raises(Hold, match=r"\.pem"):
            attempt()
    key = tmp_path / "key.pem"
    key.write_bytes(other.read_bytes().partition(b"-----BEGIN CERT")[0])
    alone = tmp_path / "alone.pem"
    alone.write_bytes(b"-----BEGIN CERT" + certificate.read_bytes().partition(b"-----BEGIN CERT")[2])
    with pytest.raises(Hold, match="not that of"):
        server_context(alone, key)


def test_an_error_that_is_none_of_tls() -> None:
    assert explain(OSError("reset"), "sink") is None
    assert explain(ssl.SSLError(1, "odd"), "sink") is None
    assert now() - SystemClock().now() < DAY
