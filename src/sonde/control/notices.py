"""Port ``Notices``: in the control database, and in memory."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from sonde.control.file import ControlFile
from sonde.notice import Notice

_KEPT: Final = 10_000
"""Settled notices that are remembered, the newest ones."""

_FORGET: Final = """
delete from notices where fate <> 'waiting' and number <= (
  select number from notices where fate <> 'waiting' order by number desc limit 1 offset ?)
"""
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Notice).decode


class SqliteNotices:
    """In the control database at ``path``. Any thread may call it."""

    def __init__(self, path: Path) -> None:
        self._file = ControlFile(path)
        self._db = self._file.db

    def places(self, target: str, log: str) -> Mapping[int, int]:
        with self._file.errors():
            found = self._db.execute(
                'select "partition", "offset" from notice_places where target = ? and log = ?', (target, log)
            )
            return {int(partition): int(offset) for partition, offset in found}

    def add(self, target: str, log: str, places: Mapping[int, int], notices: Sequence[Notice]) -> None:
        rows = [(n.id, n.target, n.fate, _encode(n)) for n in notices]
        reached = [(target, log, partition, offset) for partition, offset in places.items()]
        with self._file.errors(), self._file.transaction():
            self._db.executemany("insert or ignore into notices (id, target, fate, notice) values (?, ?, ?, ?)", rows)
            self._db.executemany("insert or replace into notice_places values (?, ?, ?, ?)", reached)
            self._db.execute(_FORGET, (_KEPT,))

    def waiting(self, target: str, limit: int) -> Sequence[Notice]:
        query = "select notice from notices where target = ? and fate = 'waiting' order by number limit ?"
        with self._file.errors():
            return [_decode(notice) for (notice,) in self._db.execute(query, (target, limit))]

    def update(self, notices: Sequence[Notice]) -> None:
        rows = [(n.fate, _encode(n), n.id) for n in notices]
        with self._file.errors(), self._file.transaction():
            self._db.executemany("update notices set fate = ?, notice = ? where id = ?", rows)

    def recent(self, target: str | None, limit: int) -> Sequence[Notice]:
        query = "select notice from notices where ?1 is null or target = ?1 order by number desc limit ?2"
        with self._file.errors():
            return [_decode(notice) for (notice,) in self._db.execute(query, (target, limit))]

    def close(self) -> None:
        self._file.close()


class MemoryNotices:
    """Forgotten with the process."""

    def __init__(self) -> None:
        self._notices: dict[str, Notice] = {}
        self._places: dict[tuple[str, str], dict[int, int]] = {}
        self._lock = threading.Lock()

    def places(self, target: str, log: str) -> Mapping[int, int]:
        with self._lock:
            return dict(self._places.get((target, log), {}))

    def add(self, target: str, log: str, places: Mapping[int, int], notices: Sequence[Notice]) -> None:
        with self._lock:
            for notice in notices:
                self._notices.setdefault(notice.id, notice)
            self._places.setdefault((target, log), {}).update(places)

    def waiting(self, target: str, limit: int) -> Sequence[Notice]:
        with self._lock:
            found = [n for n in self._notices.values() if n.target == target and n.fate == "waiting"]
        return found[:limit]

    def update(self, notices: Sequence[Notice]) -> None:
        with self._lock:
            self._notices.update({n.id: n for n in notices if n.id in self._notices})

    def recent(self, target: str | None, limit: int) -> Sequence[Notice]:
        with self._lock:
            found = [n for n in reversed(self._notices.values()) if target in (None, n.target)]
        return found[:limit]

    def close(self) -> None:
        pass
