"""Backoff with full jitter."""

import itertools
import random

from hypothesis import given
from hypothesis import strategies as st

from sonde.node.backoff import Backoff


@given(st.floats(0.01, 10), st.floats(10, 1000), st.integers(0, 2**32))
def test_waits_stay_below_a_ceiling_that_doubles(initial: float, longest: float, seed: int) -> None:
    backoff = Backoff(initial, longest, random.Random(seed))
    for failure in range(60):
        assert 0 <= backoff.next() <= min(longest, initial * 2**failure)
    assert backoff.failures == 60


def test_mistake_02_waits_grow_with_failures() -> None:
    backoffs = [Backoff(0.25, 1000.0, random.Random(seed)) for seed in range(400)]
    means = [sum(b.next() for b in backoffs) / len(backoffs) for _ in range(10)]
    assert all(later > 1.5 * earlier for earlier, later in itertools.pairwise(means))


def test_many_nodes_do_not_come_back_at_the_same_moment() -> None:
    waits = [Backoff(8.0, 8.0, random.Random(seed)).next() for seed in range(1000)]
    counts = [sum(1 for w in waits if low <= w < low + 1) for low in range(8)]
    assert min(counts) > 80


def test_success_makes_the_next_wait_short_again() -> None:
    backoff = Backoff(0.1, 60.0)
    for _ in range(50):
        backoff.next()
    backoff.reset()
    assert backoff.next() <= 0.1
