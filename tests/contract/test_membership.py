"""The port ``Membership``: its contract, for each adapter that needs no server."""

import pytest

from sonde.log.membership import MemoryGroup
from sonde.testing.membership_contract import PARTITIONS, Join, MembershipContract


class TestMemoryMembership(MembershipContract):
    @pytest.fixture
    def join(self) -> Join:
        return MemoryGroup(range(PARTITIONS)).join

    def test_who_was_not_heard_of_has_nothing(self) -> None:
        group = MemoryGroup(range(PARTITIONS))
        gone, other = group.join(), group.join()
        group.leave(gone)
        assert gone.partitions() == frozenset()
        assert other.partitions() == frozenset(range(PARTITIONS))
