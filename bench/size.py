"""Memory, disk, start-up and the answers' speed of a ``sonde up`` that holds many readings.

    python -m bench.size --rows 20000000

Sends the readings as Arrow, 10,000 a request, then asks. Each question is asked many times over one connection; the
figures are those of a client on loopback.
"""

import argparse
import http.client
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from bench.load import send
from bench.readings import START, Readings
from bench.servers import Server, free_port
from bench.up import SONDE, sonde, wait_until_stored

CHUNK = 2_000_000
STEP = 4_320  # microseconds between readings: 20 M of them span a day


def bodies(rows: int) -> Iterator[list[bytes]]:
    for first in range(0, rows, CHUNK):
        readings = Readings(min(CHUNK, rows - first), seed=first, start=START + first * STEP, step=STEP)
        yield readings.arrow_bodies(10_000)


def directory_bytes(path: Path) -> int:
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())


def latency(name: str, server: Server, ask: Callable[[http.client.HTTPConnection], None], times: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        ask(connection)
        taken.append(time.perf_counter() - start)
    taken.sort()
    print(f"{name:60s} p50 {taken[len(taken) // 2] * 1e3:7.1f} ms   p99 {taken[int(len(taken) * 0.99)] * 1e3:7.1f} ms")


def getter(server: Server, path: str) -> Callable[[http.client.HTTPConnection], None]:
    def ask(connection: http.client.HTTPConnection) -> None:
        connection.request("GET", path, headers=server.headers)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, body

    return ask


def measure(rows: int, times: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        with sonde(Path(name)) as server:
            time.sleep(3)  # let it come to rest
            print(f"idle: {server.memory() / 1e6:.0f} MB")
            peak = fill(server, rows)
            print(
                f"peak while {rows / 1e6:.0f} M readings came in: {peak / 1e6:.0f} MB; after: {server.memory() / 1e6:.0f} MB"
            )
            print(f"log: {directory_bytes(server.directory / 'log') / rows:.2f} bytes a reading")
            ask_all(server, rows, times)
            wait_until_sealed(server)
            print(
                f"store: {directory_bytes(server.directory / 'store') / rows:.2f} bytes a reading, identities included"
            )
            ask_all(server, rows, times)
        restart(Path(name))


def fill(server: Server, rows: int) -> int:
    peak, done, start = 0, 0, time.perf_counter()
    headers = {**server.headers, "Content-Type": "application/vnd.apache.arrow.stream"}
    for chunk in bodies(rows):
        result = send(server.port, "/telemetry", chunk, headers, connections=8)
        assert set(result.statuses) == {202}, result.statuses
        done += min(CHUNK, rows - done)
        wait_until_stored(server, done)
        peak = max(peak, server.memory())
    print(f"{rows / (time.perf_counter() - start) / 1e6:.2f} M readings/s, making them included")
    return peak


def wait_until_sealed(server: Server) -> None:
    deadline = time.monotonic() + 60
    while b"sonde_store_parts 0.0" in server.get("/metrics") and time.monotonic() < deadline:
        time.sleep(0.5)


def ask_all(server: Server, rows: int, times: int) -> None:
    day_end = START + min(rows * STEP, 86_400_000_000)
    span = f"since={START}&until={day_end}"
    device = "/historical-data?device_id=device-007&type=data&id=co2&limit=10000&" + span
    latency("one series, one day, raw (10,000 at most)", server, getter(server, device), times)
    trends = f"/trends?sensor_type=co2&window=5m&{span}"
    latency("5-minute averages by zone, a day of 500 series", server, getter(server, trends), times)
    latency("latest value of 2,000 series", server, getter(server, "/devices?limit=1000"), times)


def restart(directory: Path) -> None:
    port = free_port()
    options = ["--port", str(port), "--plain", "--no-host", "--no-simulator"]
    start = time.perf_counter()
    child = subprocess.Popen(
        [*SONDE, "up", "--data", str(directory / "sonde-data"), *options], stdout=subprocess.DEVNULL
    )
    server = Server(port, psutil.Process(child.pid), directory)
    while True:
        try:
            if json.loads(server.get("/health/ready")):
                break
        except OSError:
            time.sleep(0.02)
    print(f"start until ready: {time.perf_counter() - start:.2f} s")
    child.terminate()
    child.wait(20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--times", type=int, default=100)
    options = parser.parse_args()
    measure(options.rows, options.times)


if __name__ == "__main__":
    main()
