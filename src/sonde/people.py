"""Who may come in, as people arrange it: tokens made and revoked, links that sign a browser in.

Everything is written to the audit trail before it happens, by the ``note`` that is given.
"""

from collections.abc import Sequence
from typing import Final, Protocol

from sonde.access import SCOPES, Access
from sonde.clock import SECOND, Clock, Micros
from sonde.errors import Invalid, NotFound, Problem
from sonde.moment import format_time, parse_span, parse_time
from sonde.ports import Control, Credential, Session
from sonde.token import Token

LONGEST: Final = 256
"""Bytes of a name or pattern."""
_RESERVED: Final = frozenset({"local", "anonymous"})  # who they are is known without a token


class Note(Protocol):
    """Writes an act down, or raises :class:`sonde.errors.Retry`: then it must not happen."""

    def __call__(self, what: str, on: str = "", /, **detail: str) -> None: ...


class People:
    """The tokens of one control database, and what may be done with them."""

    def __init__(self, control: Control, clock: Clock, note: Note) -> None:
        self.control = control
        self._clock = clock
        self._note = note

    def create_token(
        self,
        name: str,
        scopes: Sequence[str],
        *,
        devices: Sequence[str] = (),
        node: str = "",
        expires: Micros | None = None,
    ) -> tuple[Token, Credential]:
        """A new token; its text is known to the caller alone. :class:`Invalid`, or :class:`Conflict` if two are valid."""
        check_texts(("name", name), ("node", node or name), *(("device", pattern) for pattern in devices))
        _check_scopes(scopes)
        now = self._clock.now()
        if expires is not None and expires <= now:
            raise Invalid(Problem(None, "expires", "that moment has passed; name a later one"))
        token = Token.make()
        made = Credential(token.id, name, frozenset(scopes), tuple(devices), node, expires, created=now)
        details = {"devices": " ".join(devices), "node": node}
        given = {key: text for key, text in details.items() if text}
        self._note("token.create", name, id=token.id, scopes=" ".join(sorted(made.scopes)), **given)
        self.control.create_token(made, token.digest)
        return token, made

    def revoke_token(self, name_or_id: str, *, by_name: bool = True) -> int:
        """Revoke the tokens with that name or id, or with that id alone, and end their sessions; how many tokens.
        :class:`NotFound` if there is none that is not revoked."""
        found = [
            c
            for c in self.control.tokens()
            if not c.revoked and (c.id == name_or_id or (by_name and c.name == name_or_id))
        ]
        if not found:
            raise _unknown(name_or_id)
        self._note("token.revoke", found[0].name, ids=" ".join(c.id for c in found))
        return sum(self.control.revoke(c.id) for c in found)

    def make_link(self, name_or_id: str) -> str:
        """The secret of a one-time link that signs a browser in with a token's rights."""
        for credential in self.valid_tokens():
            if name_or_id in {credential.name, credential.id}:
                self._note("token.link", credential.name, id=credential.id)
                return Access(self.control, self._clock).make_link(credential.id)
        raise _unknown(name_or_id)

    def sessions(self) -> Sequence[Session]:
        """Who is signed in, and the links that wait to be used; newest first."""
        return self.control.sessions.all(self._clock.now())

    def end_session(self, session_id: str) -> None:
        """Sign a browser out, or make a link worthless. :class:`NotFound` if there is none with that id."""
        found = [session for session in self.sessions() if session.id == session_id]
        if not found:
            raise NotFound(f"no session has the id {session_id!r}", hint="sonde session list shows them")
        self._note("session.revoke", found[0].name, id=session_id, kind=found[0].kind)
        self.control.sessions.end(session_id)

    def end_sessions_of(self, name: str) -> int:
        """The same for all sessions of the tokens with that name; how many. :class:`NotFound` if there is none."""
        found = [session for session in self.sessions() if session.name == name]
        if not found:
            raise NotFound(f"nobody is signed in as {name!r}", hint="sonde session list shows who is")
        for session in found:
            self.end_session(session.id)
        return len(found)

    def valid_tokens(self) -> list[Credential]:
        """The tokens that are neither revoked nor expired."""
        now = self._clock.now()
        return [c for c in self.control.tokens() if not c.revoked and (c.expires is None or c.expires > now)]


def described(token: Credential, now: Micros) -> dict[str, object]:
    """All of a token that may be shown, for JSON."""
    return {
        "id": token.id,
        "name": token.name,
        "scopes": sorted(token.scopes),
        "devices": list(token.devices),
        "node": token.node,
        "created": format_time(token.created),
        "last_used": _time(token.last_used),
        "expires": _time(token.expires),
        "state": _state(token, now),
    }


def described_session(session: Session) -> dict[str, object]:
    """All of a session that may be shown, for JSON."""
    return {
        "id": session.id,
        "kind": "browser" if session.kind == "cookie" else "link",
        "name": session.name,
        "token": session.credential_id,
        "created": format_time(session.created),
        "expires": format_time(session.expires),
        "last_used": _time(session.last_used),
        "address": session.address,
        "last_address": session.last_address,
        "agent": session.agent,
    }


def parse_end(text: str, now: Micros, field: str) -> Micros:
    """When something ends: after a span as in ``90d``, or at a moment. :class:`Invalid` naming ``field``."""
    try:
        return now + parse_span(text) * SECOND if text[-1:].isalpha() and text[-1:] not in "zZ" else parse_time(text)
    except Invalid:
        problem = f"{text[:64]!r} is neither a span such as 90d nor a moment such as 2030-01-01T00:00:00Z"
        raise Invalid(Problem(None, field, problem)) from None


def _state(token: Credential, now: Micros) -> str:
    if token.revoked:
        return "revoked"
    return "expired" if token.expires is not None and token.expires <= now else "valid"


def _time(moment: Micros | None) -> str | None:
    return None if moment is None else format_time(moment)


def check_texts(*texts: tuple[str, str]) -> None:
    """:class:`Invalid` unless each, given with its field, can be a name or a pattern."""
    for field, text in texts:
        if not text.strip() or not text.isprintable() or len(text.encode("utf-8", "replace")) > LONGEST:
            raise Invalid(Problem(None, field, f"should be 1 to {LONGEST} printable characters"))
        if field != "device" and text in _RESERVED:
            raise Invalid(Problem(None, field, f"{text!r} has a meaning of its own; choose another"))


def _check_scopes(scopes: Sequence[str]) -> None:
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        problem = f"{unknown[0]!r} is no scope" if unknown else "no scope is named"
        raise Invalid(Problem(None, "scope", f"{problem}; the scopes are {', '.join(SCOPES)}"))


def _unknown(name_or_id: str) -> NotFound:
    return NotFound(f"no token that is valid has the name or id {name_or_id!r}", hint="sonde token list shows them")
