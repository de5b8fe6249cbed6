"""Whom the server takes a request to come from, when headers say something about it."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from sonde.errors import Unauthenticated
from sonde.ports import Guest, Knock
from sonde.transport.forwarded import Forwarded, ForwardedLive, Proxies


def seen(
    peer: str | None, proxies: tuple[str, ...], *headers: tuple[str, str], scheme: str = "http"
) -> tuple[str, str]:
    """Address and scheme, as the application sees them."""
    found: list[MutableMapping[str, Any]] = []

    async def app(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        found.append(scope)

    scope = {
        "type": "http",
        "client": (peer, 5000) if peer is not None else None,
        "scheme": scheme,
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
    }
    asyncio.run(Forwarded(app, Proxies(proxies))(scope, None, None))  # type: ignore[arg-type]
    return found[0]["client"][0] if found[0]["client"] else "", found[0]["scheme"]


FOR = "X-Forwarded-For"


@pytest.mark.parametrize("peer", ["10.0.0.1", "2001:db8::1"])
def test_strangers_are_not_believed(peer: str) -> None:
    assert seen(peer, (), (FOR, "127.0.0.1"), ("X-Forwarded-Proto", "https")) == (peer, "http")
    assert seen(peer, ("192.0.2.0/24",), (FOR, "127.0.0.1")) == (peer, "http")


@pytest.mark.parametrize("header", [FOR, "Forwarded", "X-Real-IP"])
@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_what_was_passed_on_does_not_come_from_this_machine(peer: str, header: str) -> None:
    address, _ = seen(peer, (), (header, "for=127.0.0.1"))
    assert address == f"{peer} (forwarded)"


def test_without_such_headers_nothing_changes() -> None:
    assert seen("127.0.0.1", ("127.0.0.1",), ("Host", "x")) == ("127.0.0.1", "http")
    assert seen(None, ()) == ("", "http")
    assert seen(None, (), (FOR, "1.2.3.4")) == (" (forwarded)", "http")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["203.0.113.9"], "203.0.113.9"),
        (["127.0.0.1, 203.0.113.9"], "203.0.113.9"),  # what the client wrote itself stands before, and is not believed
        (["127.0.0.1", "203.0.113.9"], "203.0.113.9"),
        (["203.0.113.9, 10.0.0.8, 10.0.0.9"], "203.0.113.9"),
        (["198.51.100.1, 203.0.113.9, 10.0.0.9"], "203.0.113.9"),
        (["10.0.0.8"], "10.0.0.8"),  # the proxy itself asks
        (["203.0.113.9:4711"], "203.0.113.9"),
        (["[2001:db8::9]:4711"], "2001:db8::9"),
        (["2001:db8::9"], "2001:db8::9"),
        (["::ffff:203.0.113.9"], "203.0.113.9"),
        (["unknown"], "10.0.0.7 (forwarded)"),
        (["203.0.113.9, unknown"], "10.0.0.7 (forwarded)"),
        (["203.0.113.9, "], "10.0.0.7 (forwarded)"),
        ([""], "10.0.0.7 (forwarded)"),
        ([], "10.0.0.7 (forwarded)"),
    ],
)
def test_a_proxy_that_is_named_is_believed(values: list[str], expected: str) -> None:
    headers = [(FOR, value) for value in values] or [("Forwarded", "for=203.0.113.9")]
    assert seen("10.0.0.7", ("10.0.0.0/24",), *headers)[0] == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [(["https"], "https"), (["HTTPS"], "https"), (["http"], "http"), (["https", "http"], "http"), ([], "http")],
)
def test_how_the_proxy_was_asked(values: list[str], expected: str) -> None:
    headers = [("X-Forwarded-Proto", value) for value in values]
    assert seen("10.0.0.7", ("10.0.0.7",), (FOR, "203.0.113.9"), *headers)[1] == expected


def test_so_many_hops_and_no_more_are_looked_at() -> None:
    hops = ", ".join(["203.0.113.9"] + ["10.0.0.8"] * 100_000)
    assert seen("10.0.0.7", ("10.0.0.0/24",), (FOR, hops))[0] == "10.0.0.8"


def test_the_same_for_websockets() -> None:
    found: list[str] = []

    class Hall:
        def admit(self, knock: Knock) -> Guest:
            found.append(knock.address)
            raise Unauthenticated("nobody comes in here")

    for peer, headers in (
        ("127.0.0.1", {}),
        ("127.0.0.1", {"forwarded": "x"}),
        ("10.0.0.7", {FOR.lower(): "203.0.113.9"}),
    ):
        with pytest.raises(Unauthenticated):
            ForwardedLive(Hall(), Proxies(["10.0.0.7"])).admit(Knock("/ws", headers, (), peer, "127.0.0.1"))
    assert found == ["127.0.0.1", "127.0.0.1 (forwarded)", "203.0.113.9"]
