"""The tables of an outbox file, and opening one."""

import secrets
import shutil
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import apsw

from sonde.errors import Damaged, Hold, KeyRetired, NewerFormat
from sonde.files import sync_directory
from sonde.frame import HEADER_BYTES, read_header
from sonde.keyring import Keys
from sonde.node.outbox import book
from sonde.node.outbox.row import Row, lane_of, seq_of
from sonde.node.outbox.stream import Lane
from sonde.node.outbox.tombstone import LANES
from sonde.node.outbox.wal import unread_commits

FORMAT: Final = 2
PAGE_BYTES: Final = 4096
_CHECKPOINT_PAGES: Final = 1000
_WAL_BYTES: Final = 16 << 20
BUSY_MS: Final = 5000

_SCHEMA: Final = """
create table outbox(format integer not null, epoch text not null, checksum integer not null) strict;
create table lanes(lane integer primary key, seq integer not null, count integer not null, confirmed integer not null,
  base_seq integer not null, base_count integer not null, checksum integer not null) strict;
create table entries(id integer primary key, until integer not null, kind integer not null, readings integer not null,
  count integer not null, digest blob not null, time integer not null, size integer not null, cost integer not null,
  frame blob not null) strict;
create table letters(id integer primary key autoincrement, again integer not null default 0, reason text not null,
  entry integer not null, until integer not null, kind integer not null, readings integer not null,
  count integer not null, digest blob not null, time integer not null, size integer not null, cost integer not null,
  frame blob not null) strict;
"""
_VERSION: Final = f"pragma user_version = {FORMAT};"
COLUMNS: Final = "until, kind, readings, count, digest, time, size, cost, frame"


def _schema(connection: apsw.Connection) -> list[tuple[str, ...]]:
    return list(connection.execute("select type, name, tbl_name, sql from sqlite_schema order by name"))


def _sound_schema(statements: str) -> list[tuple[str, ...]]:
    connection = apsw.Connection(":memory:")
    connection.execute(statements)
    return _schema(connection)


_SOUND: Final = _sound_schema(_SCHEMA + book.SCHEMA)
_SOUND_1: Final = _sound_schema(_SCHEMA)


def row_of(values: tuple[int, int, int, int, int, bytes, int, int, int, bytes]) -> Row:
    """A row of ``select id, <COLUMNS>``."""
    return Row(lane_of(values[0]), seq_of(values[0]), *values[1:])


def connect(path: Path) -> apsw.Connection:
    """A connection whose commits survive a power cut."""
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(BUSY_MS)
    connection.execute(f"pragma page_size = {PAGE_BYTES}; pragma journal_mode = wal; pragma synchronous = full;")
    connection.execute(f"pragma journal_size_limit = {_WAL_BYTES}; pragma cache_size = -2048;")
    connection.execute("pragma cell_size_check = on; pragma temp_store = memory;")
    connection.wal_autocheckpoint(_CHECKPOINT_PAGES)
    return connection


def create(connection: apsw.Connection, path: Path, epoch: str) -> str:
    """Make the tables in a new file; its epoch."""
    epoch = epoch or secrets.token_hex(8)
    with connection:
        connection.execute(_SCHEMA + book.SCHEMA + _VERSION)
        book.create(connection)
        connection.execute("insert into outbox values(?, ?, ?)", (FORMAT, epoch, zlib.crc32(epoch.encode())))
        for lane in LANES:
            save_lane(connection, Lane(lane), epoch)
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    sync_directory(path.parent)
    return epoch


def upgrade(connection: apsw.Connection) -> None:
    """Add to a sound file of format 1 what it lacks: the command book."""
    if connection.pragma("user_version") == 1 and _schema(connection) == _SOUND_1:
        with connection:
            connection.execute(book.SCHEMA)
            book.create(connection)
            connection.execute(f"update outbox set format = {FORMAT}; {_VERSION}")  # noqa: S608


def load(connection: apsw.Connection, path: Path, ring: Keys, wanted: str) -> tuple[str, dict[int, Lane]]:
    """The epoch and lanes of a file, after checking that they and its entries fit together.

    :class:`Damaged` if they do not, :class:`NewerFormat`, :class:`Hold` if the epoch is not the one that is ``wanted``.
    """
    try:
        return _load(connection, path, ring, wanted)
    except (TypeError, ValueError) as error:  # not even the types are right
        raise _damaged(str(error), path) from None


def _load(connection: apsw.Connection, path: Path, ring: Keys, wanted: str) -> tuple[str, dict[int, Lane]]:
    version = connection.pragma("user_version")
    if version != next(connection.execute("select format from outbox"), (None,))[0]:
        raise _damaged("it says of itself that it has two formats", path)
    if version > FORMAT:
        raise NewerFormat(f"{path} has format {version}, and this Sonde reads up to {FORMAT}")
    if _schema(connection) != _SOUND:
        raise _damaged("its tables are not those of an outbox", path)
    found = list(connection.execute("select epoch, checksum from outbox"))
    if len(found) != 1 or zlib.crc32(found[0][0].encode()) != found[0][1]:
        raise _damaged("its epoch does not match its checksum", path)
    epoch = found[0][0]
    if wanted and epoch != wanted:
        raise Hold(f"{path} belongs to epoch {epoch}, not {wanted}", hint="Name another file")
    lanes = {lane.lane: lane for lane in _load_lanes(connection, path, epoch)}
    if set(lanes) != set(LANES):
        raise _damaged("it does not hold its three lanes", path)
    for lane in lanes.values():
        _check_entries(connection, path, ring, lane)
    return epoch, lanes


def _load_lanes(connection: apsw.Connection, path: Path, epoch: str) -> Iterator[Lane]:
    for *values, checksum in connection.execute(
        "select lane, seq, count, confirmed, base_seq, base_count, checksum from lanes"
    ):
        lane = Lane(*values)
        if lane.checksum(epoch) != checksum:
            raise _damaged(f"lane {lane.lane} does not match its checksum", path)
        yield lane


def _check_entries(connection: apsw.Connection, path: Path, ring: Keys, lane: Lane) -> None:
    """Count what waits in a lane; entries must follow each other without a gap up to the lane's last seq."""
    low, high = lane.lane << 48, (lane.lane + 1) << 48
    seq, count = lane.confirmed, None
    for row, until, readings, total, cost in connection.execute(
        "select id, until, readings, count, cost from entries where id >= ? and id < ? order by id", (low, high)
    ):
        if seq_of(row) != seq + 1 or until < seq_of(row) or (count is not None and total != count + readings):
            raise _damaged(f"lane {lane.lane} lacks what follows {seq}", path)
        seq, count = until, total
        lane.entries += 1
        lane.readings += readings
        lane.bytes += cost
    if seq != lane.seq or (count is not None and count != lane.count):
        raise _damaged(f"lane {lane.lane} ends at {seq} instead of {lane.seq}", path)
    _check_keys(connection, path, ring, low, high)


def _check_keys(connection: apsw.Connection, path: Path, ring: Keys, low: int, high: int) -> None:
    for order in ("asc", "desc"):
        for (head,) in connection.execute(
            f"select substr(frame, 1, {HEADER_BYTES}) from entries where id >= ? and id < ? order by id {order} limit 1",  # noqa: S608
            (low, high),
        ):
            try:
                key = read_header(head, file=str(path)).key
            except Damaged:
                continue  # only this entry is damaged; it is found when it is sent
            with suppress(KeyRetired):  # given up when it is sent
                ring.key(key)


def save_lane(connection: apsw.Connection, lane: Lane, epoch: str) -> None:
    connection.execute(
        "insert or replace into lanes values(?, ?, ?, ?, ?, ?, ?)",
        (lane.lane, lane.seq, lane.count, lane.confirmed, lane.base_seq, lane.base_count, lane.checksum(epoch)),
    )


def unread_tail(connection: apsw.Connection, path: Path, committed: int | None) -> int:
    """How many commits at most the file lost at its end; the WAL that holds them is copied aside first. ``committed`` is
    what :func:`committed_frames` said before it was opened."""
    wal = path.with_name(path.name + "-wal")
    frames, _ = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
    if committed is not None and frames >= committed:
        return 0
    commits = unread_commits(wal, max(frames, 0), PAGE_BYTES)
    if commits:
        shutil.copyfile(wal, path.with_name(f"{path.name}.unread-wal"))
    return commits


def _damaged(what: str, path: Path) -> Damaged:
    return Damaged(what, file=str(path), offset=0)
