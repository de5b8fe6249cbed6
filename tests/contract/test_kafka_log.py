"""The log on real Kafka: the contract, with one broker and with three."""

from collections.abc import Iterator

import pytest

from sonde.log.kafka.log import KafkaLog
from sonde.testing.log_contract import LogContract, MakeLog
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.all


def maker(kafka: Kafka) -> Iterator[MakeLog]:
    """Makes logs, each on a topic of its own."""
    made: list[KafkaLog] = []

    def make(partitions: int) -> KafkaLog:
        made.append(KafkaLog(kafka.connection, kafka.topic(partitions)))
        return made[-1]

    yield make
    for log in made:
        log.close()


class TestOneBroker(LogContract):
    @pytest.fixture
    def make(self, kafka: Kafka) -> Iterator[MakeLog]:
        yield from maker(kafka)


class TestThreeBrokers(LogContract):
    @pytest.fixture
    def make(self, kafka_of_three: Kafka) -> Iterator[MakeLog]:
        yield from maker(kafka_of_three)
