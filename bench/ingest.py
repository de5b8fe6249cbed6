"""How many readings a second until they can be queried: Sonde, and a peer in the same run.

    python -m bench.ingest json      1,000 readings a request as JSON; peer: InfluxDB 1.6, line protocol
    python -m bench.ingest arrow     10,000 a request as Arrow; peer: VictoriaMetrics, line protocol
    python -m bench.ingest single    one reading a request, 64 connections (needs wrk)

Sonde runs with all features on: tokens, AES-GCM, fsync before each answer, dedupe, two window widths, three alert rules.
Identity: the digest of each request. The peer's clock stops at its last answer.
"""

import argparse
import json
import re
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from bench.load import Result, send
from bench.readings import Readings
from bench.servers import Server, influxdb, victoria_metrics
from bench.up import sonde, wait_until_stored


def ours(directory: Path, bodies: list[bytes], content_type: str, rows: int, connections: int) -> float:
    """Readings a second, from the first request until all are in an answer."""
    with sonde(directory) as server:
        before = server.processor_seconds()
        start = time.perf_counter()
        headers = {**server.headers, "Content-Type": content_type}
        result = send(server.port, "/telemetry", bodies, headers, connections=connections)
        wait_until_stored(server, rows)
        seconds = time.perf_counter() - start
        report("sonde", rows, seconds, result, server, before)
        return rows / seconds


def report(name: str, rows: int, seconds: float, result: Result, server: Server, before: float) -> None:
    used = server.processor_seconds() - before
    print(
        f"{name:16s} {rows / seconds / 1e6:6.3f} M readings/s   last answer after {result.seconds:.2f} s, all after "
        f"{seconds:.2f} s   p50 {result.quantile(0.5) * 1e3:.1f} ms p99 {result.quantile(0.99) * 1e3:.1f} ms   "
        f"{used / rows * 1e6:.2f} µs processor time a reading   {server.memory() / 1e6:.0f} MB   {result.statuses}",
        flush=True,
    )


def peer(
    name: str,
    start_server: Callable[[Path], AbstractContextManager[Server]],
    path: str,
    directory: Path,
    bodies: list[bytes],
    rows: int,
) -> float:
    with start_server(directory) as server:
        before = server.processor_seconds()
        result = send(server.port, path, bodies, {}, connections=8)
        report(name, rows, result.seconds, result, server, before)
        return rows / result.seconds


def pairs(rounds: int, rows: int, form: str) -> None:
    """Sonde and its peer by turns; the ratio of each pair."""
    readings = Readings(rows)
    if form == "json":
        bodies, content_type = readings.json_bodies(1_000), "application/json"
        lines, name, server, path = readings.line_bodies(1_000), "influxdb 1.6", influxdb, "/write?db=bench"
    else:
        bodies, content_type = readings.arrow_bodies(10_000), "application/vnd.apache.arrow.stream"
        lines, name, server, path = readings.line_bodies(10_000), "victoria-metrics", victoria_metrics, "/write"
    ratios = []
    for turn in range(rounds):
        with tempfile.TemporaryDirectory() as directory:
            own = ours(Path(directory) / "sonde", bodies, content_type, rows, 8)
            other = peer(name, server, path, Path(directory) / "peer", lines, rows)
        ratios.append(own / other)
        print(f"pair {turn + 1}: {ratios[-1]:.2f} × {name}", flush=True)
    print(f"median ratio: {sorted(ratios)[len(ratios) // 2]:.2f} × {name}")


WRK = """
local thread_count = 0
function setup(thread) thread:set("id", thread_count); thread_count = thread_count + 1 end
function init(args) count = 0 end
function request()
  count = count + 1
  local body = string.format('{"device":"device-%03d","metric":"co2","time":%d,"value":%d.25}',
    count % 500, 1790000000000000 + count * 100 + id, count % 1000)
  return wrk.format("POST", "/telemetry", {["Authorization"]="Bearer TOKEN", ["Content-Type"]="application/json"}, body)
end
"""


def single(seconds: int, connections: int = 64) -> None:
    """One reading a request; each is answered when it is durable."""
    with tempfile.TemporaryDirectory() as name, sonde(Path(name)) as server:
        script = Path(name) / "one.lua"
        script.write_text(WRK.replace("TOKEN", server.token))
        url = f"http://127.0.0.1:{server.port}"
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script), url]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        print(output)
        taken = int(re.search(r"(\d+) requests in", output)[1])  # type: ignore[index]
        stored = json.loads(server.get("/health"))  # it still answers
        print(f"{taken / seconds:,.0f} requests/s; {stored['status']}; {server.memory() / 1e6:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["json", "arrow", "single"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--seconds", type=int, default=10)
    options = parser.parse_args()
    if options.what == "single":
        single(options.seconds)
    else:
        pairs(options.rounds, options.rows, options.what)


if __name__ == "__main__":
    main()
