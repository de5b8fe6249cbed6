"""A real topic in which frames and events stand side by side: what is read, what is put away, and what comes back."""

import hashlib
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Producer

from sonde.entry import Body, Entry, EntryKind, Lane
from sonde.errors import Invalid, Problem
from sonde.frame import Frame, Opener, Sealer
from sonde.keyring import KeyRing
from sonde.log.kafka.dead_letters import KafkaDeadLetters
from sonde.log.kafka.log import KafkaLog
from sonde.metrics import Metrics
from sonde.process.processor import Processor
from sonde.reading import Batch
from sonde.sink.events import SOURCE, read_events
from sonde.testing.plain_store import PlainIdentities, PlainStore
from tests.processor_world import T0, reading
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.all


class Mistaken(Opener):
    """An opener with a mistake that somebody mends: it cannot read frames of seven readings."""

    mistaken = True

    def open(self, data: bytes | memoryview, *, file: str = "frame", offset: int = 0) -> Frame:
        frame = super().open(data, file=file, offset=offset)
        if self.mistaken and frame.body.readings == 7:
            raise Invalid(Problem(None, "body", "a mistake of this version"))
        return frame


class Road:
    """A topic and its dead letters, one processor of partition 1, and a store in memory."""

    def __init__(self, kafka: Kafka) -> None:
        self.kafka = kafka
        self.topic = kafka.topic(2)
        self.log = KafkaLog(kafka.connection, self.topic)
        self.letters = KafkaDeadLetters(
            kafka.connection, kafka.topic(), self.topic, self.log.id, group="test", max_frame_bytes=16 << 20
        )
        self.ring = KeyRing.generate("key-1")
        self.sealer = Sealer(self.ring)
        self.opener = Mistaken(self.ring)
        self.store, self.metrics = PlainStore(), Metrics()
        self.processor = Processor(
            self.log,
            self.store,
            PlainIdentities(),
            self.opener,
            partition=1,
            metrics=self.metrics,
            linger=0.0,
            events=read_events,
            dead_letters=self.letters,
        )

    def batch(self, seq: int, rows: int, count: int) -> None:
        digest = hashlib.sha256(b"%d" % seq).digest()[:16]
        entry = Entry(EntryKind.READINGS, "node", rows, digest, b"", Lane.LIVE, "epoch", seq, count)
        batch = Batch.of([reading(float(100 * seq + i), seq + i / 10) for i in range(rows)])
        self.log.append(1, [self.sealer.seal(Body([entry], batch), T0)])

    def produce(self, *records: bytes) -> None:
        """What another program does."""
        producer = Producer({"bootstrap.servers": self.kafka.servers, "log_level": 0})
        for record in records:
            producer.produce(self.topic, value=record, key=b"d", partition=1)
        assert producer.flush(60) == 0

    def catch_up(self) -> None:
        deadline = time.monotonic() + 60
        while self.processor.position < self.log.ends()[1][1]:
            self.processor.step(1.0)
            assert time.monotonic() < deadline
        self.processor.step(0.0)

    def values(self) -> list[Any]:
        return sorted(self.store.table()["value"].to_pylist())

    def close(self) -> None:
        self.letters.close()
        self.log.close()


@pytest.fixture
def road(kafka: Kafka) -> Iterator[Road]:
    made = Road(kafka)
    yield made
    made.close()


def event(**fields: Any) -> bytes:
    return json.dumps({"device_id": "d", "sensor_type": "co2", **fields}).encode()


def test_events_of_other_programs_stand_beside_frames(road: Road) -> None:
    before = time.time()
    road.batch(1, 1, 1)
    road.produce(
        event(event_id="a", value=1.5, ts_event="2026-01-01T00:00:00Z"),
        event(event_id="a", value=1.5, ts_event="2026-01-01T00:00:00Z"),
        json.dumps([json.loads(event(event_id=i, value=float(i))) for i in "23"]).encode(),
        event(value=4.5),
    )
    road.batch(2, 1, 2)
    road.catch_up()
    assert road.values() == [1.5, 2.0, 3.0, 4.5, 100.0, 200.0]
    line = road.store.ledger[SOURCE, Lane.DIRECT]
    assert (line.stored, line.duplicate, line.set_aside) == (4, 1, 0)
    newest = road.store.table().sort_by("time")["time"].to_pylist()[-1].timestamp()
    assert before - 60 < newest < time.time() + 60  # an event without a time has that of its record


def test_what_cannot_be_read_is_put_away_and_a_retried_batch_fills_its_hole(road: Road) -> None:
    road.batch(1, 2, 2)
    road.batch(2, 7, 9)
    road.produce(b"no event at all", event(value=1, unit="ppm"))
    road.batch(3, 1, 10)
    road.catch_up()
    assert road.values() == [100.0, 101.0, 300.0]
    assert road.store.streams["node", "epoch", Lane.LIVE].holes == ((2, 2, 7, 1767225603000000),)
    assert [mark.offset for mark in road.store.marks] == [1, 2, 3]
    letters = road.letters.letters(10)
    assert [letter.name for letter in letters] == ["1:1", "1:2", "1:3"]
    assert "a mistake of this version" in letters[0].why
    assert letters[1].frame == b"no event at all"
    assert "unit" in letters[2].why
    road.opener.mistaken = False
    assert road.letters.take_back(letters[0]) == 5
    road.letters.take_back(letters[1])
    road.catch_up()
    assert len(road.values()) == 10
    assert road.store.streams["node", "epoch", Lane.LIVE].holes == ()
    line = road.store.ledger["node", Lane.LIVE]
    assert (line.declared, line.stored, line.duplicate) == (10, 10, 0)
    assert [letter.name for letter in road.letters.letters(10)] == ["1:3", "1:6"]  # what is no event comes again
