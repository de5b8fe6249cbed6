"""The command ``sonde log copy``, from an installation that ran, to real Kafka and PostgreSQL."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from sonde.clock import SystemClock
from sonde.control.postgres.audit import PostgresAuditTrail
from sonde.control.postgres.control import PostgresControl
from sonde.control.sqlite import SqliteControl
from sonde.log.kafka.log import KafkaLog
from sonde.ports import Credential
from sonde.store.postgres.connections import Connections
from sonde.token import Token
from tests.crash.test_log_copy import Installation, original, processed
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.all


def sonde(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sonde", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_an_installation_moves(tmp_path: Path, kafka: Kafka, database: str) -> None:
    installation = Installation(tmp_path / "data")
    installation.fill(60)
    control = SqliteControl(installation.directory.control)
    token = Token.make()
    control.create_token(
        Credential(token.id, "cellar", frozenset({"ingest"}), node="cellar", created=SystemClock().now()), token.digest
    )
    control.close()
    topic = kafka.topic(4)
    where = ["--from", str(installation.directory.path), "--to", kafka.url(topic)]
    first = sonde("log", "copy", *where)
    assert first.returncode == 0, first.stderr
    assert "copied 60 frames" in first.stderr
    assert "no database is named" in first.stderr
    installation.fill(10, seed=5)
    new = ["--set", f"log.url={kafka.url(topic)}", "--set", f"store.url={database}"]
    second = sonde("log", "copy", *where, *new)
    assert second.returncode == 0, second.stderr
    assert "copied 10 frames" in second.stderr
    assert "60 frames had been copied before" in second.stderr
    assert "moved 1 tokens" in second.stderr
    with closing(KafkaLog(kafka.connection, topic)) as log:
        assert processed(log, installation.ring) == original(installation)
    with closing(Connections(database, most=2)) as connections:
        trail = PostgresAuditTrail(connections)
        assert [act.what for _, act in trail.read(None, 9)] == ["log.copy", "log.copy"]
        with closing(PostgresControl(connections)) as moved:
            found = moved.find_token(token.digest)
            assert found is not None
            assert found.node == "cellar"
    third = sonde("log", "copy", *where[:2], *new)
    assert third.returncode == 0, third.stderr
    assert "copied 0 frames" in third.stderr
    assert "has some of its own" in third.stderr


def test_what_is_wrong_is_said_in_a_line(tmp_path: Path) -> None:
    installation = Installation(tmp_path / "data")
    data = str(installation.directory.path)
    for arguments, said in (
        (["--from", str(tmp_path / "nowhere"), "--to", "kafka://127.0.0.1:1/t"], "not a data directory"),
        (["--from", data, "--to", "file:/x"], "no topic of Kafka is named"),
        (["--from", data, "--to", "http://x"], "should begin with"),
        (["--from", data], "no topic of Kafka is named"),
    ):
        made = sonde("log", "copy", *arguments)
        assert made.returncode != 0
        assert said in made.stderr
        assert "Traceback" not in made.stderr
