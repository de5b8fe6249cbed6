"""A day in minutes: readings under TLS, and beside them all that operating brings: keys rotated, certificates renewed, backups,
purges, rules edited, the log cut. Afterwards the invariants hold, and the newest backup can be gone on from."""

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.crash.road import JSON, Client, Up, check_windows, clients, count_stored, wait_for

OPTIONS = (
    *("--no-host", "--no-simulator", "--set", "log.segment=256KiB", "--set", "log.reserve=0"),
    *("--set", "store.hot_readings=20000", "--set", "store.hot_time=2s"),
    *("--set", "retention.log=10s", "--set", "retention.audit=1h", "--set", "retention.alerts=1h"),
)
MOST_MEMORY = 900 << 20


class Operator:
    """Does one thing after another, round and round; each must succeed."""

    def __init__(self, up: Up, backups: Path) -> None:
        self._up, self._backups = up, backups
        self._numbers = itertools.count()
        self.rounds = self.purged = 0
        self.failed: str = ""

    def run(self, stop: threading.Event) -> None:
        try:
            while not stop.is_set():
                for act in (self.rotate, self.renew, self.back_up, self.purge, self.edit_a_rule, self.ask):
                    act()
                self.rounds += 1
        except BaseException as error:
            self.failed = repr(error)

    def rotate(self) -> None:
        self._command("keys", "rotate")

    def renew(self) -> None:
        self._command("cert", "renew")

    def back_up(self) -> None:
        self._command("backup", str(self._backups), "--keep", "2")

    def purge(self) -> None:
        """Readings of a device of its own go; nobody else's."""
        name = f"gone-{next(self._numbers)}"
        body = json.dumps([{"device": name, "metric": "m", "value": 1.0}]).encode()
        assert self._up.request("POST", "/telemetry", body, JSON)[0] == 202
        self._command("purge", "--device", name, "--yes")
        wait_for(lambda: self._up.request("GET", f"/devices/{name}")[0] == 404, "the purge", 60)
        self.purged += 1

    def edit_a_rule(self) -> None:
        rule = json.dumps({"type": "above", "metric": "m1", "threshold": float(next(self._numbers))}).encode()
        status, body = self._up.request("PUT", "/alert-rules/mixed", rule, JSON)
        assert status in {200, 201}, body

    def ask(self) -> None:
        for path in (
            "/devices",
            "/kpis/live",
            "/historical-data?limit=1000",
            "/alerts",
            "/ledger",
            "/metrics",
            "/audit",
        ):
            wait_for(lambda p=path: self._up.request("GET", p)[0] == 200, f"an answer to {path}", 60)  # type: ignore[misc]

    def _command(self, *arguments: str) -> None:
        done = self._up.command(*arguments)
        assert done.returncode == 0, (arguments, done.stderr[-2000:])


@contextmanager
def running(work: Callable[[threading.Event], None]) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def with_keys_of_its_own(folder: Path) -> Up:
    """An installation with certificates, whose keys are in its key ring and not in the configuration."""
    up = Up(folder, *OPTIONS, tls=True)
    assert up.command("init", "--tls").returncode == 0
    config = up.data / "config.ini"
    lines = [line for line in config.read_text().splitlines(keepends=True) if not line.startswith("encryption_key")]
    config.write_text("".join(lines))
    return up


def go_on_from(backup: Path, folder: Path) -> None:
    """A backup becomes an installation that takes in again, and its sums close."""
    folder.mkdir()
    restore = [sys.executable, "-m", "sonde", "restore", str(backup), "--data", str(folder / "data")]
    done = subprocess.run(restore, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with Up(folder, *OPTIONS, tls=True) as again:
        again.wait_until_all_is_stored()
        with clients(again, 1) as load:
            wait_for(lambda: len(load[0].confirmed) > 5, "the restored one taking in", 60)
        again.wait_until_all_is_stored()
        check_windows(again)
        check_sums(again)
        assert again.stop() == 0


@pytest.mark.all
def test_minutes_of_mixed_load_leave_nothing_wrong(tmp_path: Path) -> None:
    """Two minutes; ``SONDE_TEST_MIXED_SECONDS=600`` makes it ten."""
    seconds = float(os.environ.get("SONDE_TEST_MIXED_SECONDS", "120"))
    backups = tmp_path / "backups"
    with with_keys_of_its_own(tmp_path) as up:
        operator = Operator(up, backups)
        with clients(up, 3) as load, running(operator.run):
            most = watch_memory(up, seconds, lambda: bool(operator.failed))
        assert not operator.failed, operator.failed
        check(up, load)
        stored = sum(line["stored"] for line in check_sums(up))
        assert stored == count_stored(up) + operator.purged, "the ledger and the store differ (I5)"
        assert up.command("backup", str(backups), "--verify").returncode == 0
        assert up.command("audit", "verify").returncode == 0
        assert first_offset(up) > 0, "the log was never cut: nothing was shown"
        assert up.stop() == 0
    assert operator.rounds > 1, "hardly anything was done beside the load"
    assert sum(len(c.confirmed) for c in load) > 100, "too few receipts for the run to count"
    assert most < MOST_MEMORY, f"{most >> 20} MB (I6)"
    go_on_from(backups, tmp_path / "again")


def watch_memory(up: Up, seconds: float, over: Callable[[], bool]) -> int:
    """Wait, and see how much memory it took at most."""
    most, deadline = 0, time.monotonic() + seconds
    while time.monotonic() < deadline and not over():
        most = max(most, up.memory)
        time.sleep(0.2)
    return most


def check(up: Up, load: list[Client]) -> None:
    up.wait_until_all_is_stored()
    for client in load:
        client.check()
    check_windows(up)


def check_sums(up: Up) -> list[dict[str, Any]]:
    """I5: the sums of the ledger close, and nothing is missing; its lines."""
    lines: list[dict[str, Any]] = up.get("/ledger")
    for line in lines:
        parts = sum(line[k] for k in ("stored", "duplicate", "refused", "set_aside", "lost", "missing"))
        assert line["sent"] == parts, line
        assert line["missing"] == 0, line
    return lines


def first_offset(up: Up) -> int:
    """The first frame that the log still holds."""
    names = sorted(path.stem for path in (up.data / "log").rglob("*.seg"))
    return int(names[0])
