"""HTTP by hand: what no library would send."""

import contextlib
import socket
from collections.abc import Iterator

from tests.crash.road import Up


def head(up: Up, length: int | str | None, *more: str, method: str = "POST", path: str = "/telemetry") -> bytes:
    size = [] if length is None else [f"Content-Length: {length}"]
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", *size, *more]
    return "\r\n".join([*lines, f"Authorization: Bearer {up.token}", "", ""]).encode()


@contextlib.contextmanager
def raw(up: Up) -> Iterator[socket.socket]:
    with up.connect() as connection:
        yield connection


def answer_of(connection: socket.socket) -> bytes:
    """All that comes until the server closes; what it resets after its answer counts too."""
    got = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(1 << 16):
            got += piece
    return got


def status_of(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1.1 "), answer[:200]
    return int(answer.split(b" ", 2)[1])


def ask(up: Up, request: bytes) -> bytes:
    """Send as much of ``request`` as the server takes; its answer."""
    with raw(up) as connection:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            connection.sendall(request)
        return answer_of(connection)
