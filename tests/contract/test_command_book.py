"""Every command book passes the same tests; the one on disk remembers through everything, or says that it does not."""

from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from sonde.clock import DAY, Micros, SystemClock
from sonde.errors import Conflict
from sonde.keyring import KeyRing
from sonde.node.outbox import MemoryOutbox, SqliteOutbox
from sonde.node.outbox.book import SCHEMA
from sonde.ports import Noted, Stage
from sonde.testing.book_contract import HEAT, ROOMY, BookContract, MakeBook, said

RING = KeyRing.generate("k")


class TestMemory(BookContract):
    @pytest.fixture
    def make(self) -> MakeBook:
        return lambda limit: MemoryOutbox(limit_bytes=limit)


class TestSqlite(BookContract):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Iterator[MakeBook]:
        made: list[SqliteOutbox] = []

        def make(limit: int) -> SqliteOutbox:
            made.append(SqliteOutbox(tmp_path / f"{len(made)}.db", RING, limit_bytes=limit))
            return made[-1]

        yield make
        for outbox in made:
            outbox.close()


class LaterClock(SystemClock):
    later: Micros = 0

    def now(self) -> Micros:
        return super().now() + self.later


Open = Callable[[], SqliteOutbox]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
def clock() -> LaterClock:
    return LaterClock()


@pytest.fixture
def open_book(path: Path, clock: LaterClock) -> Iterator[Open]:
    """Opens the one on disk, after closing the one before."""
    made: list[SqliteOutbox] = []

    def open_() -> SqliteOutbox:
        for outbox in made:
            outbox.close()
        made.append(SqliteOutbox(path, RING, limit_bytes=ROOMY, clock=clock))
        return made[-1]

    yield open_
    for outbox in made:
        outbox.close()


def change(path: Path, sql: str) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(sql)
    connection.close()


def test_it_remembers(open_book: Open) -> None:
    book = open_book()
    epoch = book.book_epoch
    book.advance(epoch, HEAT, Stage.DELIVERED, b"d")
    book.advance(epoch, HEAT, Stage.RUNNING, b"r")
    again = open_book()
    assert again.book_epoch == epoch
    assert list(again.running()) == [HEAT]
    assert again.advance(epoch, HEAT, Stage.RUNNING, b"never") is None
    assert said(again) == [b"d", b"r"]


@pytest.mark.parametrize(
    "sql",
    [
        "update commands set stage = 1",
        "update commands set id = 'c2'",
        "update book set epoch = 'e'",
        "delete from book",
        "drop table commands",
    ],
)
def test_a_book_that_was_changed_is_set_aside_and_another_epoch_begins(open_book: Open, path: Path, sql: str) -> None:
    book = open_book()
    epoch = book.book_epoch
    book.advance(epoch, HEAT, Stage.RUNNING, b"r")
    book.close()
    change(path, sql)
    again = open_book()
    for id_ in ("c1", "c2"):
        with pytest.raises(Conflict):
            again.advance(epoch, Noted(id_, "boiler", "heat"), Stage.RUNNING, b"never")
    assert again.book_epoch != epoch
    assert again.problems


def test_what_nobody_asks_about_any_more_is_forgotten_but_not_what_runs(open_book: Open, clock: LaterClock) -> None:
    book = open_book()
    for number, stage in enumerate(Stage):
        book.advance(book.book_epoch, Noted(f"c{number}", "boiler", "heat"), stage, b"s")
    clock.later = 30 * DAY
    assert [open_book().stage(f"c{n}") for n in range(3)] == list(Stage)
    clock.later = 32 * DAY
    assert [open_book().stage(f"c{n}") for n in range(3)] == [None, Stage.RUNNING, None]


def test_an_outbox_of_the_first_format_gets_a_book_and_keeps_all_else(open_book: Open, path: Path) -> None:
    book = open_book()
    book.put(2, 1, b"readings", 3)
    epoch = book.epoch
    book.close()
    assert "create table book" in SCHEMA
    change(path, "drop table book; drop table commands; update outbox set format = 1; pragma user_version = 1")
    again = open_book()
    assert again.problems == ()
    assert again.epoch == epoch
    assert [entry.content for entry in again.peek(2, 1000)] == [b"readings"]
    assert again.advance(again.book_epoch, HEAT, Stage.DELIVERED, b"d") == 1


def test_an_older_copy_of_an_outbox_has_another_book(open_book: Open) -> None:
    book = open_book()
    epoch = book.book_epoch
    book.confirm(1, 7)  # a sink knows more than was ever given out
    assert book.book_epoch != epoch
    with pytest.raises(Conflict):
        book.advance(epoch, HEAT, Stage.DELIVERED, b"never")
