"""The audit trail in PostgreSQL: the same acts, the same chain of hashes as in SQLite."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from sonde.audit import Act, Link, chained, check_all, written
from sonde.clock import Micros
from sonde.control.postgres.database import SECONDS, Connection, Database
from sonde.errors import Damaged

_NO_ANCHORS: Final[Mapping[int, bytes]] = MappingProxyType({})
_LAST: Final = 2**63 - 1
_ENDS: Final = "select start, start_hash, head, head_hash from control.audit_ends"
_READ: Final = "select number, act from control.audit where number < %s order by number desc limit %s"
_AFTER: Final = "select number, act, hash from control.audit where number > %s order by number limit %s"
_INSERT: Final = "insert into control.audit (number, act, hash) values (%s, %s, %s)"
_AT_ONCE: Final = 1_000
_PLACE: Final = "the audit trail in the database"


class PostgresAuditTrail:
    """Port ``AuditTrail``. The row with the ends of the chain is locked while an act is written, so that several programs
    never chain to the same one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, act: Act) -> None:
        with self._database.transaction(SECONDS) as db:
            number, previous = self._ends(db, lock=True)[1]
            found = chained(previous, act)
            db.execute(_INSERT, (number + 1, written(act), found))
            db.execute("update control.audit_ends set head = %s, head_hash = %s", (number + 1, found))

    def read(self, before: int | None, limit: int) -> Sequence[tuple[int, Act]]:
        with self._database.transaction(SECONDS) as db:
            rows = db.execute(_READ, (_LAST if before is None else before, limit)).fetchall()
        return [(number, self._act(number, act)) for number, act in rows]

    def head(self) -> Link:
        with self._database.transaction(SECONDS) as db:
            return self._ends(db)[1]

    def verify(self, anchors: Mapping[int, bytes] = _NO_ANCHORS) -> int:
        with self._database.snapshot(SECONDS) as db:  # the ends and the acts as they go together
            start, head = self._ends(db)
            return check_all(_acts(db), start, head, anchors, _PLACE)

    def forget(self, before: Micros) -> int:
        with self._database.transaction(SECONDS) as db:
            start, head = self._ends(db, lock=True)
            last = start
            for number, act, found in _acts(db):
                if self._act(number, act).time >= before or number == head[0]:
                    break
                last = number, found
            db.execute("delete from control.audit where number <= %s", (last[0],))
            db.execute("update control.audit_ends set start = %s, start_hash = %s", last)
            return last[0] - start[0]

    def close(self) -> None:
        """The database is closed by whoever opened it."""

    def _ends(self, db: Connection, *, lock: bool = False) -> tuple[Link, Link]:
        """The link before the oldest act that is kept, and that of the newest."""
        row = db.execute(f"{_ENDS} for update" if lock else _ENDS).fetchone()
        if row is None:
            raise Damaged("the ends of the audit trail are gone", file=_PLACE, offset=0, unit="number")
        return (row[0], row[1]), (row[2], row[3])

    def _act(self, number: int, text: bytes) -> Act:
        try:
            return msgspec.json.decode(text, type=Act)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Damaged(f"an act cannot be read ({error})", file=_PLACE, offset=number, unit="number") from None


def _acts(db: Connection) -> Iterator[tuple[int, bytes, bytes]]:
    """All acts, oldest first, some at a time."""
    last = -_LAST
    while rows := db.execute(_AFTER, (last, _AT_ONCE)).fetchall():
        yield from rows
        last = rows[-1][0]
