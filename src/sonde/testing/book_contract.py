"""What every adapter of port ``CommandBook`` must do. Subclass it, and give ``make`` as a fixture.

A book lies beside an outbox: what it is told goes into the control lane of the same object.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

import pytest

from sonde.entry import EntryKind, Lane
from sonde.errors import Conflict, Retry
from sonde.ports import CommandBook, Noted, Outbox, Stage


class BookAndOutbox(CommandBook, Outbox, Protocol):
    """Both in one."""


MakeBook = Callable[[int], BookAndOutbox]
"""Makes an empty one that keeps up to so many bytes."""
ROOMY = 1 << 26
HEAT = Noted("c1", "boiler", "heat")


def said(book: Outbox) -> list[bytes]:
    """What waits in the control lane."""
    return [entry.content for entry in book.peek(Lane.CONTROL, 1 << 30)]


class BookContract:
    """Tests of one adapter."""

    @pytest.fixture
    def make(self) -> Iterator[MakeBook]:
        """Makes empty ones, and closes them at the end. Override it."""
        raise NotImplementedError

    def test_each_stage_is_told_once(self, make: MakeBook) -> None:
        book = make(ROOMY)
        assert book.stage("c1") is None
        for number, stage in enumerate(Stage):
            step = stage.name.encode()
            assert book.advance(book.book_epoch, HEAT, stage, step) == number + 1
            assert book.advance(book.book_epoch, HEAT, stage, b"again") is None
            assert book.stage("c1") == stage
        assert said(book) == [b"DELIVERED", b"RUNNING", b"DONE"]
        assert {entry.kind for entry in book.peek(Lane.CONTROL, 1 << 30)} == {EntryKind.COMMAND}

    def test_there_is_no_way_back(self, make: MakeBook) -> None:
        book = make(ROOMY)
        book.advance(book.book_epoch, HEAT, Stage.DONE, b"done")
        for stage in (Stage.DELIVERED, Stage.RUNNING):
            assert book.advance(book.book_epoch, HEAT, stage, b"never") is None
        assert said(book) == [b"done"]

    def test_what_runs_is_known(self, make: MakeBook) -> None:
        book = make(ROOMY)
        for number in range(3):
            noted = Noted(f"c{number}", "boiler", "heat")
            for stage in list(Stage)[: number + 1]:
                book.advance(book.book_epoch, noted, stage, b"step")
        assert list(book.running()) == [Noted("c1", "boiler", "heat")]

    def test_what_another_epoch_was_given_never_runs_here_but_may_end(self, make: MakeBook) -> None:
        book = make(ROOMY)
        for stage in (Stage.DELIVERED, Stage.RUNNING):
            with pytest.raises(Conflict):
                book.advance("another", HEAT, stage, b"never")
        assert said(book) == []
        assert book.advance("another", HEAT, Stage.DONE, b"done") == 1

    def test_where_there_is_no_room_nothing_is_written_down(self, make: MakeBook) -> None:
        book = make(4096)
        taken = 0
        while book.stage(f"c{taken}") is None:
            try:
                book.advance(book.book_epoch, Noted(f"c{taken}", "boiler", "heat"), Stage.DELIVERED, b"x" * 500)
                taken += 1
            except Retry:
                break
        assert 0 < taken < 100
        assert book.stage(f"c{taken}") is None
        assert book.stage(f"c{taken - 1}") == Stage.DELIVERED
        assert len(said(book)) == taken
