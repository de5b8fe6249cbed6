"""The live feed: how many readings reach how many clients, how old they are, and what a slow client costs the others.

::

    python -m bench.feed fan-out        1,000 clients, 200,000 readings a second in all
    python -m bench.feed latency        from a reading's time to the client, at 10,000 readings a second
    python -m bench.feed slow           ten alternating pairs, with a client that reads little and without
"""

import argparse
import http.client
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.servers import Server
from bench.up import sonde
from bench.watchers import Seen, Watchers

DEVICES = 50


class Sender(threading.Thread):
    """Sends readings of :data:`DEVICES` devices at a steady rate, each with the time at which it was made."""

    def __init__(self, server: Server, rate: float, requests: float = 50.0) -> None:
        super().__init__(daemon=True)
        self._server, self._rate, self._requests = server, rate, requests
        self._end = threading.Event()
        self.sent = 0

    def run(self) -> None:
        each, due = round(self._rate / self._requests), time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port)
        headers = {**self._server.headers, "Content-Type": "application/json"}
        number = 0
        while not self._end.is_set():
            now = time.time_ns() // 1000
            readings = [
                {"device": f"device-{(number + i) % DEVICES}", "metric": "co2", "value": 400.0 + i % 7, "time": now}
                for i in range(each)
            ]
            connection.request("POST", "/telemetry", json.dumps(readings).encode(), headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 202:
                raise RuntimeError(answer.status)
            number += each
            self.sent += each
            due += 1 / self._requests
            time.sleep(max(0.0, due - time.perf_counter()))

    @contextmanager
    def under_way(self) -> Iterator["Sender"]:
        self.start()
        try:
            yield self
        finally:
            self._end.set()
            self.join()


def measure(server: Server, watchers: Watchers, sender: Sender, seconds: float) -> tuple[Seen, dict[str, Any]]:
    """What came in ``seconds``, and what it took."""
    watchers.take()
    sent, used = sender.sent, server.processor_seconds()
    time.sleep(seconds)
    seen = watchers.take()
    took = server.processor_seconds() - used
    return seen, {
        "sent per s": round((sender.sent - sent) / seen.seconds),
        "delivered per s": round(seen.rate),
        "messages per s": round(seen.messages / seen.seconds),
        "age p50 ms": round(1000 * seen.age(0.5), 1),
        "age p99 ms": round(1000 * seen.age(0.99), 1),
        "gaps": seen.gaps,
        "server cores": round(took / seen.seconds, 2),
        "clients' cores": round(seen.processor_seconds / seen.seconds, 2),
        "server MB": round(server.memory() / 1e6),
    }


def wait_for_clients(watchers: Watchers, count: int) -> None:
    while watchers.take().live < count:
        time.sleep(0.1)


def fan_out(server: Server, clients: int, rate: float, seconds: float) -> None:
    """Each client follows one device; all devices together have ``rate`` readings a second."""
    wanted = [{"device": f"device-{number % DEVICES}"} for number in range(clients)]
    with Watchers(server.port, server.token, wanted) as watchers, Sender(server, rate).under_way() as sender:
        wait_for_clients(watchers, clients)
        time.sleep(2)
        print(json.dumps({"clients": clients, **measure(server, watchers, sender, seconds)[1]}), flush=True)


def latency(server: Server, rate: float, seconds: float) -> None:
    """One client that follows everything, and one that follows a device."""
    wanted: list[dict[str, Any]] = [{}, {"device": "device-7"}]
    with (
        Watchers(server.port, server.token, wanted, look_every=1) as watchers,
        Sender(server, rate, 200.0).under_way() as sender,
    ):
        wait_for_clients(watchers, 2)
        time.sleep(2)
        print(json.dumps(measure(server, watchers, sender, seconds)[1]), flush=True)


def slow(server: Server, clients: int, rate: float, seconds: float, pairs: int) -> None:
    """What the others get, and what the server spends on it, with a client that reads little and without, by turns."""
    wanted: list[dict[str, Any]] = [{} for _ in range(clients)]
    costs, rates = [], []
    with Watchers(server.port, server.token, wanted) as watchers, Sender(server, rate).under_way() as sender:
        wait_for_clients(watchers, clients)
        time.sleep(2)
        for number in range(pairs):
            found = {}
            for is_slow in (True, False) if number % 2 else (False, True):
                if is_slow:
                    watchers.add_slow()
                    time.sleep(4)  # until it is behind
                seen, said = measure(server, watchers, sender, seconds)
                found[is_slow] = (said["server cores"] / seen.rate, seen.rate, said["age p99 ms"])
                if is_slow:
                    watchers.drop_slow()
            costs.append(found[True][0] / found[False][0] - 1)
            rates.append(found[False][1] / found[True][1] - 1)
            print(json.dumps({"pair": number, "with": found[True], "without": found[False]}), flush=True)
    print(f"a slow client costs the others {100 * statistics.median(rates):.1f} % of what they get, ", end="")
    print(f"and the server {100 * statistics.median(costs):.1f} % of a reading's processor time (median of {pairs})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["fan-out", "latency", "slow"])
    parser.add_argument("--clients", type=int, default=0)
    parser.add_argument("--rate", type=float, default=10_000.0, help="readings sent a second")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--pairs", type=int, default=10)
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="sonde-bench-") as directory,
        sonde(Path(directory), "--set", "server.max_connections=5000") as server,
    ):
        if asked.what == "fan-out":
            fan_out(server, asked.clients or 1000, asked.rate, asked.seconds)
        elif asked.what == "latency":
            latency(server, asked.rate, asked.seconds)
        else:
            slow(server, asked.clients or 100, asked.rate / 5, asked.seconds / 2, asked.pairs)


if __name__ == "__main__":
    main()
