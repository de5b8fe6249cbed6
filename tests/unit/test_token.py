"""Tokens: made at random, checked without a look-up, never shown by accident."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde.errors import Unauthenticated
from sonde.token import Token, digest, new_secret


def test_a_made_token_parses() -> None:
    token = Token.make()
    assert Token.parse(token.text) == token
    assert token.text.startswith(f"sonde_{token.id}_")
    assert len(token.digest) == 32


def test_no_two_are_alike() -> None:
    made = [Token.make() for _ in range(1_000)]
    assert len({t.text for t in made}) == len({t.id for t in made}) == 1_000
    assert len({new_secret() for _ in range(1_000)}) == 1_000


@given(st.integers(0), st.characters())
def test_any_changed_character_is_seen(place: int, character: str) -> None:
    text = Token.make().text
    place %= len(text)
    changed = text[:place] + character + text[place + 1 :]
    if changed == text:
        return
    with pytest.raises(Unauthenticated):
        Token.parse(changed)


@given(st.text())
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(Unauthenticated):
        Token.parse(text)


def test_it_is_not_shown() -> None:
    token = Token.make()
    secret = token.text.split("_")[2]
    assert secret not in repr(token)
    assert secret not in str(token)
    with pytest.raises(Unauthenticated) as refused:
        Token.parse(token.text + "x")
    assert secret not in str(refused.value)


def test_a_digest_of_any_text() -> None:
    assert digest("\ud800") != digest("")
