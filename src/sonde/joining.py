"""How a node comes to its credential: it is invited by name, and joins with the code of the invitation, once.

A code is a token that opens nothing but this, with the fingerprint of the authority behind it that made the server's
certificate: so a node knows whom it talks to from its first connection on. What it gets is a token of its own, bounded to its
name and devices, and a certificate if there is an authority to make one. The certificate names the token: it ends with it.
"""

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from sonde.access import Access
from sonde.certificate import Authority, fingerprint_text
from sonde.clock import DAY, SECOND, Clock, Micros
from sonde.errors import Forbidden, Invalid, NotFound, Problem, Unauthenticated
from sonde.people import Note, check_texts
from sonde.ports import Credential
from sonde.token import Token, digest

JOIN: Final = "join"
"""The scope of a code."""
LASTS: Final[Micros] = 3600 * SECOND
LONGEST: Final[Micros] = 30 * DAY
_NODE: Final = frozenset({"ingest"})
_FINGERPRINT: Final = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Invitation:
    """For one node; ``code`` is shown once."""

    node: str
    expires: Micros
    code: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Admitted:
    """What a node gets. ``certificate`` and ``authority`` are PEM; empty where there is no private authority."""

    node: str
    token: str = field(repr=False)
    certificate: str
    authority: str


class Joining:
    """Invitations and what comes of them. ``authority`` gives the private one if there is one; with ``pinned``, it is the one
    that made the server's certificate."""

    def __init__(
        self, access: Access, clock: Clock, note: Note, authority: Callable[[], Authority | None], *, pinned: bool
    ) -> None:
        self._access, self._control = access, access.control
        self._clock = clock
        self._note = note
        self._authority = authority
        self._pinned = pinned

    def invite(self, node: str, devices: Sequence[str] = (), lasts: Micros = LASTS) -> Invitation:
        """A code for a node of this name. It takes the place of an earlier one for the same name. :class:`Invalid`, or
        :class:`Conflict` if the name has two valid tokens."""
        check_texts(("node", node), *(("device", pattern) for pattern in devices))
        if not SECOND <= lasts <= LONGEST:
            raise Invalid(Problem(None, "lasts", f"should be 1s to {LONGEST // DAY}d"))
        now = self._clock.now()
        token = Token.make()
        made = Credential(token.id, node, frozenset({JOIN}), tuple(devices), "", now + lasts, created=now)
        self._note("node.invite", node, id=token.id, **({"devices": " ".join(devices)} if devices else {}))
        for earlier in self._valid(node):
            if JOIN in earlier.scopes:
                self._control.revoke(earlier.id)
        self._control.create_token(made, token.digest)
        authority = self._authority() if self._pinned else None
        tail = f".{fingerprint_text(authority.description.fingerprint)}" if authority else ""
        return Invitation(node, now + lasts, token.text + tail)

    def join(self, code: str, request: str, address: str) -> Admitted:
        """Use a code up. ``request`` asks for a certificate, and may be empty. What the node had before ends.

        :class:`Unauthenticated` if the code is not known, used, or too old; :class:`Throttled` after too many such;
        :class:`Invalid` if the request is none: then the code is still good.
        """
        invited = self._invited(code, address)
        token, authority, now = Token.make(), self._authority() if request else None, self._clock.now()
        certificate = authority.node(request, invited.name, token.digest, now) if authority else ""
        self._note("node.join", invited.name, id=token.id, invitation=invited.id)
        if not self._control.revoke(invited.id):  # another was quicker
            raise _used()
        for earlier in self._valid(invited.name):
            if earlier.node == invited.name:
                self._control.revoke(earlier.id)
        made = Credential(token.id, invited.name, _NODE, invited.devices, invited.name, created=now)
        self._control.create_token(made, token.digest)
        return Admitted(invited.name, token.text, certificate, authority.pem().decode() if authority else "")

    def renew(self, who: Credential, credential: bytes, request: str) -> Admitted:
        """A new certificate for a node, which asks with its token or with the certificate it has; ``credential`` is the digest
        of the token. :class:`Forbidden` for others, :class:`NotFound` without a private authority, :class:`Invalid`."""
        if not who.node:
            raise Forbidden("only a node gets a certificate", hint="Invite one: sonde node invite NAME")
        authority = self._authority()
        if authority is None:
            raise NotFound("this server has no private authority", hint="Make one beside it: sonde init --tls")
        certificate = authority.node(request, who.node, credential, self._clock.now())
        self._note("cert.renew", who.node, id=who.id)
        return Admitted(who.node, "", certificate, authority.pem().decode())

    def _invited(self, code: str, address: str) -> Credential:
        try:
            invited = self._access.check(code, JOIN, address)
        except Unauthenticated:
            raise _used() from None
        if JOIN not in invited.scopes:
            raise Forbidden("this is a token and no code to join with", hint="Get a code: sonde node invite NAME")
        return invited

    def _valid(self, name: str) -> list[Credential]:
        now = self._clock.now()
        tokens = [c for c in self._control.tokens() if c.name == name and not c.revoked]
        return [c for c in tokens if c.expires is None or c.expires > now]


def parse_code(code: str) -> tuple[str, str]:
    """The token in a code, and the fingerprint of the authority in hex (empty: it names none). :class:`Invalid` if a part of
    it is missing or was mistyped."""
    text, point, tail = code.strip().partition(".")
    try:
        Token.parse(text)
    except Unauthenticated:
        raise Invalid(Problem(None, "CODE", "it is not whole, or was mistyped; copy it as it was printed")) from None
    if not point:
        return text, ""
    if not _FINGERPRINT.fullmatch(tail):
        raise Invalid(Problem(None, "CODE", "its end is missing; copy it as it was printed"))
    return text, base64.urlsafe_b64decode(tail + "=").hex()


def credential_digest(token: str | None, certificate: bytes) -> bytes:
    """What names a caller's token in a certificate: of the token that was sent, else of the one in its certificate."""
    return certificate if token is None else digest(token)


def _used() -> Unauthenticated:
    return Unauthenticated(
        "this code is not known, was used before, or is too old", hint="Get another: sonde node invite NAME"
    )
