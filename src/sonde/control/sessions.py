"""Sign-in links and sessions in the control database."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from sonde.clock import Clock, Micros
from sonde.control.file import ControlFile
from sonde.control.last_used import LastUsed
from sonde.ports import Credential, Session
from sonde.token import session_id

_INSERT: Final = """
insert into sessions (digest, kind, credential_id, expires, created, address, agent) values (?, ?, ?, ?, ?, ?, ?)
"""
_VALID: Final = """
from sessions s join tokens t on t.id = s.credential_id
where s.expires > ?1 and not t.revoked and (t.expires is null or t.expires > ?1)
"""
_TAKE: Final = f"select t.* {_VALID} and s.digest = ?2 and s.kind = ?3"
_ALL: Final = f"""
select s.digest, s.kind, s.credential_id, t.name, s.created, s.expires, s.last_used, s.address, s.last_address, s.agent
{_VALID} order by s.created desc, s.digest
"""
_USED: Final = "update sessions set last_used = ?, last_address = ? where digest = ?"


class SqliteSessions:
    """Port ``Sessions`` on the connection of a control database."""

    def __init__(self, file: ControlFile, clock: Clock) -> None:
        self._file = file
        self.used = LastUsed(file, clock, _USED)

    def put(self, digest: bytes, session: Session) -> None:
        s = session
        row = (digest, s.kind, s.credential_id, s.expires, s.created, s.address, s.agent)
        with self._file.errors(), self._file.transaction():
            self._file.db.execute("delete from sessions where expires <= ?", (s.created,))
            self._file.db.execute(_INSERT, row)

    def take(self, digest: bytes, kind: str, now: Micros, address: str = "") -> Credential | None:
        db = self._file.db
        with self._file.errors():
            if kind == "link":
                with self._file.transaction():  # two browsers with one link: the first one gets in
                    found = list(db.execute(_TAKE, (now, digest, kind)))
                    db.execute("delete from sessions where digest = ? and kind = ?", (digest, kind))
            else:
                found = list(db.execute(_TAKE, (now, digest, kind)))
                if found:
                    self.used.note(digest, now, address)
        return as_credential(found[0]) if found else None

    def all(self, now: Micros) -> Sequence[Session]:
        with self._file.errors():
            self.used.write()
            rows = list(self._file.db.execute(_ALL, (now,)))
        return [Session(session_id(digest), *rest) for digest, *rest in rows]

    def end(self, session_id_: str) -> bool:
        db = self._file.db
        with self._file.errors(), self._file.transaction():
            found = [d for (d,) in db.execute("select digest from sessions") if session_id(d) == session_id_]
            db.executemany("delete from sessions where digest = ?", [(digest,) for digest in found])
        return bool(found)


def as_credential(row: tuple[Any, ...]) -> Credential:
    """A row of ``tokens``."""
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
