"""Filters: what narrows a question, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde.api.filters import given as narrowed
from sonde.api.filters import moment, refuse_unknown, width
from sonde.errors import Invalid


def test_what_is_empty_narrows_nothing() -> None:
    assert narrowed("") is None
    assert narrowed("x") == "x"
    assert moment("", "since") is None


@pytest.mark.parametrize(("text", "seconds"), [("5m", 300), ("1h", 3600), ("1d", 86_400), ("366d", 366 * 86_400)])
def test_widths(text: str, seconds: int) -> None:
    assert width(text) == seconds


@pytest.mark.parametrize("text", ["367d", "99999w", "", "5"])
def test_widths_that_are_refused(text: str) -> None:
    with pytest.raises(Invalid, match="window"):
        width(text)


@given(st.text(max_size=5000))
def test_an_unknown_name_is_refused_briefly(name: str) -> None:
    with pytest.raises(Invalid) as caught:
        refuse_unknown([name], {"since", "until"} - {name})
    assert len(str(caught.value)) < 400


def test_the_nearest_known_name_is_suggested() -> None:
    with pytest.raises(Invalid, match="did you mean 'device_id'"):
        refuse_unknown(["device"], {"device_id", "limit"})
    with pytest.raises(Invalid, match="it takes none"):
        refuse_unknown(["x"], set())
    with pytest.raises(Invalid, match="twice"):
        refuse_unknown(["limit", "limit"], {"limit"})
    refuse_unknown(["limit", "since"], {"limit", "since"})
