"""A disk that is full, files that may not grow, too many open files: 503 with Retry-After and never a false 202, and it
goes on by itself when there is room again."""

import contextlib
import http.client
import json
import random
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.disks import fill, small_disk
from tests.crash.road import Client, Up, check_ledger, check_windows, clients, wait_for

SMALL = ("--set", "store.hot_readings=3000", "--set", "store.hot_time=1s", "--set", "log.segment=256KiB")
NO_RESERVE = ("--set", "log.reserve=0")
BUILDING = ("--no-host", "--set", "sensor.building.rate=300")


@contextlib.contextmanager
def full(up: Up, disk: Path, *, mounted: bool) -> Iterator[None]:
    """No room for anything; where no disk can be made, no file may grow instead."""
    if mounted:
        ballast = fill(disk)
        try:
            yield
        finally:
            ballast.unlink()
    else:
        with limited(up, resource.RLIMIT_FSIZE, 4096):
            yield


@contextlib.contextmanager
def limited(up: Up, what: int, soft: int) -> Iterator[None]:
    before = resource.prlimit(up.pid, what)
    resource.prlimit(up.pid, what, (soft, before[1]))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(up.pid, what, before)


def strike_and_recover(
    up: Up, load: list[Client], seconds: float, fault: contextlib.AbstractContextManager[None]
) -> int:
    """Let the fault last for a while under load; how many requests were refused meanwhile."""
    wait_for(lambda: all(len(c.confirmed) > 5 for c in load), "the load being served")
    busy = count_busy(load)
    with fault:
        wait_for(lambda: count_busy(load) > busy + 20, "requests being refused for the fault")
        time.sleep(seconds)  # the fault lasts
    struck = count_busy(load) - busy
    confirmed = [len(c.confirmed) for c in load]
    wait_for(
        lambda: all(len(c.confirmed) > n + 5 for c, n in zip(load, confirmed, strict=True)), "accepting again (I4)"
    )
    return struck


def count_busy(load: list[Client]) -> int:
    return sum(len(c.busy) for c in load)


def check_all(up: Up, load: list[Client]) -> None:
    up.wait_until_all_is_stored()
    for client in load:
        client.check()
        for status, after in client.busy:
            assert (status, after is not None and int(after) >= 1) == (503, True)
    check_windows(up)
    check_ledger(up)


def fill_the_disk(tmp_path: Path, rounds: int, seconds: float, *options: str) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, 64) as mounted, Up(disk, *BUILDING, *options) as up:
        with clients(up, 3) as load:
            for _ in range(rounds):
                assert strike_and_recover(up, load, seconds, full(up, disk, mounted=mounted)) > 20
        check_all(up, load)
        assert up.stop() == 0
        up.start()
        check_all(up, load)


@pytest.mark.parametrize("reserve", ["0", pytest.param("1MiB", marks=pytest.mark.all)])
def test_mistake_10_a_full_disk_is_503_and_never_a_false_202(tmp_path: Path, reserve: str) -> None:
    fill_the_disk(tmp_path, 1, 0.5, *SMALL, "--set", f"log.reserve={reserve}")


@pytest.mark.all
def test_a_disk_that_fills_up_again_and_again(tmp_path: Path) -> None:
    fill_the_disk(tmp_path, 6, 4.0, *SMALL, *NO_RESERVE)


def test_a_limit_on_the_size_of_files(tmp_path: Path) -> None:
    with Up(tmp_path, *BUILDING, *SMALL) as up:
        with clients(up, 3) as load:
            assert strike_and_recover(up, load, 0.5, limited(up, resource.RLIMIT_FSIZE, 4096)) > 20
        check_all(up, load)
        assert up.stop() == 0


def test_killed_on_a_full_disk_and_started_there(tmp_path: Path) -> None:
    """It comes up on a full disk too, answers questions, refuses readings, and takes them when there is room."""
    disk = tmp_path / "disk"
    with small_disk(disk, 64) as mounted, Up(disk, *BUILDING, *SMALL, *NO_RESERVE) as up:
        with clients(up, 3) as load:
            wait_for(lambda: all(len(c.confirmed) > 5 for c in load), "the load being served")
            with full(up, disk, mounted=mounted):
                busy = count_busy(load)
                wait_for(lambda: count_busy(load) > busy + 20, "requests being refused for the fault")
                up.kill()
                if mounted:
                    start_where_nothing_is_free(up, disk, load)
            if not mounted:
                up.start()
            confirmed = sum(len(c.confirmed) for c in load)
            wait_for(lambda: sum(len(c.confirmed) for c in load) > confirmed + 20, "accepting again (I4)")
            wait_for(lambda: up.request("GET", "/health/ready")[0] == 200, "being ready again (I4)")
        check_all(up, load)
        assert up.stop() == 0


def start_where_nothing_is_free(up: Up, disk: Path, load: list[Client]) -> None:
    fill(disk)  # what the killed one had open is free again
    up.start()
    wait_for(up.answers, "questions being answered")
    busy = count_busy(load)
    wait_for(lambda: bool(fill(disk)) and count_busy(load) > busy + 20, "requests being refused")
    status, body = up.request("GET", "/health/ready")
    assert status == 503
    assert b"the log cannot be written (No space left on device)" in body, body


def test_too_many_open_files(tmp_path: Path) -> None:
    """No segment can be begun: 503. No connection can be taken: it waits. Both come back."""
    with Up(tmp_path, *BUILDING, *SMALL) as up:
        with clients(up, 3) as load, contextlib.closing(up.connection()) as kept:
            wait_for(lambda: all(len(c.confirmed) > 5 for c in load), "the load being served")
            assert send(kept, up.token, "kept") == 202
            with limited(up, resource.RLIMIT_NOFILE, 8):
                confirmed = sum(len(c.confirmed) for c in load)
                wait_for(lambda: send(kept, up.token, "kept") == 503, "a new segment being refused")
                assert sum(len(c.confirmed) for c in load) <= confirmed + len(load), "connections were taken"
            wait_for(lambda: send(kept, up.token, "kept") == 202, "accepting again (I4)")
            counts = [len(c.confirmed) for c in load]
            wait_for(
                lambda: all(len(c.confirmed) > n + 5 for c, n in zip(load, counts, strict=True)),
                "connections being taken again (I4)",
            )
        check_all(up, load)
        assert up.stop() == 0


def send(connection: http.client.HTTPConnection, token: str, device: str) -> int:
    """A batch of readings that fills a segment soon; the status."""
    readings = [{"device": device, "metric": "m", "value": random.random()} for _ in range(2000)]
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connection.request("POST", "/telemetry", json.dumps(readings).encode(), headers)
    answer = connection.getresponse()
    answer.read()
    return answer.status
