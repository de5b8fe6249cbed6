"""What every adapter of port ``Membership`` must do. Subclass it, and give ``join`` as a fixture."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing

import pytest

from sonde.ports import Membership

Join = Callable[[], Membership]
PARTITIONS = 4
_SECONDS = 60.0


class MembershipContract:
    """Tests of one adapter."""

    @pytest.fixture
    def join(self) -> Join:
        """Makes one more place in a new group that shares out :data:`PARTITIONS` partitions. Override it."""
        raise NotImplementedError

    def test_one_alone_has_all(self, join: Join) -> None:
        with closing(join()) as alone:
            _until_shared([alone])
            assert alone.partitions() == frozenset(range(PARTITIONS))

    def test_several_have_each_partition_once(self, join: Join) -> None:
        with ExitStack() as places:
            members: list[Membership] = []
            for _ in range(3):
                members.append(places.enter_context(closing(join())))
                _until_shared(members)
            assert all(member.partitions() for member in members)

    def test_who_leaves_leaves_its_part_to_the_others(self, join: Join) -> None:
        with closing(join()) as stays:
            with closing(join()) as goes:
                _until_shared([stays, goes])
                assert stays.partitions() < frozenset(range(PARTITIONS))
            _until_shared([stays])
            assert stays.partitions() == frozenset(range(PARTITIONS))

    def test_what_is_one_s_own_stays_so(self, join: Join) -> None:
        with closing(join()) as one, closing(join()) as other:
            _until_shared([one, other])
            before = one.partitions()
            for _ in range(20):
                assert one.partitions() == before
                other.partitions()

    def test_it_may_be_closed_twice(self, join: Join) -> None:
        member = join()
        member.close()
        member.close()


def _until_shared(members: Sequence[Membership]) -> None:
    """Ask all of them until each partition is one's own."""
    deadline = time.monotonic() + _SECONDS
    while sorted(p for member in members for p in member.partitions()) != list(range(PARTITIONS)) or not all(
        member.partitions() for member in members
    ):
        assert time.monotonic() < deadline, [sorted(member.partitions()) for member in members]
        time.sleep(0.01)
