"""The control database in memory: for tests and for a first look."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sonde.clock import Clock, Micros, SystemClock
from sonde.errors import Conflict
from sonde.ports import Credential

VALID_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class _Session:
    kind: str
    credential_id: str
    expires: Micros


class MemoryControl:
    """Port ``Control``; forgotten with the process."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._tokens: dict[bytes, Credential] = {}
        self._sessions: dict[bytes, _Session] = {}
        self._lock = threading.Lock()

    def create_token(self, credential: Credential, digest: bytes) -> None:
        with self._lock:
            now = self._clock.now()
            valid = [c for c in self._tokens.values() if c.name == credential.name and is_valid(c, now)]
            if len(valid) >= VALID_AT_ONCE:
                raise too_many(credential.name)
            if digest in self._tokens or any(c.id == credential.id for c in self._tokens.values()):
                raise Conflict("a token with this id is there already", hint="Make another")
            self._tokens[digest] = credential

    def find_token(self, digest: bytes) -> Credential | None:
        with self._lock:
            credential = self._tokens.get(digest)
            if credential is not None:
                self._tokens[digest] = replace(credential, last_used=self._clock.now())
            return credential

    def tokens(self) -> Sequence[Credential]:
        with self._lock:
            return sorted(self._tokens.values(), key=lambda c: (c.created, c.id))

    def revoke(self, name_or_id: str) -> int:
        with self._lock:
            found = {
                digest: replace(c, revoked=True)
                for digest, c in self._tokens.items()
                if name_or_id in (c.name, c.id) and not c.revoked
            }
            self._tokens.update(found)
            return len(found)

    def put_session(self, digest: bytes, kind: str, credential_id: str, expires: Micros) -> None:
        with self._lock:
            now = self._clock.now()
            self._sessions = {d: s for d, s in self._sessions.items() if s.expires > now}
            self._sessions[digest] = _Session(kind, credential_id, expires)

    def take_session(self, digest: bytes, kind: str, now: Micros) -> Credential | None:
        with self._lock:
            session = self._sessions.get(digest)
            if session is None or session.kind != kind:
                return None
            if kind == "link":
                del self._sessions[digest]
            credential = next((c for c in self._tokens.values() if c.id == session.credential_id), None)
            if credential is None or session.expires <= now or not is_valid(credential, now):
                return None
            return credential

    def close(self) -> None:
        pass


def is_valid(credential: Credential, now: Micros) -> bool:
    return not credential.revoked and (credential.expires is None or credential.expires > now)


def too_many(name: str) -> Conflict:
    return Conflict(
        f"{name!r} already has {VALID_AT_ONCE} tokens that are valid",
        hint="Revoke one first: sonde token list, sonde token revoke ID",
        known=VALID_AT_ONCE,
    )
