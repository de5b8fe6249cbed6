"""The example of rooms answers as it says on PostgreSQL, with psql, as its README has it."""

import os
import subprocess

import pytest

from tests.rooms import QUESTIONS, ROOMS, answered, expected

pytestmark = pytest.mark.all


def psql(database: str, *arguments: str) -> str:
    """What psql prints; it has to end with 0."""
    command = ["psql", database, "-X", "-v", "ON_ERROR_STOP=1", *arguments]
    environment = {**os.environ, "PGTZ": "UTC"}
    done = subprocess.run(command, cwd=ROOMS, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_on_postgresql(database: str) -> None:
    psql(database, "-f", "schema.sql", "-f", "load_postgresql.sql")
    for question in QUESTIONS:
        assert answered(psql(database, "--csv", "-f", f"{question}.sql")) == expected(question)
    assert "rooms" in psql(database, "-c", "select nspname from pg_namespace")
    psql(database, "-q", "-c", "drop schema rooms cascade")
