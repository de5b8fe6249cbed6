"""The whole of ``sonde up`` is killed at random moments under load; afterwards the invariants of docs/guarantees.md hold."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.crash.road import Client, Stored, Up, check_ledger, check_windows, clients, create_token, seed, wait_for

SENSOR = """
import itertools, os, time
run, numbers = time.time_ns() % 10**9, itertools.count()
def read():
    return [("run-%d" % run, float(next(numbers))) for _ in range(5)]
"""

NODE_CONFIG = """
[node]
sink = http://127.0.0.1:{port}
[sensor.host]
enabled = no
[sensor.building]
enabled = no
[sensor.count]
kind = function
function = counting:read
device = counter
interval = 0.02
"""


def kill_rounds(tmp_path: Path, rounds: int) -> None:
    chance = random.Random(seed())
    small = ("--set", "store.hot_readings=5000", "--set", "store.hot_time=1s", "--set", "log.segment=1MB")
    with Up(tmp_path, "--no-host", "--set", "sensor.building.rate=500", *small) as up:
        load = kill_under_load(up, chance, rounds)
        up.wait_until_all_is_stored()
        for client in load:
            client.check()
        check_windows(up)
        check_ledger(up)
        assert up.stop() == 0
    assert sum(len(c.confirmed) for c in load) > rounds * 10, "too few receipts for the run to count"
    assert sum(c.retried for c in load) > 0, "no fault was seen to strike"


def kill_under_load(up: Up, chance: random.Random, rounds: int) -> list[Client]:
    with clients(up, 4) as load:
        for _ in range(rounds):
            time.sleep(chance.uniform(0.05, 1.5))  # the moment of the fault is what chance decides
            up.kill()
            up.start()
        confirmed = sum(len(client.confirmed) for client in load)
        wait_for(lambda: sum(len(c.confirmed) for c in load) > confirmed + 20, "clients being served again (I4)")
    return load


def test_killed_under_load_nothing_confirmed_is_lost_and_nothing_is_doubled(tmp_path: Path) -> None:
    kill_rounds(tmp_path, 4)


@pytest.mark.all
def test_killed_forty_times_under_load(tmp_path: Path) -> None:
    kill_rounds(tmp_path, 40)


def node_rounds(tmp_path: Path, rounds: int) -> None:
    """Node and sink are killed in turn; every run of the sensor is stored from its first reading on, without a hole."""
    chance = random.Random(seed())
    with Up(tmp_path, "--no-host", "--no-simulator") as up:
        token = create_token(up.data, "edge", "--scope", "ingest", "--node", "edge")
        (tmp_path / "counting.py").write_text(SENSOR)
        (tmp_path / "node.ini").write_text(NODE_CONFIG.format(port=up.port))
        kill_in_turn(tmp_path, up, token, chance, rounds)
        drain(tmp_path, token, up)
        check_runs(up, rounds)
        check_windows(up)
        check_ledger(up)
        assert up.stop() == 0


def kill_in_turn(tmp_path: Path, up: Up, token: str, chance: random.Random, rounds: int) -> None:
    node = start_node(tmp_path, token)
    try:
        for turn in range(rounds):
            time.sleep(chance.uniform(0.3, 1.5))  # as above
            if turn % 2:
                up.kill()
                time.sleep(chance.uniform(0.0, 0.5))
                up.start()
            else:
                node.kill()
                node.wait()
                node = start_node(tmp_path, token)
        before = count_of(up)
        wait_for(lambda: count_of(up) > before + 20, "the node's readings arriving again (I4)", 60)
        node.terminate()
        assert node.wait(15) == 0
    finally:
        node.kill()
        node.wait()


def check_runs(up: Stored, rounds: int) -> None:
    """Each run of the sensor counts from 0: what is stored of it has no hole and nothing twice."""
    rows = up.sql(
        "select metric, count(*), count(distinct value), max(value) + 1 from readings"
        " where device = 'counter' and kind = 0 group by 1"
    )
    assert len(rows) >= rounds // 2
    for metric, stored, distinct, end in rows:
        assert stored == distinct, f"{metric}: stored twice (I1)"
        assert stored == end, f"{metric}: {end - stored} readings missing in the middle (I1)"


def start_node(tmp_path: Path, token: str) -> subprocess.Popen[bytes]:
    with (tmp_path / "node.log").open("ab") as output:
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "sonde",
                "node",
                "--config",
                str(tmp_path / "node.ini"),
                "--data",
                str(tmp_path / "edge"),
            ],
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path), "SONDE_NODE_TOKEN": token},
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def count_of(up: Up) -> int:
    return int(up.sql("select count(*) from readings where device = 'counter'")[0][0])


def drain(tmp_path: Path, token: str, up: Stored) -> None:
    """Let a node without sensors send what is left in the outbox."""
    config = (tmp_path / "node.ini").read_text().replace("interval = 0.02", "interval = 0.02\nenabled = no")
    (tmp_path / "node.ini").write_text(config)
    said = (tmp_path / "node.log").stat().st_size
    node = start_node(tmp_path, token)
    try:
        wait_for(lambda: (tmp_path / "node.log").stat().st_size > said, "the node saying that it is ready")
        wait_for(lambda: outbox_is_empty(tmp_path), "the outbox being drained", 60)
        node.terminate()
        assert node.wait(15) == 0
    finally:
        node.kill()
        node.wait()
    up.wait_until_all_is_stored()


def outbox_is_empty(tmp_path: Path) -> bool:
    listed = subprocess.run(
        [sys.executable, "-m", "sonde", "outbox", "list", "--data", str(tmp_path / "edge"), "--json"],
        check=True,
        capture_output=True,
        text=True,
    )
    return bool(json.loads(listed.stdout)["entries"] == 0)


def test_node_and_sink_killed_in_turn(tmp_path: Path) -> None:
    node_rounds(tmp_path, 4)


@pytest.mark.all
def test_node_and_sink_killed_twenty_times(tmp_path: Path) -> None:
    node_rounds(tmp_path, 20)
