"""The control database: who may, who is signed in, who did what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sonde.audit import Act
from sonde.clock import Micros


@dataclass(frozen=True, slots=True)
class Credential:
    """Who is asking: a token, and what it allows. ``devices`` are shell-style patterns; none means every device."""

    id: str
    name: str
    scopes: frozenset[str]
    devices: tuple[str, ...] = ()
    node: str = ""
    expires: Micros | None = None
    created: Micros = 0
    last_used: Micros | None = None
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class Session:
    """A one-time sign-in link that waits (kind ``link``), or a browser that is signed in (kind ``cookie``).

    ``id`` may be shown and follows from the secret (:func:`sonde.token.session_id`); ``name`` is that of its token.
    ``address`` is where it was made from, ``last_address`` where it was used from last; ``agent`` is what the browser calls
    itself.
    """

    id: str
    kind: str
    credential_id: str
    name: str
    created: Micros
    expires: Micros
    last_used: Micros | None = None
    address: str = ""
    last_address: str = ""
    agent: str = ""


class Sessions(Protocol):
    """Who is signed in, and who may sign in once. Part of a :class:`Control`, which closes it."""

    def put(self, digest: bytes, session: Session) -> None:
        """Keep a new link or cookie, by the SHA-256 of its secret."""
        ...

    def take(self, digest: bytes, kind: str, now: Micros, address: str = "") -> Credential | None:
        """Whose link or cookie this is, if it and its token are valid; a link is used up."""
        ...

    def all(self, now: Micros) -> Sequence[Session]:
        """Those that are valid, newest first."""
        ...

    def end(self, session_id: str) -> bool:
        """End one; whether it was there."""
        ...


class Control(Protocol):
    """What is not telemetry: tokens and sign-in sessions. Never rebuilt, always backed up; several programs may use it at
    once. Secrets are kept as SHA-256 only."""

    @property
    def sessions(self) -> Sessions: ...

    def create_token(self, credential: Credential, digest: bytes) -> None:
        """Keep a new token; :class:`Conflict` if its name already has two that are valid."""
        ...

    def find_token(self, digest: bytes) -> Credential | None:
        """The credential of a token, if it is known; expired and revoked ones too."""
        ...

    def tokens(self) -> Sequence[Credential]: ...

    def revoke(self, name_or_id: str) -> int:
        """Revoke the tokens with that name or id, and end their sessions; how many tokens."""
        ...

    def close(self) -> None: ...


class AuditTrail(Protocol):
    """Who did what. It only grows; each act is chained to the one before, so that none can be changed or taken out unseen.
    Acts are numbered from 1 on; several programs may write at once."""

    def write(self, act: Act) -> None:
        """Keep ``act``, durably. :class:`Retry` if it cannot be written: then the act itself must not happen."""
        ...

    def read(self, before: int | None, limit: int) -> Sequence[tuple[int, Act]]:
        """The newest acts, newest first, with their numbers; only those below number ``before`` if it is given."""
        ...

    def head(self) -> tuple[int, bytes]:
        """The number and hash of the newest act; 0 and :data:`sonde.audit.NO_HASH` before the first. Noted elsewhere, it
        is an anchor: whoever takes the newest acts out cannot make it fit again."""
        ...

    def verify(self, anchors: Mapping[int, bytes] = ...) -> int:
        """How many acts are kept, all of them as they were written and with the hashes that ``anchors`` noted for their
        numbers; :class:`Damaged` names the first that is not."""
        ...

    def forget(self, before: Micros) -> int:
        """Drop the oldest acts, those before a moment, but never the newest one; how many. What is kept stays chained."""
        ...
