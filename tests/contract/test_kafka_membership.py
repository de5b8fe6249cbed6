"""The port ``Membership`` on a real consumer group."""

import secrets
from collections.abc import Iterator

import pytest

from sonde.log.kafka.membership import KafkaMembership
from sonde.testing.membership_contract import PARTITIONS, Join, MembershipContract
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.all


class TestKafkaMembership(MembershipContract):
    @pytest.fixture
    def join(self, kafka: Kafka) -> Iterator[Join]:
        topic, group = kafka.topic(PARTITIONS), f"group-{secrets.token_hex(4)}"
        made: list[KafkaMembership] = []

        def join() -> KafkaMembership:
            made.append(KafkaMembership(kafka.connection, topic, group))
            return made[-1]

        yield join
        for member in made:
            member.close()
