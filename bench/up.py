"""``sonde up`` as it is measured: without its own sensors."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.servers import Server, free_port, running

SONDE = (sys.executable, "-m", "sonde")


@contextlib.contextmanager
def sonde(directory: Path, *options: str) -> Iterator[Server]:
    """A fresh one in ``directory``, with a token that may do everything."""
    directory.mkdir(parents=True, exist_ok=True)
    port, data = free_port(), directory / "sonde-data"
    up = [*SONDE, "up", "--data", str(data), "--port", str(port), "--plain", "--no-host", "--no-simulator", *options]
    with running(up, port, directory, "/health/live") as server:
        token = create_token(data, f"bench-{os.getpid()}", "--scope", "admin")
        yield Server(port, server.process, data, token)


def create_token(data: Path, name: str, *options: str) -> str:
    command = [*SONDE, "token", "create", name, "--data", str(data), *options]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def wait_until_stored(server: Server, rows: int) -> None:
    """Until the processor is at the end of the log and an answer counts ``rows`` readings."""
    while b"sonde_processor_lag_frames 0.0" not in server.get("/metrics"):
        time.sleep(0.02)
    found = server.sql("select count(*) from readings")
    if found != [[rows]]:
        raise RuntimeError(f"{rows} readings were confirmed, and an answer counts {found}")
