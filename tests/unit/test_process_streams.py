"""Placing entries in a stream, compared with a set of seqs and the true number of readings of each."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde.changes import Stream
from sonde.process.streams import MAX_HOLES, Inconsistent, Span, place

EMPTY = Stream("node", "epoch", 2, 0, 0)
sizes = st.lists(st.integers(0, 4), min_size=1, max_size=12)  # readings of seq 1, 2, 3 …
arrivals = st.lists(st.tuples(st.integers(1, 12), st.integers(0, 3)), max_size=25)


def span_of(sizes: list[int], first: int, last: int) -> Span:
    return Span(first, last, sum(sizes[first - 1 : last]), sum(sizes[:last]))


@given(sizes, arrivals)
def test_any_order_of_entries_and_tombstones_is_placed_exactly(sizes: list[int], spans: list[tuple[int, int]]) -> None:
    stream, there = EMPTY, set[int]()
    for first, more in spans:
        if first > len(sizes):
            continue
        last = min(first + more, len(sizes))
        placed = place(stream, span_of(sizes, first, last))
        new = set(range(first, last + 1)) - there
        assert (placed is None) == (not new)
        if placed is None:
            continue
        assert placed.covered == sum(sizes[seq - 1] for seq in new)
        assert placed.declared == placed.stream.count - stream.count
        stream = placed.stream
        there |= new
    top = max(there, default=0)
    assert (stream.seq, stream.count) == (top, sum(sizes[:top]))
    missing = {seq: sizes[seq - 1] for seq in range(1, top + 1) if seq not in there}
    assert {seq for first, last, *_ in stream.holes for seq in range(first, last + 1)} == set(missing)
    assert [sum(sizes[first - 1 : last]) for first, last, *_ in stream.holes] == [hole[2] for hole in stream.holes]


@pytest.mark.parametrize(
    "span",
    [
        Span(0, 0, 1, 1),
        Span(2, 1, 1, 1),
        Span(1, 1, 5, 3),  # fewer in the stream than in the entry
        Span(1, 2**63, 1, 1),
        Span(11, 11, 2, 107),  # ten entries, 100 readings, and then seven more with two
        Span(11, 11, 2, 101),
        Span(20, 20, 2, 50),  # a jump ahead with fewer readings than there were
        Span(3, 3, 2, 33),  # a hole of twenty readings that begin after twenty
        Span(4, 4, 30, 60),
    ],
)
def test_a_count_that_cannot_be_is_seen_and_changes_nothing(span: Span) -> None:
    stream = Stream("node", "epoch", 2, 10, 100, ((3, 4, 20),), (20,))
    with pytest.raises(Inconsistent):
        place(stream, span)


def test_a_hole_of_which_only_the_ends_are_known_is_filled_from_its_beginning() -> None:
    stream = Stream("node", "epoch", 2, 10, 100, ((3, 5, 30),))
    placed = place(stream, Span(3, 3, 10, 30))
    assert placed is not None
    assert placed.stream.holes == ((4, 5, 20),)


def test_a_seq_from_far_ahead_leaves_one_hole() -> None:
    placed = place(EMPTY, Span(10**12, 10**12, 5, 10**13))
    assert placed is not None
    assert placed.stream.holes == ((1, 10**12 - 1, 10**13 - 5),)
    filled = place(placed.stream, Span(1, 1, 5, 5))
    assert filled is not None
    assert filled.stream.holes == ((2, 10**12 - 1, 10**13 - 10),)


def test_a_hole_knows_before_which_moment_its_readings_were_measured() -> None:
    placed = place(Stream("node", "epoch", 2, 2, 20), Span(9, 9, 10, 90, time=700))
    assert placed is not None
    assert placed.stream.holes == ((3, 8, 60, 700),)
    filled = place(placed.stream, Span(5, 5, 10, 50, time=500))
    assert filled is not None
    assert filled.stream.holes == ((3, 4, 20, 500), (6, 8, 30, 700))
    lost = place(filled.stream, Span(7, 7, 10, 70))  # a tombstone has no time
    assert lost is not None
    assert lost.stream.holes == ((3, 4, 20, 500), (6, 6, 10, 700), (8, 8, 10, 700))
    assert place(lost.stream, Span(10, 10, 10, 100, time=800)) is not None


def test_holes_are_bounded_and_the_oldest_is_given_up() -> None:
    stream = EMPTY
    given_up: list[tuple[int, int, int, int]] = []
    for i in range(1, MAX_HOLES + 3):
        placed = place(stream, Span(2 * i, 2 * i, 1, 2 * i))
        assert placed is not None
        stream = placed.stream
        given_up += [hole[:4] for hole in placed.given_up]
    assert len(stream.holes) == MAX_HOLES
    assert given_up == [(1, 1, 1, 0), (3, 3, 1, 2)]
    assert place(stream, Span(1, 1, 1, 1)) is None  # it counts as lost now
