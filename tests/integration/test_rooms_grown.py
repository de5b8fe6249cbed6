"""The questions of the example of rooms, word for word as for DuckDB, over readings that Sonde stored in PostgreSQL."""

import base64
import secrets
import subprocess
import sys
from datetime import UTC
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Producer

from tests.crash.road import free_port, wait_for
from tests.rooms import QUESTIONS, ROOMS, Row, asked, expected
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.all


def answer(database: str, question: str) -> list[Row]:
    with psycopg.connect(database) as connection:
        rows = connection.execute(asked(question, "sonde").encode()).fetchall()
        return [
            (room, second.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S"), *numbers) for room, second, *numbers in rows
        ]


def test_over_readings_that_came_through_a_topic(kafka: Kafka, database: str, tmp_path: Path) -> None:
    topic = kafka.topic(1)
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    config = tmp_path / "config.ini"
    config.write_text(
        f"[log]\nurl = {kafka.url(topic)}\nencryption_key = {key}\n[store]\nurl = {database}\n"
        f"[kafka]\ntopic_dlq = letters-{topic}\ngroup_id = group-{topic}\nreplication = 1\n"
    )
    producer = Producer({"bootstrap.servers": kafka.servers, "log_level": 0})
    for line in (ROOMS / "sonde/readings.ndjson").read_bytes().splitlines() * 2:  # sent twice, stored once
        producer.produce(topic, value=line, partition=0)
    assert producer.flush(60) == 0
    command = [sys.executable, "-m", "sonde", "processor", "--config", str(config), "--data", str(tmp_path / "own")]
    said = tmp_path / "processor.log"
    with said.open("wb") as output:
        process = subprocess.Popen([*command, "--port", str(free_port()), "--plain"], stdout=output, stderr=output)
    try:
        wait_for(lambda: stored(database) == 16, "the readings stored", 90)
        for question in QUESTIONS:
            assert answer(database, question) == expected(question)
    finally:
        process.terminate()
        try:
            process.wait(30)
        finally:
            process.kill()
            process.wait()


def stored(database: str) -> int:
    """None before there are tables."""
    with psycopg.connect(database) as connection:
        if connection.execute("select to_regclass('store.ledger')").fetchone() == (None,):
            return 0
        row = connection.execute("select coalesce(sum(stored), 0)::int from store.ledger").fetchone()
        return row[0] if row else 0
