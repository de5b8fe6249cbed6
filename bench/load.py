"""A load client that costs little: blocking sockets, a thread a connection, bodies made beforehand."""

import socket
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Result:
    """What came of it: ``seconds`` from the first request to the last answer; ``latencies`` one a request, seconds."""

    seconds: float = 0.0
    statuses: dict[int, int] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)

    def quantile(self, q: float) -> float:
        return sorted(self.latencies)[min(len(self.latencies) - 1, int(q * len(self.latencies)))]


def send(port: int, path: str, bodies: Sequence[bytes], headers: Mapping[str, str], *, connections: int = 8) -> Result:
    """POST all bodies to loopback, over several connections that each have one request in flight."""
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    result = Result()
    lock = threading.Lock()
    source = iter(bodies)

    def work() -> None:
        latencies: list[float] = []
        statuses: dict[int, int] = {}
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for body in _shared(source, lock):
                start = time.perf_counter()
                request = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}Content-Length: {len(body)}\r\n\r\n"
                connection.sendall(request.encode() + body)
                status = _answer(connection)
                latencies.append(time.perf_counter() - start)
                statuses[status] = statuses.get(status, 0) + 1
        with lock:
            result.latencies.extend(latencies)
            for status, count in statuses.items():
                result.statuses[status] = result.statuses.get(status, 0) + count

    threads = [threading.Thread(target=work) for _ in range(connections)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    result.seconds = time.perf_counter() - start
    return result


def _shared(source: Iterable[bytes], lock: threading.Lock) -> Iterable[bytes]:
    items = iter(source)
    while True:
        with lock:
            body = next(items, None)
        if body is None:
            return
        yield body


def _answer(connection: socket.socket) -> int:
    """Read one answer with a Content-Length (or none); its status."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            raise ConnectionError("the server closed the connection")
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    while len(body) < length:
        body += connection.recv(65536)
    return int(head[9:12])
