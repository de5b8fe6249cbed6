"""Where a web hook may go. An address that somebody gave must not let them reach this machine or its neighbours."""

import ipaddress
import socket
from collections.abc import Iterator
from typing import Final, TypeAlias

from sonde.errors import Reject, Retry

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052


def addresses_of(host: str, port: int, *, private: bool) -> list[str]:
    """The addresses of ``host``, to connect to as they are, so that a second look-up cannot lead elsewhere.

    :class:`Reject` if any of them is not public and ``private`` is not allowed, :class:`Retry` if none is found now.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Retry(
            f"the name {host} was not found ({error})", hint="Check the address, and this machine's DNS"
        ) from None
    addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
    for address in addresses:
        if not private and not _is_public(address):
            raise Reject(
                f"{host} is {address}, an address that is private or of this machine",
                hint="If it is meant, set allow_private = yes",
            )
    return addresses


def _is_public(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    return all(a.is_global and not a.is_multicast for a in _meant(address))


def _meant(address: _Address) -> Iterator[_Address]:
    """An address, and those that it stands for: IPv4 inside of IPv6."""
    yield address
    if isinstance(address, ipaddress.IPv6Address):
        inside = (address.ipv4_mapped, address.sixtofour, *(address.teredo or ()))
        yield from (a for a in inside if a is not None)
        if address in _NAT64:
            yield ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
