"""What the policy decides: floors by age and size, what is shed, where the log is cut. No clock, no disk."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde.clock import DAY, SECOND
from sonde.ports import Held, Piece
from sonde.removal import Floor
from sonde.retention import Policy, Segment, Slowly, cuts, large_floors, old_floors, shed_floors

HOUR = 3600 * SECOND
NOW = 20_000 * DAY + 1234 * SECOND


def pieces(*last: int, content: str = "readings", size: int = 100) -> list[Piece]:
    return [Piece(content, 10, size, at - 5, at) for at in last]


def test_nothing_goes_unless_it_was_asked_for() -> None:
    held = Held(pieces(1, 2, 3))
    assert old_floors(Policy(), NOW, {}) == []
    assert large_floors(Policy(), held) == []


def test_floors_by_age_rise_in_steps() -> None:
    policy = Policy(readings=30 * DAY, windows={300: 90 * DAY}, alerts=24 * SECOND)
    found = old_floors(policy, NOW, {})
    assert found == [
        Floor("readings", (NOW - 30 * DAY) // HOUR * HOUR),
        Floor("alerts", NOW - 24 * SECOND),
        Floor("windows", (NOW - 90 * DAY) // HOUR * HOUR, 300),
    ]
    known = {floor.name: floor.before for floor in found}
    assert old_floors(policy, NOW, known) == []
    assert old_floors(policy, NOW + HOUR - 2000 * SECOND, known) == [Floor("alerts", NOW + HOUR - 2024 * SECOND)]
    assert {f.name for f in old_floors(policy, NOW + HOUR, known)} == {"readings", "alerts", "windows 300"}
    assert old_floors(Policy(readings=30 * DAY), 10 * DAY, {}) == [], "a clock at the beginning of time"


def test_size_takes_the_oldest_pieces_until_the_rest_fits() -> None:
    held = Held(pieces(30, 10, 20), floors={})
    assert large_floors(Policy(readings_bytes=300), held) == []
    assert large_floors(Policy(readings_bytes=299), held) == [Floor("readings", 11, 0, "size", 10)]
    assert large_floors(Policy(readings_bytes=100), held) == [Floor("readings", 21, 0, "size", 20)]
    low = Held(pieces(30, 10, 20), floors={"readings": 21})
    assert large_floors(Policy(readings_bytes=100), low) == [], "asked for already; their parts have not gone yet"


def test_windows_of_all_widths_go_together_when_they_are_too_many() -> None:
    held = Held(pieces(10, 20, content="windows"), frozenset({300, 900}))
    found = large_floors(Policy(windows_bytes=100), held)
    assert found == [Floor("windows", 11, 300, "size"), Floor("windows", 11, 900, "size")]


def test_what_is_shed_is_counted_as_lost() -> None:
    held = Held([*pieces(10, 20, 30), *pieces(5, content="windows")])
    assert shed_floors("readings", held, 150) == [Floor("readings", 21, 0, "disk", 20)]
    assert shed_floors("readings", held, 10**9) == [Floor("readings", 31, 0, "disk", 30)]
    assert shed_floors("readings", Held(), 1) == []


SEGMENTS = [Segment(0, first, first + 10, 100, 1000 + first) for first in (0, 10, 20, 30)]


@pytest.mark.parametrize(
    ("safe", "before", "excess", "expected"),
    [
        ({}, 10**9, 10**9, {}),
        ({0: 40}, None, 0, {}),
        ({0: 40}, None, 1, {0: 10}),
        ({0: 40}, None, 250, {0: 30}),
        ({0: 25}, None, 250, {0: 20}),
        ({0: 9}, None, 250, {}),
        ({0: 40}, 1011, 0, {0: 20}),
        ({0: 40}, 1011, 1000, {0: 40}),
        ({0: 15}, 1025, 0, {0: 10}),
    ],
)
def test_the_log_is_cut_in_whole_segments_below_every_checkpoint(
    safe: dict[int, int], before: int | None, excess: int, expected: dict[int, int]
) -> None:
    assert cuts(SEGMENTS, safe, before=before, excess=excess) == expected


def test_partitions_are_cut_each_for_itself() -> None:
    segments = [*SEGMENTS, *(Segment(1, first, first + 5, 100, 1000 + first) for first in (0, 5))]
    assert cuts(segments, {0: 10, 1: 10}, excess=300) == {0: 10, 1: 10}
    assert cuts(segments, {1: 10}, excess=300) == {1: 10}


def test_a_clock_that_jumps_ahead_takes_no_history_with_it() -> None:
    slowly = Slowly(NOW, 100.0)
    assert slowly.look(NOW + SECOND, 101.0) == NOW + SECOND
    assert slowly.ahead == 0
    assert slowly.look(NOW + 3650 * DAY, 102.0) == NOW + 11 * SECOND
    assert slowly.ahead > 3649 * DAY
    assert slowly.look(NOW + 5 * SECOND, 103.0) == NOW + 5 * SECOND, "it was set right again"
    assert slowly.ahead == 0
    assert slowly.look(NOW + 12 * SECOND, 104.0) == NOW + 12 * SECOND


def test_a_machine_that_was_off_for_long_catches_up() -> None:
    slowly = Slowly(NOW - 30 * DAY, 0.0)
    assert slowly.look(NOW, 1.0) == NOW - 30 * DAY + 10 * SECOND
    assert slowly.look(NOW + 4 * DAY, 4 * 86_400.0) == NOW + 4 * DAY


@given(st.lists(st.tuples(st.integers(-(10**15), 10**15), st.floats(0, 10**6)), max_size=20))
def test_time_for_deletions_is_never_ahead_of_the_clock_nor_faster_than_ten_times_time(
    steps: list[tuple[int, float]],
) -> None:
    slowly, monotonic, most = Slowly(NOW, 0.0), 0.0, NOW
    for jump, passed in steps:
        monotonic += passed
        most += round(passed * 10 * SECOND) + 1
        seen = slowly.look(NOW + jump, monotonic)
        assert seen <= NOW + jump
        assert seen <= most
