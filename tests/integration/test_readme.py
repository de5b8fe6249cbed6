"""A newcomer who types what README.md and docs/getting-started.md say, command by command, gets what they say."""

import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final, Self

import pytest

from tests.integration.commands import Up, environment, wait_for

ROOT: Final = Path(__file__).parents[2]
ADDRESS: Final = "http://127.0.0.1:8000"

SAYS: Final[Mapping[str, str]] = {
    "curl -s http://127.0.0.1:8000/telemetry": '{"status":"accepted","accepted":1}',
    "curl -s http://127.0.0.1:8000/devices/boiler": '"value":71.5',
    'curl -s "http://127.0.0.1:8000/historical-data?device_id=boiler"': '"value":71.5',
    "sonde sql \"select time, value from readings where device = 'boiler'\"": "2026-01-01T12:00:00.000000Z   71.5",
    'sonde sql "select site, zone': "Zone-0",
    'sonde sql "select metric, count(*)': "co2",
    'sonde sql "select * from alerts"': "severity",
    "sonde replay examples/occupancy/office.csv": "sent 3,600 readings from 600 rows",
    "sonde sql \"select start, avg from windows where device = 'office'": "2015-02-04T16:45:00.000000Z  705.8333333",
    "sonde log verify": "the log is sound",
    "sonde command demo-device calibrate_sensors": "ok: calibrated in 3 s",
    "sonde commands list": "succeeded",
    "sonde outbox list": "backlog",
    "sonde init": "wrote config.ini",
    "sonde config check": "nothing is wrong",
}
"""What a command prints, by its beginning: sooner or later, for a reading can be asked for a moment after its receipt."""
SILENT: Final = ("export PATH=", "TOKEN=")
APART: Final = ("scripts/up", "scripts/test")


class Shell:
    """One shell, as a newcomer has one open."""

    def __init__(self, folder: Path) -> None:
        self._mark = f"done-{secrets.token_hex(8)}"
        self._process = subprocess.Popen(
            ["/bin/bash"],
            cwd=folder,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def run(self, command: str) -> str:
        """What ``command`` prints; it has to end with 0."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\nprintf '\\n%s %s\\n' {self._mark} $?\n")
        self._process.stdin.flush()
        said = ""
        for line in self._process.stdout:
            if line.startswith(self._mark):
                assert line.split()[1] == "0", (command, said)
                return said
            said += line
        raise AssertionError(f"the shell ended in {command!r}: {said}")


def commands(page: str) -> Iterator[str]:
    """The shell commands of a page, in order; those that go on over several lines in one piece."""
    text = (ROOT / page).read_text()
    for block in re.findall(r"^```sh\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        for command in re.split(r"(?<!\\)\n", block):
            if command.strip():
                yield command.partition("  #")[0].rstrip()


def expected(command: str) -> str:
    found = [said for beginning, said in SAYS.items() if command.startswith(beginning)]
    assert len(found) == 1, f"the test does not know what this prints: {command}"
    return found[0]


def prints(shell: Shell, command: str, text: str) -> bool:
    return text in shell.run(command)


def follow(page: str, folder: Path) -> None:
    """Type the commands of ``page`` while Sonde runs on ``folder``."""
    (folder / "examples").symlink_to(ROOT / "examples")
    (folder / ".venv").symlink_to(sys.prefix)
    with Up(folder, "--set", "sensor.building.rate=50", data="sonde-data") as up, Shell(folder) as shell:
        for command in commands(page):
            here = command.replace(ADDRESS, up.url)
            if command.startswith(SILENT):
                shell.run(here)
            elif command not in APART:
                text = expected(command)
                wait_for(partial(prints, shell, here, text), f"{text!r} from {command!r}")
        assert up.stop()[0] == 0


def test_the_readme_can_be_followed(tmp_path: Path) -> None:
    assert [command for command in commands("README.md") if command in APART] == list(APART)
    follow("README.md", tmp_path)


@pytest.mark.all
def test_getting_started_can_be_followed(tmp_path: Path) -> None:
    follow("docs/getting-started.md", tmp_path)


def test_the_first_command_starts_it_in_seconds_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    begun = time.monotonic()
    command = [str(ROOT / "scripts" / "up"), "--port", "0", "--data", str(tmp_path / "data")]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if "  data  " in line:
                break
        seconds = time.monotonic() - begun
        os.kill(process.pid, signal.SIGINT)
        rest, _ = process.communicate(timeout=15)
    assert process.returncode == 0, said + rest
    assert "listening at http://127.0.0.1:" in said
    assert "Setting up" in said or seconds < 10
