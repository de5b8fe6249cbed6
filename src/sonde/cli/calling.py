"""The server that a command talks to: the one that runs on a data directory, or another."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sonde.assemble.ask import let_in
from sonde.assemble.remote import client_tls
from sonde.assemble.server import running
from sonde.cli.options import bearer_token
from sonde.cli.settings import place_of
from sonde.client import Client


@contextmanager
def calling(
    data: Path, url: str, token_file: Path | None, ca: Path | None, agent: str, seconds: int
) -> Iterator[Client]:
    """A client of the server at ``url``, or of the one that runs on ``data``, which lets ``agent`` in for so many seconds."""
    if url:
        tls = client_tls(url, ca, data)
        with Client(url, bearer_token(token_file), ca=tls.context() if tls else None) as client:
            yield client
        return
    place = place_of(data)
    server = running(place.directory, shared=place.settings is not None)
    tls = server.tls()
    with (
        let_in(*place, agent, seconds) as headers,
        Client(server.url, headers=headers, ca=tls.context() if tls else None) as client,
    ):
        yield client
