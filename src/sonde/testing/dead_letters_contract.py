"""What every adapter of port ``DeadLetters`` must do. Subclass it, and give ``beside`` as a fixture."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from sonde.ports import DeadLetter, DeadLetters

NOTICED = 1_767_225_600_000_000


class Beside(NamedTuple):
    """Dead letters, and what stands in a partition of the log that they are beside: offset and frame of each record."""

    letters: DeadLetters
    records: Callable[[int], list[tuple[int, bytes]]]


def letter(partition: int, offset: int, frame: bytes = b"", why: str = "no body") -> DeadLetter:
    """One of many letters."""
    return DeadLetter(partition, offset, "poison", why, NOTICED + offset, frame or b"frame %d" % offset)


class DeadLettersContract:
    """Tests of one adapter. The log has two partitions or more."""

    @pytest.fixture
    def beside(self) -> Iterator[Beside]:
        """New, empty ones, beside a log. Override it."""
        raise NotImplementedError

    def test_what_was_put_is_there_as_it_was_in_its_order(self, beside: Beside) -> None:
        letters = [
            letter(1, 7, bytes(range(256)) * 40),
            letter(1, 9, b"{not JSON"),
            letter(1, 12, why="späte Milch 🥛"),
        ]
        for one in letters:
            beside.letters.put(one)
        assert list(beside.letters.letters(10)) == letters

    def test_letters_of_all_partitions_are_told(self, beside: Beside) -> None:
        letters = [letter(partition, offset) for partition in (0, 1) for offset in (3, 5)]
        for one in letters:
            beside.letters.put(one)
        assert sorted(one.name for one in beside.letters.letters(10)) == ["0:3", "0:5", "1:3", "1:5"]

    def test_the_same_put_twice_is_one_letter(self, beside: Beside) -> None:
        for _ in range(3):
            beside.letters.put(letter(0, 4))
        assert [one.name for one in beside.letters.letters(10)] == ["0:4"]

    def test_no_more_are_told_than_were_asked_for(self, beside: Beside) -> None:
        for offset in range(8):
            beside.letters.put(letter(0, offset))
        assert [one.offset for one in beside.letters.letters(3)] == [0, 1, 2]

    def test_one_that_was_taken_back_is_in_its_partition_again_and_is_no_letter_any_more(self, beside: Beside) -> None:
        one, other = letter(1, 4, b"taken back"), letter(1, 5)
        beside.letters.put(one)
        beside.letters.put(other)
        offset = beside.letters.take_back(one)
        assert (offset, b"taken back") in beside.records(1)
        assert list(beside.letters.letters(10)) == [other]

    def test_one_that_was_taken_back_never_comes_again_under_its_name(self, beside: Beside) -> None:
        one = letter(0, 4)
        beside.letters.put(one)
        beside.letters.take_back(one)
        beside.letters.put(one)  # a store that is made again passes the same place
        assert list(beside.letters.letters(10)) == []

    def test_taken_back_twice_it_is_in_the_log_twice(self, beside: Beside) -> None:
        one = letter(0, 4)
        beside.letters.put(one)
        first, second = beside.letters.take_back(one), beside.letters.take_back(one)
        assert first < second
        assert [offset for offset, frame in beside.records(0) if frame == one.frame] == [first, second]
        assert list(beside.letters.letters(10)) == []
