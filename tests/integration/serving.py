"""A server of ours in a thread of its own."""

import contextlib
import threading
from collections.abc import Iterator

import uvloop

from sonde.transport.serving import Server
from tests.crash.road import wait_for


@contextlib.contextmanager
def served(server: Server) -> Iterator[Server]:
    """Runs ``server`` on the loop that it has in earnest."""
    thread = threading.Thread(target=lambda: uvloop.run(server.run_until_stopped()))
    thread.start()
    try:
        wait_for(lambda: server.started, "the server listening")
        yield server
    finally:
        server.stop()
        thread.join(30)
        assert not thread.is_alive()
