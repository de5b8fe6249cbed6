"""Tokens in PostgreSQL."""

from collections.abc import Sequence
from functools import partial
from typing import Final

import structlog

from sonde.clock import Clock, SystemClock
from sonde.control.memory import VALID_AT_ONCE, too_many
from sonde.control.postgres.database import SECONDS, Database
from sonde.control.postgres.known import Known
from sonde.control.postgres.last_used import LastUsed
from sonde.control.postgres.rows import COLUMNS, STATE, Found, as_credential, changed, state
from sonde.control.postgres.sessions import PostgresSessions
from sonde.errors import Conflict, Retry
from sonde.ports import Credential

_log = structlog.get_logger()
_FIND: Final = f"select {STATE}, {COLUMNS} from control.tokens t where digest = %s"  # noqa: S608 - constants
_ALL: Final = f"select {COLUMNS} from control.tokens t order by created, id"  # noqa: S608
_COUNT_VALID: Final = """
select count(*) from control.tokens where name = %s and not revoked and (expires is null or expires > %s)
"""
_INSERT: Final = """
insert into control.tokens (digest, id, name, scopes, devices, node, expires, created, last_used, revoked)
values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) on conflict do nothing
"""
_END: Final = """
delete from control.sessions where credential_id in (
  select id from control.tokens where not revoked and (name = %(which)s or id = %(which)s))
"""
_REVOKE: Final = """
update control.tokens set revoked = true where not revoked and (name = %(which)s or id = %(which)s)
"""


class PostgresControl:
    """Port ``Control``. What was looked up is remembered until something changes, which every program sees within half a
    second (:mod:`sonde.control.postgres.known`). Any thread may call it."""

    def __init__(self, database: Database, clock: Clock | None = None) -> None:
        self._database, self._clock = database, clock or SystemClock()
        self._used = LastUsed()
        self._known: Known[Found] = Known(self._state, self._write_use, self._clock)
        self.sessions = PostgresSessions(database, self._known, self._used)

    def create_token(self, credential: Credential, digest: bytes) -> None:
        c = credential
        row = (digest, c.id, c.name, sorted(c.scopes), list(c.devices), c.node, c.expires, c.created, c.last_used)
        with self._database.transaction(SECONDS) as db:
            changed(db)  # two programs that make a token of one name: the second one counts the first one's
            counted = db.execute(_COUNT_VALID, (c.name, self._clock.now())).fetchone()
            if counted is not None and counted[0] >= VALID_AT_ONCE:
                raise too_many(c.name)
            if not db.execute(_INSERT, (*row, c.revoked)).rowcount:
                raise Conflict("a token with this id is there already", hint="Make another")

    def find_token(self, digest: bytes) -> Credential | None:
        found = self._known.get(digest) or self._known.ask(partial(self._look_up, digest))
        if found is None:
            return None
        self._used.note_token(digest, self._clock.now())
        return found.credential

    def tokens(self) -> Sequence[Credential]:
        with self._database.transaction(SECONDS) as db:
            self._used.write(db)
            rows = db.execute(_ALL).fetchall()
        return [as_credential(row) for row in rows]

    def revoke(self, name_or_id: str) -> int:
        with self._database.transaction(SECONDS) as db:
            changed(db)
            db.execute(_END, {"which": name_or_id})
            revoked = db.execute(_REVOKE, {"which": name_or_id}).rowcount
        self._known.forget()
        return revoked

    def close(self) -> None:
        """Write down what is still to be written; the database is closed by whoever opened it."""
        self._known.close()
        try:
            self._write_use()
        except Retry as error:
            _log.warning("last_use_not_written", problem=str(error))

    def _look_up(self, digest: bytes) -> Found | None:
        with self._database.transaction(SECONDS) as db:
            row = db.execute(_FIND, (digest,)).fetchone()
        if row is None:
            return None
        found = Found(as_credential(row[1:]))
        self._known.put(digest, found, row[0])
        return found

    def _state(self) -> int:
        with self._database.transaction(SECONDS) as db:
            return state(db)

    def _write_use(self) -> None:
        with self._database.transaction(SECONDS) as db:
            self._used.write(db)
