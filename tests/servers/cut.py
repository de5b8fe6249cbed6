"""A TCP proxy before PostgreSQL that cuts a connection at its COMMIT: before the server has it, or before its answer comes."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Final

_COMMIT: Final = b"commit\0"  # the end of a simple query that says so


class Cut:
    """Forwards to ``port`` on this machine. ``way`` is what it does to the next COMMIT: "lose it", "lose its answer", or
    nothing (empty); ``cuts`` counts."""

    def __init__(self, port: int) -> None:
        self.way = ""
        self.cuts = 0
        self._to = port
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._threads = [threading.Thread(target=self._accept, name="cut")]
        self._threads[0].start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join(30)
        for one in self._sockets:
            _hang_up(one)
        for thread in self._threads[1:]:
            thread.join(30)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                return
            self._sockets += [client, server]
            swallow = threading.Event()
            for pump in (self._up, self._down):
                self._threads.append(threading.Thread(target=pump, args=(client, server, swallow), name="cut"))
                self._threads[-1].start()

    def _up(self, client: socket.socket, server: socket.socket, swallow: threading.Event) -> None:
        for data in _pieces(client):
            if data.endswith(_COMMIT) and self.way:
                way, self.way = self.way, ""
                self.cuts += 1
                if way == "lose it":
                    break
                swallow.set()
            with contextlib.suppress(OSError):
                server.sendall(data)
        _hang_up(client)
        _hang_up(server)

    @staticmethod
    def _down(client: socket.socket, server: socket.socket, swallow: threading.Event) -> None:
        for data in _pieces(server):
            if swallow.is_set():
                break
            with contextlib.suppress(OSError):
                client.sendall(data)
        _hang_up(client)
        _hang_up(server)


@contextlib.contextmanager
def cut(port: int) -> Iterator[Cut]:
    made = Cut(port)
    try:
        yield made
    finally:
        made.close()


def _pieces(one: socket.socket) -> Iterator[bytes]:
    with contextlib.suppress(OSError):
        while data := one.recv(1 << 16):
            yield data


def _hang_up(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
