"""Schemathesis reads the OpenAPI document and tries to make the api break its word, over a real socket."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from sonde.ports import Store
from sonde.store.postgres.store import PostgresStore
from tests.api_world import LOG, StoppedClock, build, fill, filled_store, served

CONFIG = Path(__file__).parents[2] / "schemathesis.toml"
FRONT = ("/telemetry", "/ingest")  # taken in by a handler in front of this application


def run(path: Path, store: Store, scope: str, *options: str) -> None:
    """All checks that are on by default, as a caller with a token of ``scope``."""
    house = build(lambda: store)
    excluded = [option for front in FRONT for option in ("--exclude-path", front)]
    with served(house.app) as address:
        command = [
            *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"),
            *("--config-file", str(CONFIG), "run", f"{address}/openapi.json"),
            *("-H", f"Authorization: Bearer {house.tokens[scope]}", "--no-color", "--continue-on-failure"),
            *excluded,
            *options,
        ]
        done = subprocess.run(command, cwd=path, capture_output=True, text=True, timeout=900, check=False)
    store.close()
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    selected, total = re.findall(r"Selected: (\d+)/(\d+)", done.stdout)[0]
    assert int(selected) == int(total) - len(FRONT)
    assert f"Tested: {selected}\n" in done.stdout, done.stdout[-2000:]


def test_a_quick_look(tmp_path: Path) -> None:
    run(tmp_path, filled_store(tmp_path / "store"), "admin", "--phases", "examples,fuzzing", "-n", "3", "--seed", "1")


@pytest.mark.all
def test_over_postgresql(tmp_path: Path, database: str) -> None:
    store = PostgresStore(database, LOG, clock=StoppedClock())
    fill(store)
    run(tmp_path, store, "admin", "--phases", "examples,fuzzing", "-n", "10", "--seed", "2")


@pytest.mark.all
@pytest.mark.parametrize("scope", ["admin", "read"])
def test_all_phases(tmp_path: Path, scope: str) -> None:
    run(tmp_path, filled_store(tmp_path / "store"), scope, "-n", "100")
