"""Identities in PostgreSQL keep the contract, also where two claim at the same moment."""

import random
import threading

import pytest

from sonde.errors import Retry
from sonde.ports import Claim, Identities
from sonde.store.postgres.connections import Connections
from sonde.store.postgres.identities import PostgresIdentities
from sonde.testing.identities_contract import IdentitiesContract, claims, key
from tests.servers.postgres import PostgresServer

pytestmark = pytest.mark.all


class TestPostgresIdentities(IdentitiesContract):
    @pytest.fixture
    def identities(self, connections: Connections) -> Identities:
        return PostgresIdentities(connections)

    def test_partitions_forget_by_themselves(self, identities: Identities) -> None:
        for partition in (0, 1):
            identities.first(partition, claims(partition, range(100)), 5)
        assert identities.forget(6, 10_000, 1) == 6
        assert list(identities.first(0, claims(9, range(100)), 9)) == claims(0, range(100))
        assert list(identities.first(1, claims(9, range(100)), 9)) == claims(9, range(100))


def test_two_that_claim_at_the_same_moment_agree(connections: Connections) -> None:
    """A processor and one that lost its partition read the same frames, each at its own pace."""
    identities = PostgresIdentities(connections)
    dice = random.Random(5)
    frames = [
        [Claim(key(dice.randrange(500)), offset, position) for position in range(dice.randrange(80))]
        for offset in range(60)
    ]
    known: dict[bytes, Claim] = {}
    wanted = [[known.setdefault(claim.key, claim) for claim in frame] for frame in frames]
    found: list[list[list[Claim]]] = [[], [], []]

    def read(mine: list[list[Claim]]) -> None:
        for offset, frame in enumerate(frames):
            mine.append(list(identities.first(0, frame, offset)))

    threads = [threading.Thread(target=read, args=(mine,)) for mine in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [wanted] * 3


def test_what_was_returned_is_there_after_the_server_died(postgres: PostgresServer, connections: Connections) -> None:
    identities = PostgresIdentities(connections)
    for offset in range(5):
        identities.first(0, claims(offset, range(offset * 100, offset * 100 + 100)), offset)
    postgres.kill()
    with pytest.raises(Retry):
        identities.first(0, claims(9, range(100)), 9)
    postgres.start()
    found = identities.first(0, claims(9, range(500)), 9)
    assert [claim.offset for claim in found] == [number // 100 for number in range(500)]


def test_a_batch_of_many_thousands(connections: Connections) -> None:
    identities = PostgresIdentities(connections)
    first = claims(1, range(20_000))
    assert list(identities.first(0, first, 1)) == first
    assert list(identities.first(0, claims(2, range(10_000, 30_000)), 2))[:10_000] == first[10_000:]
