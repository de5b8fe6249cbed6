"""The control database in memory: for tests and for a first look."""

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from sonde.clock import Clock, Micros, SystemClock
from sonde.errors import Conflict
from sonde.ports import Credential, Session

VALID_AT_ONCE = 2


class MemoryControl:
    """Port ``Control``; forgotten with the process."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._tokens: dict[bytes, Credential] = {}
        self._lock = threading.Lock()
        self.sessions = MemorySessions(self.tokens)

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
        self.sessions.end_of({c.id for c in found.values()})
        return len(found)

    def close(self) -> None:
        pass


class MemorySessions:
    """Port ``Sessions``, of the tokens that ``tokens`` gives."""

    def __init__(self, tokens: Callable[[], Sequence[Credential]]) -> None:
        self._tokens = tokens
        self._kept: dict[bytes, Session] = {}
        self._lock = threading.Lock()

    def put(self, digest: bytes, session: Session) -> None:
        with self._lock:
            self._kept = {d: s for d, s in self._kept.items() if s.expires > session.created}
            self._kept[digest] = session

    def take(self, digest: bytes, kind: str, now: Micros, address: str = "") -> Credential | None:
        with self._lock:
            session = self._kept.get(digest)
            if session is None or session.kind != kind:
                return None
            if kind == "link":
                del self._kept[digest]
            else:
                self._kept[digest] = replace(session, last_used=now, last_address=address)
        return self._credential(session, now)

    def all(self, now: Micros) -> Sequence[Session]:
        with self._lock:
            kept = list(self._kept.values())
        valid = [replace(s, name=c.name) for s in kept if (c := self._credential(s, now)) is not None]
        return sorted(valid, key=lambda s: (-s.created, s.id))

    def end(self, session_id: str) -> bool:
        return self._drop(lambda session: session.id == session_id)

    def end_of(self, credentials: Collection[str]) -> None:
        """End those of some tokens."""
        self._drop(lambda session: session.credential_id in credentials)

    def _drop(self, condition: Callable[[Session], bool]) -> bool:
        with self._lock:
            before = len(self._kept)
            self._kept = {d: s for d, s in self._kept.items() if not condition(s)}
            return len(self._kept) < before

    def _credential(self, session: Session, now: Micros) -> Credential | None:
        found = next((c for c in self._tokens() if c.id == session.credential_id), None)
        return found if found is not None and session.expires > now and is_valid(found, now) else None


def is_valid(credential: Credential, now: Micros) -> bool:
    return not credential.revoked and (credential.expires is None or credential.expires > now)


def too_many(name: str) -> Conflict:
    return Conflict(
        f"{name!r} already has {VALID_AT_ONCE} tokens that are valid",
        hint="Revoke one first: sonde token list, sonde token revoke ID",
        known=VALID_AT_ONCE,
    )
