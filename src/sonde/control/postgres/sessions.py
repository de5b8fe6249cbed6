"""Sign-in links and sessions in PostgreSQL."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from sonde.clock import Micros
from sonde.control.postgres.database import SECONDS, Connection, Database
from sonde.control.postgres.known import Known
from sonde.control.postgres.last_used import LastUsed
from sonde.control.postgres.rows import COLUMNS, STATE, Found, as_credential, changed
from sonde.ports import Credential, Session
from sonde.token import session_id

_INSERT: Final = """
insert into control.sessions (digest, id, kind, credential_id, expires, created, address, agent)
values (%s, %s, %s, %s, %s, %s, %s, %s)
"""
_VALID: Final = """
from control.sessions s join control.tokens t on t.id = s.credential_id
where s.expires > %(now)s and not t.revoked and (t.expires is null or t.expires > %(now)s)
"""
_TAKE: Final = f"select {STATE}, s.expires, {COLUMNS} {_VALID} and s.digest = %(digest)s and s.kind = %(kind)s"
_ALL: Final = f"""
select s.id, s.kind, s.credential_id, t.name, s.created, s.expires, s.last_used, s.address, s.last_address, s.agent
{_VALID} order by s.created desc, s.id
"""


class PostgresSessions:
    """Port ``Sessions``; cookies that were looked up are remembered in ``known``."""

    def __init__(self, database: Database, known: Known[Found], used: LastUsed) -> None:
        self._database, self._known, self._used = database, known, used

    def put(self, digest: bytes, session: Session) -> None:
        s = session
        row = (digest, session_id(digest), s.kind, s.credential_id, s.expires, s.created, s.address, s.agent)
        with self._database.transaction(SECONDS) as db:
            db.execute("delete from control.sessions where expires <= %s", (s.created,))
            db.execute(_INSERT, row)

    def take(self, digest: bytes, kind: str, now: Micros, address: str = "") -> Credential | None:
        if kind == "link":
            return self._take_link(digest, now)
        found = self._known.get(_place(digest)) or self._known.ask(partial(self._look_up, digest, now))
        if found is None or not found.is_valid(now):
            return None
        self._used.note_session(digest, now, address)
        return found.credential

    def all(self, now: Micros) -> Sequence[Session]:
        with self._database.transaction(SECONDS) as db:
            self._used.write(db)
            rows = db.execute(_ALL, {"now": now}).fetchall()
        return [Session(*row) for row in rows]

    def end(self, session_id: str) -> bool:
        with self._database.transaction(SECONDS) as db:
            ended = db.execute("delete from control.sessions where id = %s", (session_id,)).rowcount > 0
            if ended:
                changed(db)
        self._known.forget()
        return ended

    def _take_link(self, digest: bytes, now: Micros) -> Credential | None:
        with self._database.transaction(SECONDS) as db:  # two browsers with one link: the first one gets in
            row = _find(db, digest, "link", now, lock=True)
            db.execute("delete from control.sessions where digest = %s and kind = 'link'", (digest,))
        return as_credential(row[2:]) if row is not None else None

    def _look_up(self, digest: bytes, now: Micros) -> Found | None:
        with self._database.transaction(SECONDS) as db:
            row = _find(db, digest, "cookie", now)
        if row is None:
            return None
        found = Found(as_credential(row[2:]), row[1])
        self._known.put(_place(digest), found, row[0])
        return found


def _find(db: Connection, digest: bytes, kind: str, now: Micros, *, lock: bool = False) -> tuple[Any, ...] | None:
    query = f"{_TAKE} for update of s" if lock else _TAKE
    return db.execute(query, {"now": now, "digest": digest, "kind": kind}).fetchone()


def _place(digest: bytes) -> bytes:
    """Where a cookie stands among what is known: not where a token with the same secret would."""
    return b"cookie:" + digest
