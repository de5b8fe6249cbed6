"""Tokens in the control database. What a method returned from is there after a power cut; only the
time of last use is written without a sync, and late."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from sonde.clock import Clock, SystemClock
from sonde.control.file import ControlFile
from sonde.control.last_used import LastUsed
from sonde.control.memory import VALID_AT_ONCE, too_many
from sonde.control.sessions import SqliteSessions, as_credential
from sonde.ports import Credential

_COUNT_VALID: Final = """
select count(*) from tokens where name = ? and not revoked and (expires is null or expires > ?)
"""
_END: Final = """
delete from sessions where credential_id in (select id from tokens where not revoked and (name = ?1 or id = ?1))
"""


class SqliteControl:
    """Port ``Control`` in the file at ``path``, made with mode 0600 if it is not there. Any thread may call it."""

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._file = ControlFile(path)
        self._db = self._file.db
        self._used = LastUsed(self._file, self._clock, "update tokens set last_used = ? where digest = ?")
        self.sessions = SqliteSessions(self._file, self._clock)

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
            self._used.note(digest, self._clock.now())
            return as_credential(found[0])

    def tokens(self) -> Sequence[Credential]:
        with self._file.errors():
            self._used.write()
            rows = list(self._db.execute("select * from tokens order by created, id"))
        return [as_credential(row) for row in rows]

    def revoke(self, name_or_id: str) -> int:
        with self._file.errors(), self._file.transaction():
            self._db.execute(_END, (name_or_id,))
            self._db.execute(
                "update tokens set revoked = 1 where not revoked and (name = ?1 or id = ?1)", (name_or_id,)
            )
            changes = self._db.changes()
        return int(changes)

    def close(self) -> None:
        with self._file.errors():
            self._used.write()
            self.sessions.used.write()
        self._file.close()


def _json(values: Sequence[str]) -> str:
    return msgspec.json.encode(values).decode()
