"""``sonde dlq`` as a person uses it: a processor on a real topic and database, events that it may not take, and then may."""

import base64
import json
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Producer

from tests.crash.road import free_port, wait_for
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.all


class Place:
    """A topic and a database, and Sonde's commands on them."""

    def __init__(self, kafka: Kafka, database: str, folder: Path) -> None:
        self.kafka, self.database, self.folder = kafka, database, folder
        self.topic = kafka.topic(2)
        self.config = folder / "config.ini"
        key = base64.b64encode(secrets.token_bytes(32)).decode()
        self.config.write_text(
            f"[log]\nurl = {kafka.url(self.topic)}\nencryption_key = {key}\n[store]\nurl = {database}\n"
            f"[kafka]\ntopic_dlq = letters-{self.topic}\ngroup_id = group-{self.topic}\nreplication = 1\n"
        )

    def sonde(self, *words: str, code: int = 0) -> str:
        """What a command says on standard output; with another ``code``, on standard error."""
        command = [
            sys.executable,
            "-m",
            "sonde",
            *words,
            "--config",
            str(self.config),
            "--data",
            str(self.folder / "own"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    def waiting(self) -> list[dict[str, object]]:
        found: list[dict[str, object]] = json.loads(self.sonde("dlq", "list", "--json"))
        return found

    def produce(self, *records: bytes) -> None:
        producer = Producer({"bootstrap.servers": self.kafka.servers, "log_level": 0})
        for record in records:
            producer.produce(self.topic, value=record, partition=1)
        assert producer.flush(60) == 0

    def values(self) -> list[float]:
        with psycopg.connect(self.database) as connection:
            rows = connection.execute("select value from readings where device = 'press' order by value").fetchall()
            return [row[0] for row in rows]

    def asks(self, sql: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.database) as connection:
            return connection.execute(sql.encode()).fetchall()

    @contextmanager
    def processor(self, *options: str) -> Iterator[None]:
        place = ["--config", str(self.config), "--data", str(self.folder / "processor"), "--port", str(free_port())]
        said = self.folder / "processor.log"
        with said.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "sonde", "processor", *place, "--plain", *options], stdout=output, stderr=output
            )
        try:
            yield
            assert process.poll() is None, said.read_text()[-3000:]
        finally:
            process.terminate()
            try:
                process.wait(30)
            finally:
                process.kill()
                process.wait()


@pytest.fixture
def place(kafka: Kafka, database: str, tmp_path: Path) -> Place:
    return Place(kafka, database, tmp_path)


def event(value: float, **more: object) -> bytes:
    return json.dumps(
        {"device_id": "press", "sensor_type": "force", "value": value, "event_id": str(value), **more}
    ).encode()


def test_what_was_put_away_is_shown_and_sent_again_after_a_mend(place: Place) -> None:
    place.sonde("migrate")
    place.produce(event(1.5), event(2.5), b"no event")
    with place.processor("--set", "kafka.plain_events=no"):
        wait_for(lambda: len(place.waiting()) == 3, "three letters", 90)
    first, second, third = place.waiting()
    assert [letter["letter"] for letter in (first, second, third)] == ["1:0", "1:1", "1:2"]
    assert "plain_events = yes" in str(first["why"])
    assert place.values() == []
    assert "no dead letter '1:7' waits" in place.sonde("dlq", "retry", "1:7", code=1)
    assert "--all" in place.sonde("dlq", "retry", code=1)
    with place.processor():
        assert re.fullmatch(r"1:1 is at 1:\d+ now\n", place.sonde("dlq", "retry", "1:1"))
        wait_for(lambda: place.values() == [2.5], "the event that was sent again", 90)
        assert place.sonde("dlq", "retry", "--all").count("now\n") == 2
        wait_for(lambda: place.values() == [1.5, 2.5], "the other one", 90)
        wait_for(lambda: [letter["bytes"] for letter in place.waiting()] == [len(b"no event")], "what is no event", 90)
    audit = place.sonde("audit", "show", "--json")
    assert audit.count('"dlq.retry"') == 3


def test_a_log_in_files_has_none_and_says_where_to_look(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sonde", "dlq", "list", "--data", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "/gaps" in done.stderr
    assert "Traceback" not in done.stderr
