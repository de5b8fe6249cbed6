"""Tokens and sign-in sessions in the control database. What a method returned from is there after a power cut; only the
time of last use is written without a sync, and late."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import apsw
import msgspec

from sonde.clock import SECOND, Clock, Micros, SystemClock
from sonde.control.file import BUSY_MILLISECONDS, ControlFile
from sonde.control.memory import VALID_AT_ONCE, too_many
from sonde.ports import Credential

_LAST_USED_EVERY: Final = 60 * SECOND
_COUNT_VALID: Final = """
select count(*) from tokens where name = ? and not revoked and (expires is null or expires > ?)
"""
_TAKE: Final = """
select t.* from sessions s join tokens t on t.id = s.credential_id
where s.digest = ?1 and s.kind = ?2 and s.expires > ?3 and not t.revoked and (t.expires is null or t.expires > ?3)
"""


class SqliteControl:
    """Port ``Control`` in the file at ``path``, made with mode 0600 if it is not there. Any thread may call it."""

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._used: dict[bytes, Micros] = {}
        self._used_written = self._clock.now()
        self._file = ControlFile(path)
        self._db = self._file.db

    def create_token(self, credential: Credential, digest: bytes) -> None:
        c = credential
        row = (
            c.id,
            c.name,
            _json(sorted(c.scopes)),
            _json(c.devices),
            c.node,
            c.expires,
            c.created,
            c.last_used,
            c.revoked,
        )
        with self._file.errors(), self._file.transaction():
            if next(self._db.execute(_COUNT_VALID, (c.name, self._clock.now())))[0] >= VALID_AT_ONCE:
                raise too_many(c.name)
            self._db.execute("insert into tokens values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (digest, *row))

    def find_token(self, digest: bytes) -> Credential | None:
        with self._file.errors():
            found = list(self._db.execute("select * from tokens where digest = ?", (digest,)))
            if not found:
                return None
            self._used[digest] = self._clock.now()
            self._write_last_used()
            return _credential(found[0])

    def tokens(self) -> Sequence[Credential]:
        with self._file.errors():
            self._write_last_used(at_once=True)
            rows = list(self._db.execute("select * from tokens order by created, id"))
        return [_credential(row) for row in rows]

    def revoke(self, name_or_id: str) -> int:
        with self._file.errors(), self._file.transaction():
            self._db.execute(
                "update tokens set revoked = 1 where not revoked and (name = ?1 or id = ?1)", (name_or_id,)
            )
            changes = self._db.changes()
        return int(changes)

    def put_session(self, digest: bytes, kind: str, credential_id: str, expires: Micros) -> None:
        with self._file.errors(), self._file.transaction():
            self._db.execute("delete from sessions where expires <= ?", (self._clock.now(),))
            self._db.execute("insert into sessions values (?, ?, ?, ?)", (digest, kind, credential_id, expires))

    def take_session(self, digest: bytes, kind: str, now: Micros) -> Credential | None:
        with self._file.errors():
            if kind == "link":
                with self._file.transaction():  # two browsers with one link: the first one gets in
                    found = list(self._db.execute(_TAKE, (digest, kind, now)))
                    self._db.execute("delete from sessions where digest = ? and kind = ?", (digest, kind))
            else:
                found = list(self._db.execute(_TAKE, (digest, kind, now)))
        return _credential(found[0]) if found else None

    def close(self) -> None:
        with self._file.errors():
            self._write_last_used(at_once=True)
        self._file.close()

    def _write_last_used(self, at_once: bool = False) -> None:
        """Write the times of use down, at most once a minute; another time if a writer is at work just now."""
        now = self._clock.now()
        if not self._used or (not at_once and abs(now - self._used_written) < _LAST_USED_EVERY):
            return
        self._used_written = now
        self._db.set_busy_timeout(0)
        self._db.pragma("synchronous", 1)
        try:
            with self._file.transaction():
                rows = [(moment, digest) for digest, moment in self._used.items()]
                self._db.executemany("update tokens set last_used = ? where digest = ?", rows)
            self._used.clear()
        except (apsw.BusyError, apsw.FullError):
            return  # a time of use is worth no waiting; it stays in ``_used``
        finally:
            self._db.pragma("synchronous", 2)
            self._db.set_busy_timeout(BUSY_MILLISECONDS)


def _json(values: Sequence[str]) -> str:
    return msgspec.json.encode(values).decode()


def _credential(row: tuple[Any, ...]) -> Credential:
    _, id, name, scopes, devices, node, expires, created, last_used, revoked = row
    return Credential(
        id=id,
        name=name,
        scopes=frozenset(msgspec.json.decode(scopes, type=list[str])),
        devices=tuple(msgspec.json.decode(devices, type=list[str])),
        node=node,
        expires=expires,
        created=created,
        last_used=last_used,
        revoked=bool(revoked),
    )
