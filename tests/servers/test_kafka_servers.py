"""The brokers that tests start are real ones."""

import pytest
from confluent_kafka import Producer

from tests.servers.kafka import Kafka

pytestmark = pytest.mark.all


def test_a_broker_takes_what_is_sent(kafka: Kafka) -> None:
    topic = kafka.topic(partitions=2)
    assert kafka.leader(topic).number == 1
    producer = Producer({"bootstrap.servers": kafka.servers, "acks": "all"})
    producer.produce(topic, b"x", partition=1)
    assert producer.flush(30) == 0
    producer.close()
