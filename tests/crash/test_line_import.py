"""The encrypted line log of an older sink comes in: every reading once, with its time, and every line that cannot is named."""

import base64
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from sonde.assemble.log.line_import import Imported, import_lines
from sonde.assemble.log.line_log import Opened, lines
from sonde.clock import SECOND
from sonde.config import load
from sonde.directory import DataDirectory
from sonde.errors import Hold, NotFound
from tests.crash.road import START_TIME, Up, check_ledger, check_windows
from tests.crash.worlds import QUIET, SMALL

KEY, OTHER = Fernet.generate_key(), Fernet.generate_key()
START = START_TIME // SECOND


def token(thing: Any, key: bytes = KEY, at: int = START) -> bytes:
    return Fernet(key).encrypt_at_time(json.dumps(thing).encode(), at)


def short(n: int) -> dict[str, Any]:
    return {"name": f"sensor_{n % 3}", "value": n, "timestamp": (START + n) * 1000}


def log_of(*numbers: int, key: bytes = KEY) -> list[bytes]:
    """One line a number: a reading, or every fifth an array of two."""
    return [token([short(n), short(n + 1_000_000)] if n % 5 == 0 else short(n), key) for n in numbers]


def write(path: Path, found: list[bytes]) -> Path:
    path.write_bytes(b"".join(line + b"\n" for line in found))
    return path


@pytest.fixture
def directory(tmp_path: Path) -> DataDirectory:
    return DataDirectory.create(tmp_path / "data")


def take(directory: DataDirectory, path: Path, *keys: bytes) -> Imported:
    given = {str(i): base64.urlsafe_b64decode(key) for i, key in enumerate(keys or (KEY,))}
    return import_lines(directory, load().settled(), path, given, lambda done, total: None)


@pytest.fixture
def up(directory: DataDirectory) -> Iterator[Up]:
    """Not started yet; on the directory that was imported into."""
    made = Up(directory.path.parent, *QUIET, *SMALL)
    yield made
    made.__exit__()


def stored(up: Up) -> list[list[Any]]:
    up.wait_until_all_is_stored()
    rows = up.sql("select device, metric, cast(value as bigint) as v, epoch_us(time) from readings order by v, device")
    check_windows(up)
    check_ledger(up)
    return rows


def expected(*numbers: int) -> list[list[Any]]:
    both = [*numbers, *(n + 1_000_000 for n in numbers if n % 5 == 0)]
    return [[f"sensor_{n % 3}", "value", n, (START + n) * SECOND] for n in sorted(both)]


def test_into_a_directory_that_no_server_runs_on(directory: DataDirectory, tmp_path: Path, up: Up) -> None:
    file = write(tmp_path / "old.log", log_of(*range(50)))
    made = take(directory, file)
    assert (made.lines, made.readings, made.before, made.bad) == (50, 60, 0, [])
    assert (take(directory, file).lines, take(directory, file).before) == (0, 50)
    write(tmp_path / "renamed.log", file.read_bytes().splitlines() + log_of(*range(50, 60)))  # it has grown
    grown = take(directory, tmp_path / "renamed.log")
    assert (grown.lines, grown.before) == (10, 50)
    up.start()
    assert stored(up) == expected(*range(60))
    assert up.stop() == 0


def test_into_a_server_that_runs_and_twice_stores_once(tmp_path: Path) -> None:
    file = write(tmp_path / "old.log", log_of(*range(200)))
    (tmp_path / "key").write_bytes(KEY)
    with Up(tmp_path, *QUIET, *SMALL) as up:
        for _ in range(2):
            for record in (up.data / "import").glob("*.json"):
                record.unlink()  # as if it had been killed before it was written down
            done = up.command("log", "import", str(file), "--key", f"file:{tmp_path / 'key'}")
            assert done.returncode == 0, done.stderr
            assert "imported 240 readings from 200 lines" in done.stderr
        assert stored(up) == expected(*range(200))
        assert up.stop() == 0


@pytest.mark.all
def test_lines_that_cannot_be_taken_are_named_and_tried_again(directory: DataDirectory, tmp_path: Path, up: Up) -> None:
    found = log_of(*range(10))
    found[2] = b"not a token"
    found[4:6] = log_of(4, 5, key=OTHER)
    found[7] = token({"name": "sensor", "value": float("inf")})
    found[8] = b""
    file = write(tmp_path / "old.log", found)
    made = take(directory, file)
    assert [bad.number for bad in made.bad] == [3, 5, 6, 8]
    assert [bad.why for bad in made.bad[:3]] == ["no key opens it"] * 3
    assert (made.lines, made.readings) == (5, 6)
    again = take(directory, file, KEY, OTHER)
    assert [bad.number for bad in again.bad] == [3, 8]
    assert (again.lines, again.before) == (2, 5)
    up.start()
    assert stored(up) == expected(0, 1, 3, 4, 5, 6, 9)
    assert up.stop() == 0


def test_a_last_line_without_its_end_waits_for_it(directory: DataDirectory, tmp_path: Path) -> None:
    found = log_of(1, 2, 3)
    file = tmp_path / "old.log"
    file.write_bytes(b"\n".join(found)[:-20])
    made = take(directory, file)
    assert [(bad.number, bad.why) for bad in made.bad] == [(3, "the file ends in the middle of it")]
    file.write_bytes(b"\n".join(found))
    made = take(directory, file)
    assert (made.lines, made.before, made.bad) == (1, 2, [])
    write(file, [*found, *log_of(4)])
    assert (take(directory, file).lines, take(directory, file).before) == (1, 4)


def test_a_wrong_key_imports_nothing(directory: DataDirectory, tmp_path: Path) -> None:
    file = write(tmp_path / "old.log", log_of(*range(50)))
    with pytest.raises(Hold, match="none of the first 20 lines"):
        take(directory, file, OTHER)
    assert not directory.log.exists()
    with pytest.raises(NotFound):
        take(directory, tmp_path / "none.log")


@pytest.mark.all
def test_what_has_no_time_gets_that_of_its_line(directory: DataDirectory, tmp_path: Path, up: Up) -> None:
    take(directory, write(tmp_path / "old.log", [token({"name": "s", "value": 1}, at=START - 77)]))
    up.start()
    assert stored(up) == [["s", "value", 1, (START - 77) * SECOND]]
    assert up.stop() == 0


def test_every_form_is_understood_and_an_id_of_ones_own_is_kept(tmp_path: Path) -> None:
    building = {
        "event_id": "0b6f2a8e-0000-4000-8000-000000000001",
        "device_id": "d",
        "site_id": "S",
        "zone_id": "Z",
        "sensor_type": "co2",
        "value": 812.5,
        "ts_event": "2026-01-01T00:00:00Z",
    }
    columns = {"device": ["a", "b"], "metric": "m", "time": [START, START], "value": [1, "two"]}
    opened = Opened([Fernet(KEY)])
    path = write(tmp_path / "old.log", [token(building), token(columns), token([short(1), building])])
    first, second, third = (opened.readings(line) for line in lines(path))
    assert [r.event_id for r in first.readings()] == [building["event_id"]]
    assert [r.value for r in second.readings()] == [1, "two"]
    ids = [r.event_id for r in (*second.readings(), *third.readings())]
    assert ids[3] == building["event_id"]
    assert len(set(ids)) == 4


@pytest.mark.all
def test_the_key_of_an_older_configuration_opens_it(directory: DataDirectory, tmp_path: Path) -> None:
    file = write(tmp_path / "old.log", log_of(1, 2))
    directory.config.write_text(f"[telemetry_sink_logging]\nencryption_key = {KEY.decode()}\n")
    command = [sys.executable, "-m", "sonde", "log", "import", str(file), "--data", str(directory.path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "imported 2 readings from 2 lines" in done.stderr
    refused = subprocess.run(
        [*command, "--key", KEY.decode()], check=False, capture_output=True, text=True, timeout=120
    )
    assert refused.returncode == 1
    assert KEY.decode() not in refused.stderr


_KILLED = """
import os, signal, sys
from pathlib import Path
from sonde.assemble.log import line_import, line_log
from sonde.config import load
from sonde.directory import DataDirectory
import base64
calls = [0]
real = line_import._Stream.send
def send(self, batch):
    real(self, batch)
    calls[0] += 1
    if calls[0] == 2:
        os.kill(os.getpid(), signal.SIGKILL)
line_import._Stream.send = send
line_import._AT_ONCE = 50
key = base64.urlsafe_b64decode(sys.argv[3])
line_import.import_lines(DataDirectory(Path(sys.argv[1])), load().settled(), Path(sys.argv[2]), {"k": key}, lambda d, t: None)
"""


@pytest.mark.all
def test_killed_in_the_middle_and_called_again(directory: DataDirectory, tmp_path: Path, up: Up) -> None:
    file = write(tmp_path / "old.log", log_of(*range(300)))
    arguments = [str(directory.path), str(file), KEY.decode()]
    done = subprocess.run([sys.executable, "-c", _KILLED, *arguments], check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    made = take(directory, file)
    assert 0 < made.before < 300
    assert made.before + made.lines == 300
    up.start()
    assert stored(up) == expected(*range(300))
    assert up.stop() == 0
