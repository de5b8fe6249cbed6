"""``sonde up`` as a process: two on one directory, a port in use, nobody who reads its lines, an end under load."""

import contextlib
import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.crash.road import JSON, Up, check_ledger, check_windows, clients, wait_for

QUIET = ("--no-host", "--no-simulator")
READING = b'{"device": "a", "metric": "b", "value": 1}'


def test_a_start_that_fails_says_why_in_one_line_and_harms_nothing(tmp_path: Path) -> None:
    """Two on one directory, and a port in use: nothing of what libraries say when they are torn down."""
    with Up(tmp_path, *QUIET) as up:
        second = Up(tmp_path, *QUIET)
        line = f"sonde: {up.data} is in use by process {up.pid}. Stop that one first, or name another directory\n"
        assert second.refuse_to_start() == line
        (tmp_path / "other").mkdir()
        other = Up(tmp_path / "other", *QUIET)
        other.port = up.port
        said = other.refuse_to_start()
        assert said.startswith(f"sonde: cannot listen at 127.0.0.1 port {up.port} (Address already in use)"), said
        assert said.count("\n") == 1, said
        assert up.request("GET", "/health/ready")[0] == 200
        assert up.stop() == 0


def test_lines_that_cannot_be_written_stop_nothing(tmp_path: Path) -> None:
    """Where the disk that takes them is full, and where whoever read them has gone."""
    reading, writing = os.pipe()
    os.close(reading)
    with Up(tmp_path, *QUIET) as up:
        assert up.stop() == 0
        for lines in (os.open("/dev/full", os.O_WRONLY), writing):
            with os.fdopen(lines, "wb") as opened:
                up.start(opened)
                assert up.request("POST", "/telemetry", READING, JSON)[0] == 202
                up.wait_until_all_is_stored()
                assert up.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.all)])
def test_told_to_stop_under_load_it_answers_what_it_has_and_ends_in_time(
    tmp_path: Path, number: signal.Signals
) -> None:
    with Up(tmp_path, "--no-host", "--set", "sensor.building.rate=1000") as up:
        with clients(up, 4) as load:
            wait_for(lambda: all(len(c.confirmed) > 20 for c in load), "the load being served")
            statuses = end_with_requests_under_way(up, number)
            up.start()
            confirmed = [len(c.confirmed) for c in load]
            wait_for(
                lambda: all(len(c.confirmed) > n + 5 for c, n in zip(load, confirmed, strict=True)),
                "clients being served again (I4)",
            )
        up.wait_until_all_is_stored()
        for client in load:
            client.check()
        stored = up.sql("select count(*) from readings where device like 'under-way-%'")[0][0]
        assert stored == 2000 * statuses.count(202)
        check_windows(up)
        check_ledger(up)


def end_with_requests_under_way(up: Up, number: signal.Signals) -> list[int]:
    """Every request that it had when it was told to end is answered: confirmed, or refused."""
    with contextlib.ExitStack() as stack:
        under_way = [stack.enter_context(contextlib.closing(up.connection())) for _ in range(20)]
        headers = {"Authorization": f"Bearer {up.token}", **JSON}
        for connection in under_way:
            connection.request("POST", "/telemetry", READING, headers)
            assert connection.getresponse().read()
        for i, connection in enumerate(under_way):
            readings = [{"device": f"under-way-{i}", "metric": "m", "value": n} for n in range(2000)]
            connection.request("POST", "/telemetry", json.dumps(readings).encode(), headers)
        os.kill(up.pid, number)
        begun = time.monotonic()
        answers = [connection.getresponse() for connection in under_way]
        assert {answer.status for answer in answers} <= {202, 503}
        assert all(answer.headers["Retry-After"] for answer in answers if answer.status == 503)
        assert up.wait(10) == 0, up.said()[-2000:]
        assert time.monotonic() - begun < 10
        return [answer.status for answer in answers]
