"""One outbox file. Used by one thread only; every method but the reading ones runs inside a transaction."""

import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import apsw

from sonde.clock import Clock, Micros
from sonde.entry import EntryKind
from sonde.entry import Lane as LaneNumber
from sonde.errors import Damaged, NotFound, Retry
from sonde.frame import Sealer
from sonde.keyring import Keys
from sonde.node.outbox import tables, tombstone
from sonde.node.outbox.book import Book
from sonde.node.outbox.room import Room, Run
from sonde.node.outbox.row import Row, row_id, seal, seq_of
from sonde.node.outbox.stream import Lane
from sonde.node.outbox.wal import committed_frames
from sonde.ports import Noted, Stage, Waiting

GROUP: Final = 256  # puts that share a commit, at most
_LETTERS_SHARE: Final = 8  # dead letters take at most an eighth of the limit


class OutboxFile:
    """The file at ``path``, made if it is not there. ``unread`` counts commits that a damaged WAL took away."""

    def __init__(self, path: Path, ring: Keys, *, limit_bytes: int, clock: Clock, epoch: str = "") -> None:
        new = not path.exists()
        self._path, self._ring, self._clock, self._limit = path, ring, clock, limit_bytes
        path.touch(mode=0o600)
        committed = committed_frames(path)
        self.connection = tables.connect(path)
        try:
            self.unread = 0 if new else tables.unread_tail(self.connection, path, committed)
            if new or not self.connection.table_exists("main", "outbox"):
                if self.unread:
                    raise Damaged("nothing of it can be read", file=str(path), offset=0)
                epoch = tables.create(self.connection, path, epoch)
            tables.upgrade(self.connection)
            self.epoch, self.lanes = tables.load(self.connection, path, ring, epoch)
            self.book = Book(self.connection, path)
            self.book.forget(clock.now())
            self.data_version = -1  # so that what was asked before is found at once
        except BaseException:
            self.connection.close()
            raise
        self._dirty: set[int] = set()
        self._saved: tuple[str, dict[int, Lane]] = (self.epoch, {})
        self._handed: dict[int, int] | None = None
        self._peeked: dict[int, dict[int, int]] = {}
        self._sealer = Sealer(ring)
        self.dropped: dict[int, int] = {}  # readings that made way in this transaction, by lane

    # -- transactions

    def begin(self) -> None:
        self._saved = (self.epoch, {number: replace(lane) for number, lane in self.lanes.items()})
        self._dirty.clear()
        self.dropped.clear()
        self.sealing_key()
        self.connection.execute("begin immediate")

    def commit(self) -> None:
        for number in self._dirty:
            tables.save_lane(self.connection, self.lanes[number], self.epoch)
        self.connection.execute("commit")

    def rollback(self) -> None:
        """Back to where the transaction began. What was sealed in it is void, so its session ends."""
        if not self.connection.get_autocommit():
            self.connection.execute("rollback")
        self.epoch, self.lanes = self._saved
        self.book.reload()
        self.dropped.clear()
        self._sealer = Sealer(self._ring)

    def accept_only_handed_out(self) -> None:
        """This file took another's place, or its seqs changed: receipts for what it never handed out are not its own."""
        self._handed = {}

    def take_over(self, other: "OutboxFile") -> None:
        """This is the same file opened again, or another one in its place."""
        if other.epoch == self.epoch:
            self._handed, self._peeked = other._handed, other._peeked
        else:
            self.accept_only_handed_out()

    def sealing_key(self) -> str:
        """The name of the key that seals from now on; when another has taken over, its session begins."""
        if self._sealer.key != self._ring.active:
            self._sealer = Sealer(self._ring)
        return self._sealer.key

    # -- entries

    def put(self, lane: int, kind: int, content: bytes, readings: int) -> int:
        at = self.lanes[lane]
        seq = at.seq + 1
        if kind == EntryKind.TOMBSTONE:
            content = tombstone.encode(seq - at.base_seq, readings, tombstone.reason_of(content))
        row = self._seal(lane, seq, seq, kind, readings, at.count + readings, content)
        if not self._make_room(row):
            if lane == LaneNumber.CONTROL:
                raise Retry("the outbox is full of messages that may not be dropped", hint="Is the sink reachable?")
            return self._drop_at_once(row)
        self._insert(row)
        return seq - at.base_seq

    def advance(self, epoch: str, noted: Noted, stage: Stage, step: bytes) -> int | None:
        """See :meth:`sonde.ports.CommandBook.advance`."""
        if not self.book.is_news(epoch, noted, stage):
            return None
        seq = self.put(LaneNumber.CONTROL, EntryKind.COMMAND, step, 0)  # first: it may find that there is no room
        self.book.write(noted, stage, self._clock.now())
        return seq

    def step_over(self, lane: int, entries: int) -> None:
        """A tombstone over seqs that may have been given out and were lost with the end of the WAL."""
        at = self.lanes[lane]
        seq, until = at.seq + 1, at.seq + entries
        content = tombstone.encode(until - at.base_seq, 0, tombstone.UNREAD)
        self._insert(self._seal(lane, seq, until, EntryKind.TOMBSTONE, 0, at.count, content))

    def rows(self, lane: int, limit_bytes: int) -> list[Row]:
        """The oldest rows, at least one if there are any, whose contents have up to ``limit_bytes``; needs no transaction."""
        found: list[Row] = []
        size = 0
        for values in self.connection.execute(
            f"select id, {tables.COLUMNS} from entries where id >= ? and id < ? order by id",  # noqa: S608
            (row_id(lane, 0), row_id(lane + 1, 0)),
        ):
            row = tables.row_of(values)
            size += row.size
            if found and size > limit_bytes:
                break
            found.append(row)
        self._peeked[lane] = {row.until: row.total for row in found}
        if self._handed is not None and found:
            self._handed[lane] = found[-1].until
        return found

    def confirm(self, lane: int, seq: int) -> bool:
        """Delete what is at or below ``seq`` (as on the wire); whether it fits what this file has given out."""
        at = self.lanes[lane]
        known = seq + at.base_seq
        if self._handed is not None:
            known = min(known, self._handed.get(lane, 0))
        if known > at.seq:
            return False
        if known > at.confirmed:
            straddling = self._delete_up_to(at, known)
            at.confirmed = known
            self._dirty.add(lane)
            if straddling is not None:
                self._shorten(at, straddling)
        return True

    def reject(self, lane: int, seq: int, reason: str) -> None:
        """Keep an entry as a dead letter, with a tombstone in its place."""
        row = self._row(lane, seq)
        self._bury(row, f"refused: {reason}")
        self._letter(row, reason)

    def give_up(self, lane: int, seq: int) -> None:
        """The same for an entry that does not hold what was written; ``seq`` as in a row. Maybe it has gone meanwhile."""
        try:
            row = self._row(lane, seq - self.lanes[lane].base_seq)
        except NotFound:
            return
        self._bury(row, tombstone.DAMAGED)
        self._letter(row, tombstone.DAMAGED)

    def new_epoch(self, epoch: str) -> None:
        """Number what waits anew, from 1. For a file that is older than what a sink has seen of it."""
        self.epoch = epoch
        self.book.renew()
        self.connection.execute("update outbox set epoch = ?, checksum = ?", (epoch, zlib.crc32(epoch.encode())))
        for at in self.lanes.values():
            first = self._first(at)
            at.base_seq = at.confirmed
            at.base_count = at.count if first is None else first.total - first.readings
            self._dirty.add(at.lane)
        self.accept_only_handed_out()

    # -- dead letters

    def letters(self, limit: int, *, only_asked: bool = False) -> list[tuple[int, Row]]:
        """The oldest dead letters that can be put back, with their numbers."""
        asked = "again = 1 and" if only_asked else ""
        return [
            (letter, tables.row_of(values))
            for letter, *values in self.connection.execute(
                f"select id, entry, {tables.COLUMNS} from letters where {asked} reason <> ? order by id limit ?",  # noqa: S608
                (tombstone.DAMAGED, limit),
            )
        ]

    def put_back(self, letter: int, row: Row, content: bytes) -> None:
        self.put(row.lane, row.kind, content, row.readings)
        self.connection.execute("delete from letters where id = ?", (letter,))

    def keep_for_good(self, letter: int) -> None:
        """A dead letter that cannot be opened is never put back."""
        self.connection.execute("update letters set again = 0, reason = ? where id = ?", (tombstone.DAMAGED, letter))

    def waiting(self) -> Sequence[Waiting]:
        counts = dict(self.connection.execute("select entry >> 48, count(*) from letters group by 1"))
        found = []
        for at in self.lanes.values():
            first = self._first(at)
            oldest = None if first is None else first.time
            found.append(Waiting(at.lane, at.entries, at.readings, at.bytes, oldest, counts.get(at.lane, 0)))
        return found

    # -- inside

    def _seal(
        self, lane: int, seq: int, until: int, kind: int, readings: int, total: int, content: bytes, time: Micros = 0
    ) -> Row:
        """``time`` is that of the entry whose place this one takes."""
        now = time or self._clock.now()
        return seal(self._sealer, lane, seq, until, kind, readings, total, content, now)

    def _insert(self, row: Row) -> None:
        self.connection.execute(f"insert into entries values({'?, ' * 9}?)", (row.id, *row[2:]))
        at = self.lanes[row.lane]
        at.seq, at.count = max(at.seq, row.until), max(at.count, row.total)
        self._tally(at, 1, row.readings, row.cost)

    def _tally(self, at: Lane, entries: int, readings: int, cost: int) -> None:
        at.entries += entries
        at.readings += readings
        at.bytes += cost
        self._dirty.add(at.lane)

    def _make_room(self, row: Row) -> bool:
        if sum(at.bytes for at in self.lanes.values()) + row.cost <= self._limit:
            return True
        room = Room(self.connection, self.lanes, self._limit - row.cost)
        for lane in (LaneNumber.BACKLOG, LaneNumber.LIVE):
            room.empty(lane, self._replace_run)
        return room.excess <= 0

    def _drop_at_once(self, row: Row) -> int:
        """The outbox is smaller than this one entry: it goes the way of the oldest."""
        at = self.lanes[row.lane]
        self.dropped[row.lane] = self.dropped.get(row.lane, 0) + row.readings
        self._insert(row)
        self._swap(row, row.seq, row.readings, tombstone.DROPPED)
        return row.seq - at.base_seq

    def _replace_run(self, lane: int, run: Run) -> None:
        """One tombstone in place of a run of entries."""
        at, first, last = self.lanes[lane], run.first, run.last
        self.connection.execute("delete from entries where id between ? and ?", (first.id, last.id))
        self._tally(at, -run.entries, -run.readings, -run.cost)
        self.dropped[lane] = self.dropped.get(lane, 0) + run.fresh
        content = tombstone.encode(last.until - at.base_seq, run.readings, tombstone.DROPPED)
        self._insert(
            self._seal(lane, first.seq, last.until, EntryKind.TOMBSTONE, run.readings, last.total, content, first.time)
        )

    def _delete_up_to(self, at: Lane, known: int) -> Row | None:
        """Delete entries that end at or below ``known``; the one that lies across it, if there is one."""
        low = row_id(at.lane, 0)
        last = next(
            self.connection.execute(
                "select max(id) from entries where id between ? and ?", (low, row_id(at.lane, known))
            )
        )[0]
        if last is None:
            return None
        row = self._row(at.lane, seq_of(last) - at.base_seq)
        bounds = (low, last - 1 if row.until > known else last)
        entries, readings, cost = next(
            self.connection.execute(
                "select count(*), total(readings), total(cost) from entries where id between ? and ?", bounds
            )
        )
        self.connection.execute("delete from entries where id between ? and ?", bounds)
        self._tally(at, -entries, -int(readings), -int(cost))
        return row if row.until > known else None

    def _shorten(self, at: Lane, row: Row) -> None:
        """A sink has taken a part of what became a tombstone meanwhile: only the rest is lost."""
        known = self._peeked.get(at.lane, {}).get(at.confirmed)
        readings = row.readings if known is None else row.total - known
        self._swap(row, at.confirmed + 1, readings, tombstone.DROPPED)

    def _bury(self, row: Row, reason: str) -> None:
        self._swap(row, row.seq, row.readings, reason)

    def _swap(self, row: Row, seq: int, readings: int, reason: str) -> None:
        at = self.lanes[row.lane]
        content = tombstone.encode(row.until - at.base_seq, readings, reason)
        self.connection.execute("delete from entries where id = ?", (row.id,))
        self._tally(at, -1, -row.readings, -row.cost)
        self._insert(self._seal(row.lane, seq, row.until, EntryKind.TOMBSTONE, readings, row.total, content, row.time))

    def _letter(self, row: Row, reason: str) -> None:
        insert = f"insert into letters(reason, entry, {tables.COLUMNS}) values(?, ?, {'?, ' * 8}?)"
        self.connection.execute(insert, (reason, row.id, *row[2:]))
        over = "select id from (select id, sum(cost) over (order by id desc) as kept from letters) where kept > ?"
        self.connection.execute(f"delete from letters where id in ({over})", (self._limit // _LETTERS_SHARE,))  # noqa: S608

    def _row(self, lane: int, seq: int) -> Row:
        number = row_id(lane, seq + self.lanes[lane].base_seq)
        for values in self.connection.execute(f"select id, {tables.COLUMNS} from entries where id = ?", (number,)):  # noqa: S608
            return tables.row_of(values)
        raise NotFound(f"the outbox holds no entry {seq} in lane {tombstone.LANES[lane]}")

    def _first(self, at: Lane) -> Row | None:
        for values in self.connection.execute(
            f"select id, {tables.COLUMNS} from entries where id >= ? and id < ? order by id limit 1",  # noqa: S608
            (row_id(at.lane, 0), row_id(at.lane + 1, 0)),
        ):
            return tables.row_of(values)
        return None


def connection_error(error: apsw.Error) -> Retry:
    """What an error of SQLite that is not damage means to whoever puts."""
    what = "the disk is full" if isinstance(error, apsw.FullError) else str(error)
    return Retry(f"the outbox cannot be written: {what}", hint="It goes on by itself when this ends")
