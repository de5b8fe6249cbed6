"""Who really asks, when a proxy passes requests on.

What a header says of the address is believed of proxies that are named, and of nobody else: anyone can write a header. But a
request that says it was passed on does not come from this machine, whoever passed it on; so a proxy beside the server does
not let the whole world in as if it were local.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final, TypeAlias

from sonde.ports import Guest, Knock, Live
from sonde.transport.http import App, Receive, Scope, Send

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_FOR: Final = b"x-forwarded-for"
_PROTO: Final = b"x-forwarded-proto"
_SAID: Final = frozenset({_FOR, b"forwarded", b"x-real-ip"})
_MARK: Final = " (forwarded)"
_MOST_HOPS: Final = 32


class Proxies:
    """Addresses or networks whose header ``X-Forwarded-For`` is believed, read from its end to the first address that is no
    such proxy."""

    def __init__(self, proxies: Iterable[str] = ()) -> None:
        self._proxies = [ipaddress.ip_network(proxy, strict=False) for proxy in proxies]

    def believed(self, peer: str) -> bool:
        """Whether ``peer`` is such a proxy."""
        address = _address(peer)
        return address is not None and self._is_proxy(address)

    def who(self, peer: str, hops: str) -> str:
        """Who asks, when ``peer`` passed on what it got from ``hops``, as ``X-Forwarded-For`` lists them."""
        address = _address(peer)
        if address is None or not self._is_proxy(address):
            return f"{peer}{_MARK}" if address is None or address.is_loopback else peer
        found = self._first_stranger([_without_port(hop.strip()) for hop in hops.split(",")])
        return str(found) if found else f"{peer}{_MARK}"

    def _first_stranger(self, hops: Sequence[str]) -> Address | None:
        """The nearest hop that is no proxy of ours; the farthest if all are; ``None`` if one on the way is no address."""
        found = None
        for hop in reversed(hops[-_MOST_HOPS:]):
            found = _address(hop)
            if found is None or not self._is_proxy(found):
                break
        return found

    def _is_proxy(self, address: Address) -> bool:
        return any(address in network for network in self._proxies)


class Forwarded:
    """Wraps the application: ``scope["client"]`` is who asks, and ``scope["scheme"]`` how a proxy was asked."""

    def __init__(self, app: App, proxies: Proxies) -> None:
        self._app = app
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and any(name in _SAID for name, _ in scope["headers"]):
            scope = self._understood(scope)
        await self._app(scope, receive, send)

    def _understood(self, scope: Scope) -> Scope:
        peer, port = scope["client"] or ("", 0)
        who = self._proxies.who(peer, ",".join(_values(scope, _FOR)))
        schemes = {value.strip().lower() for value in _values(scope, _PROTO)}
        secure = schemes == {"https"} and self._proxies.believed(peer)
        return {**scope, "client": (who, port), "scheme": "https" if secure else scope["scheme"]}


class ForwardedLive:
    """Wraps a :class:`sonde.ports.Live`: ``address`` is who asks."""

    def __init__(self, live: Live, proxies: Proxies) -> None:
        self._live = live
        self._proxies = proxies

    def admit(self, knock: Knock) -> Guest:
        """See :meth:`sonde.ports.Live.admit`."""
        if any(name.decode() in knock.headers for name in _SAID):
            hops = knock.headers.get(_FOR.decode(), "").replace(";", ",")  # a header that stands twice
            knock = replace(knock, address=self._proxies.who(knock.address, hops))
        return self._live.admit(knock)


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for given, value in scope["headers"] if given == name]


def _without_port(hop: str) -> str:
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _address(text: str) -> Address | None:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found
