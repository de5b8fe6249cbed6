"""What every adapter of port ``Identities`` must do. Subclass it, and give ``identities`` as a fixture."""

import random
from collections.abc import Iterator
from hashlib import sha256

import pytest

from sonde.ports import Claim, Identities


def key(number: int) -> bytes:
    """One of many keys, spread as digests are."""
    return sha256(number.to_bytes(8, "big")).digest()[:16]


def claims(offset: int, numbers: range, digest: bytes = b"digest-1") -> list[Claim]:
    """One frame's claims on so many keys."""
    return [Claim(key(number), offset, position, digest) for position, number in enumerate(numbers)]


class IdentitiesContract:
    """Tests of one adapter."""

    @pytest.fixture
    def identities(self) -> Iterator[Identities]:
        """A new, empty one. Override it."""
        raise NotImplementedError

    def test_who_comes_first_is_first(self, identities: Identities) -> None:
        first = claims(5, range(100))
        assert list(identities.first(0, first, 1)) == first
        assert list(identities.first(0, claims(6, range(50, 150), b"another."), 2)) == [
            *first[50:],
            *claims(6, range(50, 150), b"another.")[50:],
        ]

    def test_recording_the_same_place_again_changes_nothing(self, identities: Identities) -> None:
        first = claims(5, range(100))
        for _ in range(3):
            assert list(identities.first(0, first, 1)) == first

    def test_of_equal_keys_in_one_call_the_first_wins(self, identities: Identities) -> None:
        one, other = Claim(key(1), 5, 0, b"a" * 8), Claim(key(1), 5, 1, b"b" * 8)
        assert list(identities.first(0, [one, other, one], 1)) == [one, one, one]

    def test_an_earlier_place_wins_whenever_it_is_told(self, identities: Identities) -> None:
        late, early = Claim(key(1), 9, 0, b"a" * 8), Claim(key(1), 3, 7, b"b" * 8)
        assert list(identities.first(0, [late], 9)) == [late]
        assert list(identities.first(0, [early], 3)) == [early]
        assert list(identities.first(0, [late], 9)) == [early]

    def test_no_claims_are_none(self, identities: Identities) -> None:
        assert list(identities.first(0, [], 1)) == []

    def test_partitions_are_apart(self, identities: Identities) -> None:
        one, other = Claim(key(1), 5, 0), Claim(key(1), 3, 0)
        assert list(identities.first(0, [one], 1)) == [one]
        assert list(identities.first(1, [other], 1)) == [other]
        assert list(identities.first(0, [other], 1)) == [other]

    def test_it_is_a_function_of_the_log_however_often_it_is_read(self, identities: Identities) -> None:
        dice = random.Random(7)  # noqa: S311  # no secret
        frames = [
            [Claim(key(dice.randrange(400)), offset, position) for position in range(dice.randrange(60))]
            for offset in range(40)
        ]
        known: dict[bytes, Claim] = {}
        wanted = [[known.setdefault(claim.key, claim) for claim in frame] for frame in frames]
        for start in (0, 0, 17, 33):
            for offset in range(start, len(frames)):
                assert list(identities.first(0, frames[offset], offset)) == wanted[offset]

    def test_finding_changes_nothing(self, identities: Identities) -> None:
        first = claims(5, range(3))
        assert list(identities.find(0, [key(1)])) == [None]
        identities.first(0, first, 1)
        assert list(identities.find(0, [key(1), key(7), key(0)])) == [first[1], None, first[0]]
        assert list(identities.find(1, [key(1)])) == [None], "partitions are apart"
        assert list(identities.find(0, [])) == []
        assert list(identities.first(0, claims(6, range(7, 8)), 2)) == claims(6, range(7, 8))

    def test_what_is_old_is_forgotten(self, identities: Identities) -> None:
        for log_time in range(10):
            identities.first(0, claims(log_time, range(log_time * 100, log_time * 100 + 100)), log_time)
        since = identities.forget(5, 10_000)
        assert 0 < since <= 5
        again = claims(99, range(500, 1000))
        assert all(claim.offset < 99 for claim in identities.first(0, again, 20)), "what is not old was forgotten"
        assert list(identities.first(0, claims(99, range(100)), 20)) == claims(99, range(100))

    def test_the_newest_are_kept_and_no_more_than_was_asked_by_much(self, identities: Identities) -> None:
        for log_time in range(10):
            identities.first(0, claims(log_time, range(log_time * 100, log_time * 100 + 100)), log_time)
        since = identities.forget(0, 300)
        assert 0 < since <= 7
        assert all(claim.offset < 99 for claim in identities.first(0, claims(99, range(700, 1000)), 20))
        assert list(identities.first(0, claims(99, range(100)), 20)) == claims(99, range(100))

    def test_with_nothing_to_forget_it_remembers_all(self, identities: Identities) -> None:
        identities.first(0, claims(1, range(100)), 7)
        assert identities.forget(0, 1_000_000) == 7
        assert list(identities.first(0, claims(2, range(100)), 9)) == claims(1, range(100))
