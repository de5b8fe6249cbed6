"""Schemathesis against the assembled ``sonde up``: every route of the document, those where readings come in as well."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.road import Up, check_windows, create_token, wait_for

CONFIG = Path(__file__).parents[2] / "schemathesis.toml"
BUILDING = ("--no-host", "--set", "sensor.building.rate=500")


def explore(up: Up, folder: Path, token: str, *options: str) -> str:
    """What schemathesis says; it found nothing."""
    command = [
        *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"),
        *("--config-file", str(CONFIG), "run", f"http://127.0.0.1:{up.port}/openapi.json"),
        *("-H", f"Authorization: Bearer {token}", "--no-color", "--continue-on-failure"),
        *options,
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


def check_unharmed(up: Up) -> None:
    """Whatever came in: nothing of ours failed, all of it is stored, and the windows are those of what is stored."""
    assert "Traceback" not in up.said(), up.said()[-4000:]
    up.wait_until_all_is_stored()
    metrics = up.request("GET", "/metrics")[1].decode()
    assert not re.findall(r'sonde_sink_requests_total\{.*status="5', metrics)
    taken = re.findall(r'sonde_sink_requests_total\{route="/(\w+)",status="202"\} (\d+)', metrics)
    assert {route for route, _ in taken} == {"telemetry", "ingest"}, "no readings were ever taken in"
    assert up.request("GET", "/health/ready")[0] == 200
    check_windows(up)


def explore_all(tmp_path: Path, scope: str, *options: str) -> None:
    with Up(tmp_path, *BUILDING) as up:
        wait_for(lambda: up.sql("select count(*) from windows")[0][0] > 50, "something to ask for")
        token = create_token(up.data, "explorer", "--scope", scope)
        said = explore(up, tmp_path, token, *options)
        (tested,) = re.findall(r"Tested: (\d+)", said)
        assert int(tested) >= 27, said[-2000:]
        if scope == "admin":
            up.token = create_token(up.data, "after", "--scope", "admin")  # it may have revoked the one that was there
            check_unharmed(up)
        assert up.stop() == 0


def test_a_quick_look_at_every_route(tmp_path: Path) -> None:
    explore_all(tmp_path, "admin", "--phases", "examples,fuzzing", "-n", "3", "--seed", "1")


@pytest.mark.all
@pytest.mark.parametrize("scope", ["admin", "ingest"])
def test_every_route_at_length(tmp_path: Path, scope: str) -> None:
    explore_all(tmp_path, scope, "-n", "40")
