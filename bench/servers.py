"""Starts what is measured, each in a directory of its own, and ends it again; the peers are Debian packages."""

import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Server:
    """A running server on loopback; ``token`` is Sonde's admin token."""

    port: int
    process: psutil.Process
    directory: Path
    token: str = ""

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def get(self, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> bytes:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data=body, headers={**self.headers, **(headers or {})}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            data: bytes = answer.read()
            return data

    def sql(self, text: str) -> list[list[object]]:
        """Rows of a query to Sonde."""
        answer = self.get("/sql", json.dumps({"sql": text}).encode(), {"Content-Type": "application/json"})
        rows: list[list[object]] = json.loads(answer)["rows"]
        return rows

    def memory(self) -> int:
        """Resident bytes."""
        return int(self.process.memory_info().rss)

    def processor_seconds(self) -> float:
        """Processor time used so far, user and system."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


@contextlib.contextmanager
def running(command: list[str], port: int, directory: Path, path: str) -> Iterator[Server]:
    """``command`` until the block ends; ready when ``path`` answers."""
    with (directory / "output").open("wb") as output:
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=directory)
    server = Server(port, psutil.Process(child.pid), directory)
    try:
        _wait_until_ready(server, child, path)
        yield server
    finally:
        child.terminate()
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _wait_until_ready(server: Server, child: subprocess.Popen[bytes], path: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            server.get(path)
            return
        except OSError:
            if child.poll() is not None or time.monotonic() > deadline:
                output = (server.directory / "output").read_text(errors="replace")
                raise RuntimeError(f"{child.args!r} did not start:\n{output[-2000:]}") from None
            time.sleep(0.05)


@contextlib.contextmanager
def influxdb(directory: Path) -> Iterator[Server]:
    """InfluxDB 1.6 as Debian configures it (WAL fsynced on every write), without its query log."""
    directory.mkdir(parents=True, exist_ok=True)
    port, rpc = free_port(), free_port()
    config = directory / "influxdb.conf"
    config.write_text(
        f"""reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
dir = "{directory}/meta"
[data]
dir = "{directory}/data"
wal-dir = "{directory}/wal"
[http]
bind-address = "127.0.0.1:{port}"
log-enabled = false
[monitor]
store-enabled = false
"""
    )
    with running([_program("influxd"), "-config", str(config)], port, directory, "/ping") as server:
        server.get("/query?q=CREATE+DATABASE+bench", b"")
        yield server


@contextlib.contextmanager
def victoria_metrics(directory: Path) -> Iterator[Server]:
    """VictoriaMetrics, single node, its defaults."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [
        _program("victoria-metrics"),
        f"-httpListenAddr=127.0.0.1:{port}",
        f"-storageDataPath={directory}/data",
        "-retentionPeriod=100y",
    ]
    with running(command, port, directory, "/health") as server:
        yield server


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise SystemExit(f"{name} is not installed; on Debian: apt-get install {_PACKAGES[name]}")
    return path


_PACKAGES = {"influxd": "influxdb", "victoria-metrics": "victoria-metrics"}
