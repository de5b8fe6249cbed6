"""Which table of PostgreSQL a day's readings go into."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonde.store.postgres.days import Known, Span, span_for

TODAY = 20_700
LAST = 84_000  # days, in the year 2200


def test_every_day_that_a_reading_may_have_needs_few_tables() -> None:
    spans: list[Span] = []
    for day in range(LAST):
        if not spans or day >= spans[-1].end:
            spans.append(span_for(day, TODAY, spans[-40:]))
    assert all(one.end == other.first for one, other in pairwise(spans))
    assert len(spans) < 1700
    assert {one.first for one in spans if one.end - one.first == 1} >= set(range(TODAY - 750, TODAY + 401))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, LAST), st.integers(TODAY, TODAY + 5000)), max_size=60))
def test_tables_never_overlap_in_whatever_order_and_however_late_they_are_made(asked: list[tuple[int, int]]) -> None:
    spans: list[Span] = []
    for day, today in sorted(asked, key=lambda pair: pair[1]):
        if len(Known(spans).missing(np.array([day]))):
            spans.append(span_for(day, today, spans))
    assert all(one.end <= other.first for one, other in pairwise(sorted(spans)))
    assert not len(Known(spans).missing(np.array([day for day, _ in asked], np.int64)))


@pytest.mark.parametrize(
    "span", [Span.of_day(TODAY), Span.of_month(2023, 12), Span.of_month(2024, 2), Span.of_year(1970)]
)
def test_a_span_is_known_by_the_name_of_its_table(span: Span) -> None:
    assert Span.of(span.name) == span


def test_rows_are_split_by_their_tables() -> None:
    known = Known([Span.of_day(TODAY), Span.of_day(TODAY + 1), Span.of_month(2020, 1)])
    days = np.array([TODAY + 1, TODAY, Span.of_month(2020, 1).first + 5, TODAY])
    found = {name: rows.tolist() for name, rows in known.split(days) if rows is not None}
    assert found == {Span.of_day(TODAY).name: [1, 3], Span.of_day(TODAY + 1).name: [0], "readings_2020_01": [2]}
    assert list(known.split(np.array([TODAY, TODAY]))) == [(Span.of_day(TODAY).name, None)]
