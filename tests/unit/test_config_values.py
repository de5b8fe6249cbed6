"""The kinds of values in a configuration, there and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde.config.values import parse_flag, parse_size, parse_span, parse_words, size_text, span_text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("250ms", 0.25),
        ("10us", 1e-5),
        ("1.5s", 1.5),
        ("5m", 300),
        ("24h", 86400),
        ("7d", 604800),
        ("2w", 1209600),
    ],
)
def test_spans(text: str, seconds: float) -> None:
    assert parse_span(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512", 512),
        ("1kB", 1000),
        ("64MiB", 64 << 20),
        ("1 GB", 10**9),
        ("1.5KiB", 1536),
        ("1_000", 1000),
        ("2TiB", 2 << 40),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "-1", "5 parsecs", "1e3", "NaN", "inf", "0x10", "1.2.3s", "٣"])
def test_what_is_no_span_and_no_size(text: str) -> None:
    with pytest.raises(ValueError, match=r"should be a span|no unit of time"):
        parse_span(text)
    with pytest.raises(ValueError, match=r"should be a number of bytes|no unit of size"):
        parse_size(text)


def test_flags_and_words() -> None:
    assert parse_flag("Yes") is parse_flag("on") is parse_flag("1") is True
    assert parse_flag("no") is parse_flag("FALSE") is False
    with pytest.raises(ValueError, match="yes or no"):
        parse_flag("maybe")
    assert parse_words(" a, b c ,d ") == ("a", "b", "c", "d")
    assert parse_words("") == ()


@given(st.integers(0, 10**15))
def test_a_size_comes_back(size: int) -> None:
    assert parse_size(size_text(size)) == size


@given(st.integers(0, 10**8).map(lambda n: n / 1000))
def test_a_span_comes_back(seconds: float) -> None:
    assert parse_span(span_text(seconds)) == pytest.approx(seconds)
