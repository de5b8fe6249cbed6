"""A data directory with something in each of its files, to be copied and harmed."""

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.crash.road import JSON, START_TIME, Up, check_windows, wait_for

QUIET = ("--no-host", "--no-simulator")
SMALL = ("--set", "store.hot_readings=1000", "--set", "store.hot_time=1s", "--set", "log.segment=64KiB")
ROWS = 500  # in a request


def send(up: Up, first: int, requests: int = 1) -> None:
    """Readings of device ``d``, with values from ``first`` on; confirmed."""
    for start in range(first, first + requests * ROWS, ROWS):
        readings = [
            {"device": "d", "metric": "m", "value": float(n), "time": START_TIME + n * 1_000_000, "event_id": f"e{n}"}
            for n in range(start, start + ROWS)
        ]
        status, answer = up.request("POST", "/telemetry", json.dumps(readings).encode(), JSON)
        assert status == 202, answer


def count(up: Up) -> int:
    return int(up.sql("select count(*) from readings where device = 'd'")[0][0])


def missing(up: Up, confirmed: int) -> set[int]:
    """Values that were confirmed and are not stored. None is stored twice (I1) or was never sent (I2)."""
    rows = up.sql("select cast(value as bigint), count(*) from readings where device = 'd' group by 1")
    assert all(times == 1 for _, times in rows), "stored more than once (I1)"
    stored = {value for value, _ in rows}
    assert stored <= set(range(confirmed)), "stored and never sent (I2)"
    return set(range(confirmed)) - stored


@dataclass(frozen=True)
class World:
    """``data`` was left by a kill, ``older`` is a copy from before; ``readings`` of device ``d`` were confirmed, of which the
    older one has half."""

    data: Path
    older: Path
    token: str
    readings: int

    @contextlib.contextmanager
    def copy(self, folder: Path) -> Iterator[Up]:
        """A server that was not started yet, on a copy of it."""
        folder.mkdir(exist_ok=True)
        up = Up(folder, *QUIET, *SMALL)
        shutil.copytree(self.data, up.data)
        up.token = self.token
        try:
            yield up
        finally:
            up.__exit__()


def make_world(folder: Path) -> World:
    """Parts, checkpoints, sealed and growing segments, identities, and a WAL with the last commits."""
    requests = 6
    with Up(folder, *QUIET, *SMALL) as up:
        send(up, 0, requests)
        up.wait_until_all_is_stored()
        wait_for(lambda: any((up.data / "store" / "parts").glob("*.parquet")), "a part being written")
        assert up.stop() == 0
        shutil.copytree(up.data, folder / "older")
        up.start()
        send(up, requests * ROWS, requests)
        up.wait_until_all_is_stored()
        check_windows(up)
        up.kill()
        assert (up.data / "store" / "sonde.duckdb.wal").stat().st_size > 0
    return World(up.data, folder / "older", up.token, 2 * requests * ROWS)
