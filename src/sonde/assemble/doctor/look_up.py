"""How a server is: the one that runs on a data directory, or another."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from sonde.assemble.ask import let_in
from sonde.assemble.remote import Remote
from sonde.assemble.server import running
from sonde.config import Settings
from sonde.directory import DataDirectory
from sonde.errors import Hold
from sonde.status import Status

_MOST_BYTES: Final = 4 << 20
_SECONDS: Final = 86_400


def status_of(remote: Remote) -> Status:
    """How the server is; :class:`Retry` if it does not answer."""
    content = remote.get("/status", _MOST_BYTES)
    try:
        return msgspec.json.decode(content, type=Status)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Hold(f"what answers at {remote.url} is no Sonde of this version", hint="Is the address right?") from None


@contextmanager
def server_here(directory: DataDirectory, settings: Settings | None, agent: str) -> Iterator[Remote]:
    """The server that runs on a data directory, for as long as the block lasts. :class:`Hold` if none does."""
    server = running(directory, shared=settings is not None and settings.topic is not None)
    with let_in(directory, settings, agent, _SECONDS) as headers:
        yield Remote(server.url, headers, server.tls())
