"""A receiver of web hooks on loopback."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Hook(ThreadingHTTPServer):
    """A receiver that answers as it is told, and keeps what it got."""

    daemon_threads = True

    def __init__(self, answer: bytes) -> None:
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.answer = answer
        self._free = threading.Event()
        self._free.set()
        super().__init__(("127.0.0.1", 0), _Answering)

    def hold(self) -> None:
        """Answer nobody until :meth:`release`."""
        self._free.clear()

    def release(self) -> None:
        self._free.set()

    def wait(self) -> None:
        self._free.wait(60)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook?room=1"


class _Answering(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, dict(self.headers), body))
        self.server.wait()
        with suppress(OSError):  # whoever asked may have gone
            self.wfile.write(self.server.answer)
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def hook(answer: str, headers: str = "") -> Iterator[Hook]:
    server = Hook(f"HTTP/1.1 {answer}\r\n{headers}Content-Length: 4\r\n\r\nsaid".encode() if answer else b"")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.release()
        server.shutdown()
        thread.join()
        server.server_close()
