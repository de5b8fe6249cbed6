"""Times and spans, as written and as read."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde.clock import DAY
from sonde.errors import Invalid
from sonde.moment import EARLIEST, LATEST, format_span, format_time, parse_span, parse_time

NEW_YEAR = 1_767_225_600_000_000


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00.000000Z",
        "2026-01-01t00:00:00z",
        "2026-01-01 00:00:00Z",
        "2026-01-01T02:00:00+02:00",
        "2025-12-31T18:30:00-05:30",
        "2025-12-31T23:59:60Z",
        "2026-01-01T00:00:00.0000009Z",
        "1767225600",
        "1767225600.0",
        "1767225600000",
        "1767225600000000",
        "1767225600000000000",
    ],
)
def test_one_moment_in_every_way_of_writing_it(text: str) -> None:
    assert parse_time(text) == NEW_YEAR


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("2026-01-01T00:00:00", "no offset"),
        ("2026-01-01", "no offset"),
        ("2026-01-01T00:00:00 02:00", "%2B02:00"),
        ("yesterday", "is not a time"),
        ("", "is not a time"),
        ("-5", "is not a time"),
        ("1e9", "is not a time"),
        ("nan", "is not a time"),
        ("2026-02-30T00:00:00Z", "is no time"),
        ("2026-01-01T24:00:00Z", "is no time"),
        ("2026-01-01T00:00:61Z", "is no time"),
        ("2026-01-01T00:00:00+24:00", "offset"),
        ("1969-12-31T23:59:59Z", "years 1970 to 2200"),
        ("2201-01-01T00:00:00Z", "years 1970 to 2200"),
        ("99999999999999999999", "years 1970 to 2200"),
        ("٢٠٢٦-01-01T00:00:00Z", "is not a time"),
        ("2026-01-01T00:00:00Z\n", "is not a time"),
    ],
)
def test_what_is_no_time_is_refused_with_the_reason(text: str, says: str) -> None:
    with pytest.raises(Invalid, match="since") as caught:
        parse_time(text, "since")
    assert says in caught.value.problem.message


def test_mistake_07_local_time_taken_for_utc() -> None:
    with pytest.raises(Invalid):
        parse_time("2026-07-01T12:00:00")
    assert parse_time("2026-07-01T12:00:00+02:00") == parse_time("2026-07-01T10:00:00Z")


@given(st.integers(EARLIEST, LATEST - 1))
def test_a_time_written_and_read_is_the_same(micros: int) -> None:
    assert parse_time(format_time(micros)) == micros


@given(
    st.datetimes(datetime(1971, 1, 1), datetime(2199, 12, 31)),  # noqa: DTZ001 - the offset is drawn apart
    st.integers(-23 * 60, 23 * 60),
)
def test_offsets_agree_with_the_standard_library(naive: datetime, minutes: int) -> None:
    moment = naive.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    expected = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert parse_time(moment.isoformat()) == expected


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_invalid(text: str) -> None:
    with suppress(Invalid):
        assert EARLIEST - DAY <= parse_time(text) <= LATEST + DAY


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("5m", 300), ("1h", 3600), ("1d", 86400), ("2w", 1209600)])
def test_spans(text: str, seconds: int) -> None:
    assert parse_span(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "m", "0m", "-5m", "5 m", "5M", "1.5h", "1h30m", "9999999999s"])
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="such as 5m"):
        parse_span(text)


@given(st.integers(1, 10**8))
def test_a_span_written_and_read_is_the_same(seconds: int) -> None:
    assert parse_span(format_span(seconds)) == seconds
