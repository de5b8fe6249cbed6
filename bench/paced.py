"""A client that sends so many readings a second, and goes on whatever is away."""

import http.client
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

_CONNECTIONS = 4
_AGAIN = 0.2  # seconds, after what was not confirmed


class Paced:
    """Sends bodies of ``each`` readings at ``rate`` readings a second, one ``body`` after another, until it is stopped. A body
    that is not confirmed is sent again, so ``confirmed`` is what must be stored."""

    def __init__(
        self, ports: Sequence[int], headers: Mapping[str, str], body: Callable[[int], bytes], each: int, rate: float
    ) -> None:
        self._ports, self._headers, self._body = ports, headers, body
        self._each, self._rate = each, rate
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(n,), daemon=True) for n in range(_CONNECTIONS)]
        self.confirmed = 0
        self.statuses: Counter[str] = Counter()
        self.slowest = 0.0

    def start(self) -> None:
        self._start = time.monotonic()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Returns when all that was begun is confirmed."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self, which: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._ports[which % len(self._ports)], timeout=60)
        while not self._stop.is_set():
            with self._lock:
                number = next(self._numbers)
            body = self._body(number)
            due = self._start + number * self._each / self._rate
            if self._stop.wait(max(0.0, due - time.monotonic())):
                break
            self._send(connection, body)
        connection.close()

    def _send(self, connection: http.client.HTTPConnection, body: bytes) -> None:
        begun = time.monotonic()
        while True:
            try:
                connection.request("POST", "/telemetry", body, dict(self._headers))
                answer = connection.getresponse()
                answer.read()
                said = str(answer.status)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                said = type(error).__name__
            with self._lock:
                self.statuses[said] += 1
                if said == "202":
                    self.confirmed += self._each
                    self.slowest = max(self.slowest, time.monotonic() - begun)
                    return
            time.sleep(_AGAIN)
