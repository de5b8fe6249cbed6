"""What the sink's own work costs: one process, no network, processor time and not the clock on the wall.

    python -m bench.sink

Parsing: body to columns, with all checks, per reading. Requests: a whole server but for the sockets, 64 connections with
one reading in each request, per request; that is the least of many rounds, so other programs hardly disturb it.
"""

import asyncio
import gc
import io
import json
import sys
import time
from collections.abc import Callable
from typing import Any, Final, cast

import pyarrow as pa
import uvloop

from sonde.access import Access
from sonde.clock import SECOND, SystemClock
from sonde.control.memory import MemoryControl
from sonde.frame import Codec
from sonde.keyring import KeyRing
from sonde.log.memory import MemoryLog
from sonde.metrics import Metrics
from sonde.ports import Credential, Telemetry
from sonde.sink import forms
from sonde.sink.limits import Limits
from sonde.sink.sink import Sink
from sonde.token import Token
from sonde.transport.guard import Guard
from sonde.transport.http import TelemetryApp
from sonde.transport.serving import serve

NOW: Final = 1_767_225_600 * SECOND
LIMITS: Final = Limits()
METRICS: Final = ("co2", "temperature", "humidity", "occupancy")
CONNECTIONS: Final = 64


def readings(rows: int) -> list[dict[str, Any]]:
    return [
        {
            "device": f"dev-{i % 50}",
            "metric": METRICS[i % 4],
            "value": (i * 7919 % 100_000) / 100,
            "time": f"2025-12-31T23:{i // 60 % 60:02d}:{i % 60:02d}.{i * 7919 % 1_000_000:06d}Z",
            "site": f"Site-{i % 3}",
            "zone": f"Zone-{i % 5}",
        }
        for i in range(rows)
    ]


def bodies(rows: int) -> dict[str, Telemetry]:
    """The same readings in each form."""
    own = readings(rows)
    millis = [{**r, "time": NOW // 1_000 - i} for i, r in enumerate(own)]
    keys = {"device": "device_id", "metric": "sensor_type", "time": "ts_event", "site": "site_id", "zone": "zone_id"}
    building = [{keys.get(k, k): v for k, v in r.items()} | {"event_id": f"{i:036d}"} for i, r in enumerate(own)]
    columns = {key: [r[key] for r in own] for key in own[0]}
    table = pa.table(columns | {"time": pa.array([NOW - i for i in range(rows)], pa.timestamp("us", "UTC"))})
    stream = io.BytesIO()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    return {
        "own, text times": Telemetry(json.dumps(own).encode()),
        "own, milliseconds": Telemetry(json.dumps(millis).encode()),
        "building, event ids": Telemetry(json.dumps(building).encode()),
        "short": Telemetry(
            json.dumps([{"name": r["device"], "value": r["value"], "timestamp": r["time"]} for r in millis]).encode()
        ),
        "columnar": Telemetry(json.dumps(columns).encode()),
        "NDJSON": Telemetry("\n".join(map(json.dumps, own)).encode(), "application/x-ndjson"),
        "mixed keys": Telemetry(json.dumps([*own[1:], {**own[0], "labels": {"a": "b"}}]).encode()),
        "Arrow": Telemetry(stream.getvalue(), "application/vnd.apache.arrow.stream"),
    }


def least(work: Callable[[], Any], rounds: int = 30) -> float:
    """Seconds of processor time of one call, the least of many."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def parsing() -> None:
    for rows in (1, 10, 1_000, 10_000):
        for name, request in bodies(rows).items():
            many = max(1, 1_000 // rows)

            def work(request: Telemetry = request, many: int = many) -> None:
                for _ in range(many):
                    forms.read(request, NOW, LIMITS)

            micros = least(work) / many / rows * 1e6
            size = len(request.body) / rows
            print(f"{rows:6d} a request  {name:20s} {micros:8.3f} µs a reading  {size:6.0f} bytes", flush=True)


class Counting:
    """Stands in for a connection, and counts answers."""

    def __init__(self, board: "Board") -> None:
        self._board = board

    def write(self, data: bytes) -> None:
        assert data.startswith(b"HTTP/1.1 202 "), data
        self._board.answered()

    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name.endswith("name") else default

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Board:
    def __init__(self) -> None:
        self.missing = 0
        self.all_there = asyncio.Event()

    def answered(self) -> None:
        self.missing -= 1
        if not self.missing:
            self.all_there.set()


async def requests(app: TelemetryApp, token: str) -> float:
    """Seconds of processor time a request, of all threads."""
    body = json.dumps(readings(1)[0]).encode()
    head = f"POST /telemetry HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    server = serve(app, "127.0.0.1", 0, guard=Guard())
    board = Board()
    protocols = []
    for _ in range(CONNECTIONS):
        protocol = server.connection()
        protocol.connection_made(cast(asyncio.Transport, Counting(board)))
        protocols.append(protocol)
    times = []
    for _ in range(40):
        start = time.process_time()
        for _ in range(30):
            board.missing = CONNECTIONS
            board.all_there.clear()
            for protocol in protocols:
                protocol.data_received(request)
            await board.all_there.wait()
        times.append((time.process_time() - start) / 30 / CONNECTIONS)
    server.close()
    return min(times)


def whole_requests() -> None:
    clock, metrics, token = SystemClock(), Metrics(), Token.make()
    control = MemoryControl(clock)
    control.create_token(Credential(token.id, "bench", frozenset({"ingest"})), token.digest)
    sink = Sink(MemoryLog(), KeyRing.generate(), Codec.AES_GCM, Access(control, clock), clock=clock, metrics=metrics)
    gc.freeze()
    for interval in (0.005, 0.0005):
        sys.setswitchinterval(interval)
        seconds = uvloop.run(requests(TelemetryApp(sink, metrics=metrics), token.text))
        print(f"one reading a request: {seconds * 1e6:.1f} µs a request (threads take turns after {interval * 1e3} ms)")
    sink.close()


if __name__ == "__main__":
    parsing()
    whole_requests()
