"""Retention and purges at a real ``sonde up``: under load, killed in the middle, rebuilt, and on a small disk."""

import contextlib
import json
import random
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.crash.disks import small_disk
from tests.crash.road import JSON, Client, Up, clients, seed, wait_for

SMALL = ("--set", "store.hot_readings=2000", "--set", "store.hot_time=1s", "--set", "log.segment=64KiB")
QUIET = ("--no-host", "--no-simulator")
LITTLE = ("--set", "retention.readings_size=64KiB", "--set", "retention.log_size=256KiB")


def floor(up: Up) -> int:
    """Microseconds from before which no readings are shown; 0 if there is none."""
    status, body = up.request("GET", "/metrics")
    assert status == 200
    found = [
        line for line in body.decode().splitlines() if line.startswith('sonde_store_floor_seconds{what="readings"}')
    ]
    return round(float(found[0].split()[-1]) * 1e6) if found else 0


def measured(up: Up, name: str) -> float:
    status, body = up.request("GET", "/metrics")
    assert status == 200
    return sum(float(line.split()[-1]) for line in body.decode().splitlines() if line.startswith(name))


def gone(up: Up) -> int:
    """How many readings were stored and are not shown any more."""
    (stored,) = up.sql("select count(*) from readings")[0]
    return int(sum(line["stored"] for line in up.get("/ledger"))) - int(stored)


def check_kept(up: Up, load: list[Client]) -> None:
    """I1 to I3 and I5 where old readings go: every confirmed reading is in its windows exactly once, what is shown of raw
    readings is shown once and was sent, and is in no window that lacks it; the ledger closes."""
    for client in load:
        assert not client.refusals, client.refusals[:3]
        (counted,) = up.sql(f"select sum(count) from windows where device = '{client.name}' and width = '5m'")[0]
        confirmed, sent = len(client.confirmed) * client.rows, len(client.sent) * client.rows
        assert confirmed <= int(counted) <= sent, "windows hold every confirmed reading once (I1, I3)"
        rows = up.sql(f"select cast(value as bigint), count(*) from readings where device = '{client.name}' group by 1")
        assert all(times == 1 for _, times in rows), "shown more than once (I1)"
        assert {value // client.rows for value, _ in rows} <= client.sent, "shown and never sent (I2)"
    for line in up.get("/ledger"):
        parts = sum(line[k] for k in ("stored", "duplicate", "refused", "set_aside", "lost", "missing"))
        assert line["sent"] == parts, line
    assert gone(up) >= 0


def first_offset(up: Up) -> int:
    return min(int(path.stem) for path in (up.data / "log" / "0000").glob("*.seg"))


def test_old_readings_and_the_log_go_while_windows_stay_and_a_rebuild_gives_the_same(tmp_path: Path) -> None:
    with Up(tmp_path, *QUIET, *SMALL, *LITTLE) as up:
        with clients(up, 2) as load:
            wait_for(lambda: first_offset(up) > 0, "the log being cut", 90)
            wait_for(lambda: measured(up, "sonde_store_removed_readings_total") > 0, "readings going", 90)
        up.wait_until_all_is_stored()
        check_kept(up, load)
        assert gone(up) > 0
        wait_for(lambda: floor(up) > 0, "the floor being told")
        at = floor(up)
        shown = up.sql("select count(*), min(epoch_us(time)) from readings")[0]
        assert shown[1] >= at
        assert up.stop() == 0
        said = up.command("rebuild")
        assert said.returncode == 0, said.stderr
        assert "it equals what was there" in said.stdout, said.stdout
        up.start()
        up.wait_until_all_is_stored()
        assert up.sql("select count(*), min(epoch_us(time)) from readings")[0][1] >= at, "nothing rises from the dead"
        check_kept(up, load)
        assert up.stop() == 0
        assert up.command("log", "verify").returncode == 0


@pytest.mark.parametrize("kills", [1, pytest.param(8, marks=pytest.mark.all)])
def test_killed_again_and_again_while_things_go(tmp_path: Path, kills: int) -> None:
    moments = random.Random(seed())
    with Up(tmp_path, *QUIET, *SMALL, *LITTLE) as up:
        with clients(up, 2) as load:
            for number in range(kills):
                confirmed = sum(len(c.confirmed) for c in load)
                wait_for(partial(_served, load, confirmed + 10), "the load being served", 60)
                purge(up, f"client-{number % 2}x", yes=True)
                time.sleep(moments.uniform(0.2, 3.0))  # the moment of the kill
                up.kill()
                up.start()
            wait_for(lambda: measured(up, "sonde_store_floor_seconds") > 0, "a floor", 90)
        up.wait_until_all_is_stored()
        check_kept(up, load)
        assert up.stop() == 0


def _served(load: list[Client], number: int) -> bool:
    return sum(len(c.confirmed) for c in load) > number


def send(up: Up, device: str, first: int, rows: int = 200) -> None:
    readings = [
        {"device": device, "metric": "m", "value": n, "time": 1_790_000_000 + 60 * n}
        for n in range(first, first + rows)
    ]
    status, answer = up.request("POST", "/telemetry", json.dumps(readings).encode(), JSON)
    assert status == 202, answer


def purge(up: Up, device: str, *, yes: bool = False, **more: Any) -> dict[str, Any]:
    body = json.dumps({"device": device, "dry_run": not yes, **more}).encode()
    status, answer = up.request("POST", "/purges", body, JSON)
    assert status == 200, answer
    found: dict[str, Any] = json.loads(answer)
    return found


def is_in_parts(up: Up, device: str) -> bool:
    """Whether a sealed row is of ``device``. Files may go while they are read."""
    for path in (up.data / "store" / "parts").glob("*.parquet"):
        with contextlib.suppress(FileNotFoundError):
            if device in set(pq.read_table(path, columns=["device"])["device"].to_pylist()):
                return True
    return False


def counts(up: Up) -> dict[str, int]:
    return dict(up.sql("select device, count(*) from readings group by 1"))


def test_a_purge_while_it_runs_and_while_it_does_not(tmp_path: Path) -> None:
    with Up(tmp_path, *QUIET, *SMALL) as up:
        for device in ("secret-press", "lathe"):
            send(up, device, 0)
        up.wait_until_all_is_stored()
        wait_for(lambda: is_in_parts(up, "secret-press"), "the readings being sealed", 60)
        assert purge(up, "secret-*") | {"readings": 200, "devices": 1, "done": False} == purge(up, "secret-*")
        assert purge(up, "secret-*", yes=True, note="a mistake")["done"]
        wait_for(lambda: counts(up) == {"lathe": 200}, "the purge being seen")
        assert up.request("GET", "/devices/secret-press")[0] == 404
        assert up.sql("select count(*) from windows where device = 'secret-press'") == [[0]]
        wait_for(lambda: not is_in_parts(up, "secret-press"), "the purged readings leaving the disk", 60)
        send(up, "secret-press", 500)
        wait_for(lambda: counts(up) == {"lathe": 200, "secret-press": 200}, "what comes afterwards being kept")
        (act,) = up.get("/audit?what=purge")
        assert (act["what"], act["on"], act["detail"]["note"]) == ("purge", "device secret-*", "a mistake")
        (mark,) = [gap for gap in up.get("/gaps") if gap["reason"] == "purged"]
        assert mark["readings"] == 200
        assert up.stop() == 0
        refused = up.command("purge", "--device", "lathe")
        assert (refused.returncode, "Add --yes" in refused.stderr) == (1, True), refused.stderr
        done = up.command("purge", "--device", "lathe", "--before", "2026-09-21T16:20:00Z", "--yes")
        assert done.returncode == 0, done.stderr
        assert "device lathe, from before 2026-09-21T16:15:00.000000Z: " in done.stdout, done.stdout
        up.start()
        up.wait_until_all_is_stored()
        left = up.sql("select count(*), min(epoch_us(time)) from readings where device = 'lathe'")[0]
        assert left == [200 - 122, (1_790_000_000 + 122 * 60) * 1_000_000]
        assert up.stop() == 0
        said = up.command("rebuild")
        assert "it equals what was there" in said.stdout, said.stdout + said.stderr


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 96):
        yield tmp_path / "disk"


@pytest.mark.all
def test_a_disk_that_runs_full_sheds_in_order_and_says_so(disk: Path) -> None:
    """The log goes first, then readings; intake goes on, and what was lost stands in ``/gaps``."""
    free = (
        "--set",
        "log.reserve=1MiB",
        "--set",
        f"retention.shed_below={1 << 40}",
        "--set",
        "retention.warn_below=2TiB",
    )
    with Up(disk, *QUIET, *SMALL, *free, "--set", "retention.shed=log, readings") as up:
        with clients(up, 2) as load:
            wait_for(lambda: measured(up, 'sonde_disk_shed_total{what="log"}') > 0, "the log being shed", 90)
            wait_for(lambda: measured(up, 'sonde_disk_shed_total{what="readings"}') > 0, "readings being shed", 90)
            confirmed = sum(len(c.confirmed) for c in load)
            wait_for(lambda: sum(len(c.confirmed) for c in load) > confirmed + 10, "intake going on", 60)
        up.wait_until_all_is_stored()
        wait_for(lambda: any(gap["reason"] == "expired" for gap in up.get("/gaps")), "the loss being told", 60)
        lost = [gap for gap in up.get("/gaps") if gap["reason"] == "expired"]
        assert sum(gap["readings"] for gap in lost) > 0
        assert "the disk was nearly full" in lost[0]["detail"]
        health = up.get("/health")
        assert "free on the disk" in health["message"], health
        assert up.request("GET", "/health/ready")[0] == 200, "a warning is no reason not to be ready"
        check_kept(up, load)
        assert up.stop() == 0
