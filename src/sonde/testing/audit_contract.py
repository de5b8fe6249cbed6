"""What every adapter of port ``AuditTrail`` must do. Subclass it, and give ``trail`` as a fixture."""

import pytest

from sonde.audit import NO_HASH, Act, act, chained
from sonde.errors import Damaged
from sonde.ports import AuditTrail


class AuditTrailContract:
    """Tests of one adapter."""

    @pytest.fixture
    def trail(self) -> AuditTrail:
        """A new, empty one. Override it."""
        raise NotImplementedError

    def test_an_empty_trail_is_sound(self, trail: AuditTrail) -> None:
        assert trail.head() == (0, NO_HASH)
        assert trail.read(None, 10) == []
        assert trail.verify() == 0

    def test_acts_come_back_as_they_were_written(self, trail: AuditTrail) -> None:
        first = act(1, "alice", "rule.set", "co2-high", "10.0.0.1", above="1000", note='"quoted" ü\n')
        second = Act(2, "local", "purge")
        trail.write(first)
        trail.write(second)
        assert list(trail.read(None, 10)) == [(2, second), (1, first)]

    def test_newest_first_page_by_page(self, trail: AuditTrail) -> None:
        write(trail, 7)
        assert [number for number, _ in trail.read(None, 3)] == [7, 6, 5]
        assert [number for number, _ in trail.read(5, 3)] == [4, 3, 2]
        assert [number for number, _ in trail.read(2, 3)] == [1]
        assert trail.read(1, 3) == []

    def test_each_act_is_chained_to_the_one_before(self, trail: AuditTrail) -> None:
        expected = NO_HASH
        for number in range(1, 4):
            made = act(number, "alice", "token.create", f"n-{number}")
            trail.write(made)
            expected = chained(expected, made)
            assert trail.head() == (number, expected)

    def test_the_same_act_twice_stands_there_twice(self, trail: AuditTrail) -> None:
        for _ in range(2):
            trail.write(act(1, "alice", "purge"))
        assert trail.verify() == 2

    def test_anchors_are_compared(self, trail: AuditTrail) -> None:
        write(trail, 3)
        noted = trail.head()
        write(trail, 3)
        assert trail.verify({noted[0]: noted[1]}) == 6
        with pytest.raises(Damaged, match="written anew"):
            trail.verify({noted[0]: bytes(32)})
        with pytest.raises(Damaged, match="taken out"):
            trail.verify({7: noted[1]})

    def test_forgetting_keeps_the_rest_chained(self, trail: AuditTrail) -> None:
        write(trail, 5)
        noted = trail.head()
        assert trail.forget(before=3) == 2
        assert [number for number, _ in trail.read(None, 10)] == [5, 4, 3]
        assert trail.verify({1: NO_HASH, noted[0]: noted[1]}) == 3  # what is forgotten cannot be compared
        assert trail.forget(before=3) == 0
        write(trail, 1)
        assert trail.verify() == 4

    def test_the_newest_act_is_never_forgotten(self, trail: AuditTrail) -> None:
        assert trail.forget(before=100) == 0
        write(trail, 3)
        assert trail.forget(before=100) == 2
        assert trail.verify() == 1
        assert trail.head()[0] == 3

    def test_a_clock_that_went_back_drops_nothing_that_is_young(self, trail: AuditTrail) -> None:
        for moment in (10, 2, 3):
            trail.write(act(moment, "alice", "purge"))
        assert trail.forget(before=5) == 0


def write(trail: AuditTrail, count: int) -> None:
    """``count`` acts at the moments 1, 2, 3 …"""
    for number in range(1, count + 1):
        trail.write(act(number, "alice", "rule.set", f"rule-{number}"))
