"""When tokens and sessions were used last: worth knowing, and worth no waiting."""

import threading
from typing import Final

from sonde.clock import Micros
from sonde.control.postgres.database import Connection

_TOKENS: Final = """
update control.tokens t set last_used = greatest(t.last_used, u.moment)
from unnest(%s::bytea[], %s::bigint[]) as u (digest, moment) where t.digest = u.digest
"""
_SESSIONS: Final = """
update control.sessions s set last_used = u.moment, last_address = u.address
from unnest(%s::bytea[], %s::bigint[], %s::text[]) as u (digest, moment, address)
where s.digest = u.digest and coalesce(s.last_used, 0) <= u.moment
"""
_LOCK: Final = 0x50_4C_55  # of this program's advisory locks; two that write at once would wait for each other's rows


class LastUsed:
    """Times of use, written late and all at once. Any thread may call it."""

    def __init__(self) -> None:
        self._tokens: dict[bytes, Micros] = {}
        self._sessions: dict[bytes, tuple[Micros, str]] = {}
        self._lock = threading.Lock()

    def note_token(self, digest: bytes, moment: Micros) -> None:
        with self._lock:
            self._tokens[digest] = moment

    def note_session(self, digest: bytes, moment: Micros, address: str) -> None:
        with self._lock:
            self._sessions[digest] = (moment, address)

    def write(self, db: Connection) -> None:
        """Write all down that was noted, in a transaction of the caller's; what fails is not tried again."""
        with self._lock:
            tokens, self._tokens = self._tokens, {}
            sessions, self._sessions = self._sessions, {}
        if not tokens and not sessions:
            return
        db.execute("set local synchronous_commit = off")
        db.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))
        if tokens:
            db.execute(_TOKENS, (list(tokens), list(tokens.values())))
        if sessions:
            moments, addresses = zip(*sessions.values(), strict=True)
            db.execute(_SESSIONS, (list(sessions), list(moments), list(addresses)))
