"""The command book in an outbox file: which commands a node was given, and how far each has come."""

import secrets
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import apsw

from sonde.clock import DAY, Micros
from sonde.command import DOUBT_LASTS
from sonde.errors import Conflict, Damaged
from sonde.ports import Noted, Stage

SCHEMA: Final = """
create table book(epoch text not null, checksum integer not null) strict;
create table commands(id text primary key, device text not null, command text not null, stage integer not null,
  time integer not null, checksum integer not null) strict;
"""
_REMEMBERED: Final[Micros] = DOUBT_LASTS + DAY
"""A server asks about a command for :data:`DOUBT_LASTS`; what is older may be forgotten."""


def create(connection: apsw.Connection) -> None:
    """Begin an empty book."""
    epoch = secrets.token_hex(8)
    connection.execute("insert into book values(?, ?)", (epoch, zlib.crc32(epoch.encode())))


class Book:
    """The book in one file. Used by one thread only; what changes it runs inside a transaction of the file.

    Its ``epoch`` is another one than that of the outbox: it is new whenever something may have been forgotten.
    """

    def __init__(self, connection: apsw.Connection, path: Path) -> None:
        self._connection, self._path = connection, path
        self.epoch = self._load()
        self._rows("", ())  # a changed id would hide its command

    def reload(self) -> None:
        """After a transaction that was undone."""
        self.epoch = self._load()

    def renew(self) -> None:
        """Something may be missing here: what a server gave this book before, it must not give it again."""
        self.epoch = secrets.token_hex(8)
        self._connection.execute(
            "update book set epoch = ?, checksum = ?", (self.epoch, zlib.crc32(self.epoch.encode()))
        )

    def is_news(self, epoch: str, noted: Noted, stage: Stage) -> bool:
        """Whether a command had not come so far before. :class:`Conflict` if this book may not say."""
        if stage != Stage.DONE and epoch != self.epoch:
            raise Conflict(f"the command book has another epoch than {epoch}: something in it may be missing")
        known = self.stage(noted.id)
        return known is None or known < stage

    def write(self, noted: Noted, stage: Stage, now: Micros) -> None:
        """Write down that it has."""
        row = (noted.id, noted.device, noted.command, int(stage), now)
        self._connection.execute("insert or replace into commands values(?, ?, ?, ?, ?, ?)", (*row, _checksum(row)))

    def stage(self, id_: str) -> Stage | None:
        """How far a command has come; none if it is not known."""
        for row in self._rows("where id = ?", (id_,)):
            return Stage(row[3])
        return None

    def running(self) -> Sequence[Noted]:
        """The commands that began to run and have not come to an end."""
        return [Noted(*row[:3]) for row in self._rows("where stage = ? order by time, id", (int(Stage.RUNNING),))]

    def forget(self, now: Micros) -> None:
        """Drop what nobody will ask about any more."""
        self._connection.execute(
            "delete from commands where stage <> ? and time < ?", (int(Stage.RUNNING), now - _REMEMBERED)
        )

    def _rows(self, where: str, values: tuple[object, ...]) -> list[tuple[str, str, str, int, Micros]]:
        found = []
        columns = "id, device, command, stage, time, checksum"
        for *row, checksum in self._connection.execute(f"select {columns} from commands {where}", values):  # noqa: S608
            if _checksum(tuple(row)) != checksum:
                raise Damaged("a command in the book does not match its checksum", file=str(self._path), offset=0)
            found.append((row[0], row[1], row[2], row[3], row[4]))
        return found

    def _load(self) -> str:
        found = list(self._connection.execute("select epoch, checksum from book"))
        if len(found) != 1 or zlib.crc32(found[0][0].encode()) != found[0][1]:
            raise Damaged("the epoch of the command book does not match its checksum", file=str(self._path), offset=0)
        epoch: str = found[0][0]
        return epoch


def _checksum(row: tuple[object, ...]) -> int:
    return zlib.crc32(repr(row).encode())
