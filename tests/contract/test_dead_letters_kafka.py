"""Dead letters keep the contract in a real topic of Kafka; and what is taken back is stored where it belongs."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from sonde.errors import Retry
from sonde.log.kafka.connection import Connection
from sonde.log.kafka.dead_letters import KafkaDeadLetters
from sonde.testing.dead_letters_contract import Beside, DeadLettersContract, letter
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.all


def records(kafka: Kafka, topic: str, partition: int) -> list[tuple[int, bytes]]:
    """What stands in a partition, with nothing of Sonde's between."""
    consumer = Consumer(
        {"bootstrap.servers": kafka.servers, "group.id": "look", "enable.partition.eof": True, "log_level": 0}
    )
    found: list[tuple[int, bytes]] = []
    try:
        consumer.assign([TopicPartition(topic, partition, 0)])
        while True:
            message = consumer.poll(30)
            assert message is not None
            error = message.error()
            if error is not None:
                assert error.code() == KafkaError._PARTITION_EOF
                return found
            offset, value = message.offset(), message.value()
            assert offset is not None
            found.append((offset, bytes(value or b"")))
    finally:
        consumer.close()


def letters_of(kafka: Kafka, log_topic: str, topic: str, log: str = "a-log") -> KafkaDeadLetters:
    return KafkaDeadLetters(
        kafka.connection, topic, log_topic, log, group="test", max_frame_bytes=16 << 20, seconds=20.0
    )


class TestKafkaDeadLetters(DeadLettersContract):
    @pytest.fixture
    def beside(self, kafka: Kafka) -> Iterator[Beside]:
        log = kafka.topic(2)
        letters = letters_of(kafka, log, kafka.topic(3))
        yield Beside(letters, lambda partition: records(kafka, log, partition))
        letters.close()


def test_what_else_stands_in_the_topic_is_passed_over(kafka: Kafka) -> None:
    log, topic = kafka.topic(), kafka.topic()
    letters, other = letters_of(kafka, log, topic), letters_of(kafka, log, topic, "another-log")
    other.put(letter(0, 1))
    kafka_says(kafka, topic, b"written by somebody else")
    letters.put(letter(0, 2, b""))
    letters.put(letter(0, 3))
    assert [one.name for one in letters.letters(10)] == ["0:2", "0:3"]
    assert [one.name for one in other.letters(10)] == ["0:1"]
    letters.close()
    other.close()


def kafka_says(kafka: Kafka, topic: str, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": kafka.servers, "log_level": 0})
    producer.produce(topic, value=value, partition=0)
    assert producer.flush(30) == 0


def test_without_a_broker_nothing_is_said_to_be_kept() -> None:
    letters = KafkaDeadLetters(
        Connection("127.0.0.1:9"), uuid4().hex, "log", "a-log", group="test", max_frame_bytes=1 << 20, seconds=1.0
    )
    with pytest.raises(Retry):
        letters.put(letter(0, 1))
    with pytest.raises(Retry):
        letters.letters(1)


def test_a_topic_that_nobody_has_made_yet_holds_none(kafka: Kafka) -> None:
    letters = letters_of(kafka, kafka.topic(), uuid4().hex)
    assert list(letters.letters(10)) == []
    letters.close()
