"""``sonde doctor`` asks real brokers and a real database."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.fleet import KEY
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.all


def doctor(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sonde", "doctor", "--data", str(folder / "none")]
    return subprocess.run(
        command,
        env={**os.environ, "SONDE_LOG_ENCRYPTION_KEY": KEY, **environment},
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_it_says_how_brokers_and_database_are(tmp_path: Path, kafka: Kafka, database: str) -> None:
    topic = kafka.topic(partitions=2)
    done = doctor(tmp_path, SONDE_LOG_URL=kafka.url(topic), DATABASE_URL=database)
    assert "1 broker answers" in done.stdout, done.stdout + done.stderr
    assert f"{topic} is kept in 1 copy" in done.stdout
    assert "PostgreSQL 15" in done.stdout
    assert "the database's clock agrees" in done.stdout
    assert "it has no tables yet: the first start makes them" in done.stdout


def test_it_names_what_does_not_answer_and_no_password(tmp_path: Path) -> None:
    nowhere = "postgresql://sonde:hunter2@127.0.0.1:9/telemetry"
    done = doctor(tmp_path, SONDE_LOG_URL="kafka://127.0.0.1:9/telemetry.events", DATABASE_URL=nowhere)
    assert done.returncode == 1, done.stdout
    assert "hunter2" not in done.stdout + done.stderr
    assert "127.0.0.1:9" in done.stdout
    assert "Traceback" not in done.stderr
