"""Memory of the whole (I6): little when nothing happens, and bounded under all the load that clients can make."""

import json
import threading
import time
from pathlib import Path

import pytest

from tests.crash.road import JSON, START_TIME, Up, check_ledger, clients, wait_for

MEGABYTE = 1 << 20


def test_an_idle_server_is_small(tmp_path: Path) -> None:
    with Up(tmp_path) as up:
        wait_for(lambda: up.sql("select count(*) from readings")[0][0] > 20, "host and building being stored")
        idle = up.memory // MEGABYTE
        print(f"idle: {idle} MB")
        assert idle < 240
        assert up.stop() == 0


@pytest.mark.all
def test_memory_stays_bounded_under_full_load(tmp_path: Path) -> None:
    """Large batches, small requests, and questions, for twenty seconds."""
    with Up(tmp_path, "--set", "sensor.building.rate=1000", "--set", "store.hot_readings=500000") as up:
        highest, sent = under_load(up, 20.0)
        print(f"highest of 20 s at full load: {highest // MEGABYTE} MB, {sent} readings in batches")
        assert highest < 600 * MEGABYTE
        assert sent > 500_000, "the load was too small for the run to count"
        up.wait_until_all_is_stored()
        check_ledger(up)
        assert up.stop() == 0


def under_load(up: Up, seconds: float) -> tuple[int, int]:
    """The most memory seen, and how many readings were confirmed in batches."""
    stop, sent = threading.Event(), [0, 0]
    loads = [threading.Thread(target=send_batches, args=(up, number, stop, sent)) for number in range(2)]
    loads.append(threading.Thread(target=ask, args=(up, stop)))
    with clients(up, 2):
        for load in loads:
            load.start()
        try:
            highest, end = 0, time.monotonic() + seconds
            while time.monotonic() < end:
                highest = max(highest, up.memory)
                time.sleep(0.05)
        finally:
            stop.set()
            for load in loads:
                load.join()
    return highest, sum(sent)


def send_batches(up: Up, number: int, stop: threading.Event, sent: list[int]) -> None:
    rows, first = 20_000, 0
    while not stop.is_set():
        columns = {
            "device": [f"device-{n % 100}" for n in range(rows)],
            "metric": f"m{number}",
            "time": [START_TIME + (first + n) * 1000 for n in range(rows)],
            "value": [float(n) for n in range(rows)],
        }
        if up.request("POST", "/telemetry", json.dumps(columns).encode(), JSON)[0] == 202:
            sent[number] += rows
        first += rows


def ask(up: Up, stop: threading.Event) -> None:
    while not stop.is_set():
        for path in ("/devices", "/kpis/live", "/historical-data?limit=10000", "/trends?sensor_type=m0", "/ledger"):
            up.request("GET", path)
        up.request("POST", "/sql", b'{"sql": "select * from readings order by value limit 10000"}', JSON)
