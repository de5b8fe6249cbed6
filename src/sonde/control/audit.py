"""The audit trail in the control database, and one in memory."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec

from sonde.audit import START, Act, Link, chained, check_all, written
from sonde.clock import Micros
from sonde.control.file import ControlFile
from sonde.errors import Damaged

_NO_ANCHORS: Final[Mapping[int, bytes]] = MappingProxyType({})
_READ: Final = "select number, cast(act as blob) from audit where number < ? order by number desc limit ?"
_ALL: Final = "select number, cast(act as blob), cast(hash as blob) from audit order by number"
_LAST: Final = 2**63 - 1


class SqliteAuditTrail:
    """Port ``AuditTrail`` in the control database at ``path``. Each act is chained inside one transaction, so that several
    programs never chain to the same one."""

    def __init__(self, path: Path) -> None:
        self._file = ControlFile(path)

    def write(self, act: Act) -> None:
        db = self._file.db
        with self._file.errors(), self._file.transaction():
            number, previous = self._ends()[1]
            found = chained(previous, act)
            db.execute("insert into audit values (?, ?, ?)", (number + 1, written(act), found))
            db.execute("update audit_ends set head = ?, head_hash = ?", (number + 1, found))

    def read(self, before: int | None, limit: int) -> Sequence[tuple[int, Act]]:
        with self._file.errors():
            rows = list(self._file.db.execute(_READ, (_LAST if before is None else before, limit)))
        return [(number, self._act(number, act)) for number, act in rows]

    def head(self) -> Link:
        with self._file.errors():
            return self._ends()[1]

    def verify(self, anchors: Mapping[int, bytes] = _NO_ANCHORS) -> int:
        with self._file.errors(), self._file.transaction():  # nobody writes between the acts and the ends
            start, head = self._ends()
            rows = self._file.db.execute(_ALL)
            return check_all(rows, start, head, anchors, str(self._file.path))

    def forget(self, before: Micros) -> int:
        db = self._file.db
        with self._file.errors(), self._file.transaction():
            start = last = self._ends()[0]
            for number, act, found in db.execute(_ALL):
                if self._act(number, act).time >= before or number == self._ends()[1][0]:
                    break
                last = number, found
            db.execute("delete from audit where number <= ?", (last[0],))
            db.execute("update audit_ends set start = ?, start_hash = ?", last)
            return last[0] - start[0]

    def close(self) -> None:
        self._file.close()

    def _ends(self) -> tuple[Link, Link]:
        """The link before the oldest act that is kept, and that of the newest."""
        for start, start_hash, head, head_hash in self._file.db.execute("select * from audit_ends"):
            return (start, start_hash), (head, head_hash)
        raise Damaged("the ends of the audit trail are gone", file=str(self._file.path), offset=0)

    def _act(self, number: int, text: bytes) -> Act:
        try:
            return msgspec.json.decode(text, type=Act)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Damaged(
                f"an act cannot be read ({error})", file=str(self._file.path), offset=number, unit="number"
            ) from None


class MemoryAuditTrail:
    """Port ``AuditTrail``; forgotten with the process."""

    def __init__(self) -> None:
        self._start = START
        self._acts: list[tuple[int, Act, bytes]] = []
        self._lock = threading.Lock()

    def write(self, act: Act) -> None:
        with self._lock:
            number, previous = self.head()
            self._acts.append((number + 1, act, chained(previous, act)))

    def read(self, before: int | None, limit: int) -> Sequence[tuple[int, Act]]:
        found = [(number, act) for number, act, _ in reversed(self._acts) if before is None or number < before]
        return found[:limit]

    def head(self) -> Link:
        return (self._acts[-1][0], self._acts[-1][2]) if self._acts else self._start

    def verify(self, anchors: Mapping[int, bytes] = _NO_ANCHORS) -> int:
        rows = [(number, written(act), found) for number, act, found in self._acts]
        return check_all(rows, self._start, self.head(), anchors, "the audit trail")

    def forget(self, before: Micros) -> int:
        with self._lock:
            dropped = 0
            while len(self._acts) > 1 and self._acts[0][1].time < before:
                number, _, found = self._acts.pop(0)
                self._start = number, found
                dropped += 1
            return dropped
