"""Who may do what: every door asks here, whatever protocol it speaks.

Scopes are ``ingest``, ``read``, ``command`` and ``admin``; admin implies the others. Wrong tokens are counted for each
address and slowed: after a few, that address waits before another unknown token is looked at. Tokens that were right a
short while ago pass all the same, so a neighbour's mistakes lock nobody out.
"""

import fnmatch
import ipaddress
import re
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from sonde.clock import DAY, SECOND, Clock, Micros
from sonde.errors import Forbidden, NotFound, Throttled, Unauthenticated
from sonde.metrics import Metrics
from sonde.ports import Control, Credential, Session
from sonde.token import Token, digest, new_secret, session_id

SCOPES: Final = ("ingest", "read", "command", "admin")
LINK_LASTS: Final[Micros] = 3600 * SECOND
COOKIE_LASTS: Final[Micros] = 7 * DAY
AGENT_CHARACTERS: Final = 200
"""How much is kept of what a browser calls itself."""

_REMEMBERED: Final = 10_000  # tokens, and addresses with wrong tokens
_WRONG_AT_ONCE: Final = 10
_SECONDS_A_WRONG_ONE: Final = 6.0


class Access:
    """Checks tokens, links and cookies against a control database. Any thread may call it.

    A credential is looked up again after ``cache_seconds``, so a revocation is seen within that time. ``anonymous`` are
    the scopes that callers on this machine have without a token. With ``certified``, the token of a node is worth nothing
    without the certificate that names it.
    """

    def __init__(
        self,
        control: Control,
        clock: Clock,
        *,
        anonymous: frozenset[str] = frozenset(),
        certified: bool = False,
        cache_seconds: float = 1.0,
        metrics: Metrics | None = None,
    ) -> None:
        self.control = control
        self._clock = clock
        self._anonymous = Credential("anonymous", "anonymous", anonymous)
        self._certified = certified
        self._cache_seconds = cache_seconds
        self._known: dict[bytes, tuple[Credential, float]] = {}
        self._cookies: dict[bytes, tuple[Credential, float]] = {}
        self._wrong = _WrongTokens(clock, metrics or Metrics())

    def check(self, token: str | None, scope: str, address: str, certificate: bytes = b"") -> Credential:
        """Whose ``token`` it is, or whose ``certificate``, which names a token by its digest. :class:`Unauthenticated` if
        nobody's, :class:`Forbidden` if it lacks ``scope``, :class:`Throttled` after too many wrong ones from ``address``."""
        if token is None and not certificate:
            return self._without_token(scope, address)
        if token is None:
            find = self.control.find_token
            return _with_scope(self._checked(self._known, certificate, address, lambda: find(certificate)), scope)
        key = digest(token)
        who = _with_scope(self._checked(self._known, key, address, lambda: self._look_up(token)), scope)
        if self._certified and who.node and key != certificate:
            raise Forbidden(
                "the token of a node is taken here only beside the certificate that the node got with it",
                hint="Join again: sonde node invite, sonde node join",
            )
        return who

    def check_cookie(self, value: str, scope: str, address: str) -> Credential:
        """Whose sign-in cookie it is; the same errors as :meth:`check`."""
        return _with_scope(self.signed_in(value, address), scope)

    def signed_in(self, cookie: str, address: str) -> Credential:
        """Whose sign-in cookie it is, whatever it allows."""
        key, take = digest(cookie), self.control.sessions.take
        return self._checked(self._cookies, key, address, lambda: take(key, "cookie", self._clock.now(), address))

    def make_link(self, credential_id: str) -> str:
        """The secret of a new one-time sign-in link; good for an hour."""
        found = next((c for c in self.control.tokens() if c.id == credential_id), None)
        if found is None:
            raise NotFound(f"no token has the id {credential_id!r}", hint="sonde token list shows them")
        return self._new_session("link", found, LINK_LASTS)

    def use_link(self, secret: str, address: str = "") -> Credential:
        """Use a link up; whose it was. :class:`Unauthenticated`, or :class:`Throttled` after too many wrong ones."""
        self._wrong.check(address)
        credential = self.control.sessions.take(digest(secret), "link", self._clock.now(), address)
        if credential is None:
            self._wrong.count(address)
            raise Unauthenticated(
                "this sign-in link was used before, or is too old", hint="Make a new one: sonde token link"
            )
        return credential

    def open_session(
        self, credential: Credential, address: str = "", agent: str = "", lasts: Micros = COOKIE_LASTS
    ) -> str:
        """The value of a cookie that is good for a week, or as long as it ``lasts``. ``agent`` is what the browser calls
        itself."""
        return self._new_session("cookie", credential, lasts, address, agent)

    def close_session(self, cookie: str) -> None:
        """The browser with this cookie is signed out, here and at once; others that share the control database see it within
        ``cache_seconds``."""
        key = digest(cookie)
        self.control.sessions.end(session_id(key))
        self._cookies.pop(key, None)

    def _new_session(self, kind: str, credential: Credential, lasts: Micros, address: str = "", agent: str = "") -> str:
        secret, now = new_secret(), self._clock.now()
        key = digest(secret)
        shown = "".join(c if c.isprintable() else " " for c in agent[:AGENT_CHARACTERS])
        self.control.sessions.put(
            key,
            Session(
                session_id(key), kind, credential.id, credential.name, now, now + lasts, address=address, agent=shown
            ),
        )
        return secret

    def _without_token(self, scope: str, address: str) -> Credential:
        if self._anonymous.scopes and is_loopback(address):
            return _with_scope(self._anonymous, scope)
        raise Unauthenticated(
            "this needs a token and none was given", hint="Send the header Authorization: Bearer sonde_…"
        )

    def _checked(
        self,
        cache: dict[bytes, tuple[Credential, float]],
        key: bytes,
        address: str,
        look_up: Callable[[], Credential | None],
    ) -> Credential:
        now = self._clock.monotonic()
        cached = cache.get(key)
        if cached is not None and now - cached[1] < self._cache_seconds:
            credential = cached[0]
        else:
            if cached is None:
                self._wrong.check(address)
            found = look_up()
            if found is None or found.revoked:
                cache.pop(key, None)
                self._wrong.count(address)
                raise Unauthenticated("this token is not known, or was revoked", hint="Make one: sonde token create")
            if len(cache) >= _REMEMBERED:
                cache.clear()
            cache[key] = (found, now)
            credential = found
        if credential.expires is not None and credential.expires <= self._clock.now():
            raise Unauthenticated("this token has expired", hint="Make a new one: sonde token create")
        return credential

    def _look_up(self, text: str) -> Credential | None:
        try:
            return self.control.find_token(Token.parse(text).digest)
        except Unauthenticated:
            return None


def may_write(credential: Credential, device: str) -> bool:
    """Whether a credential's patterns cover ``device``."""
    return not credential.devices or _covers(credential.devices, device)


@lru_cache(maxsize=65_536)
def _covers(patterns: tuple[str, ...], device: str) -> bool:
    return _expression(patterns).match(device) is not None


@lru_cache(maxsize=1_024)
def _expression(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns))


def _with_scope(credential: Credential, scope: str) -> Credential:
    if scope in credential.scopes or "admin" in credential.scopes:
        return credential
    raise Forbidden(
        f"this token may not {scope}; it may {', '.join(sorted(credential.scopes)) or 'do nothing'}",
        hint=f"Make one that may: sonde token create NAME --scope {scope}",
    )


@lru_cache(maxsize=1_024)
def is_loopback(address: str) -> bool:
    """Whether a caller's address is of this machine."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback


def _neighbourhood(address: str) -> str:
    """What counts as one address: an IPv6 network of 64 bits, since a single host may have all of it."""
    if ":" not in address:
        return address
    try:
        found = ipaddress.IPv6Address(address)
    except ValueError:
        return address
    return str(found.ipv4_mapped or ipaddress.IPv6Network((found, 64), strict=False).network_address)


class _WrongTokens:
    """For each address, the moment at which its wrong tokens are forgiven."""

    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self._forgiven: dict[str, float] = {}
        self._lock = threading.Lock()

    def check(self, address: str) -> None:
        wait = self._forgiven.get(_neighbourhood(address), 0.0) - self._clock.monotonic()
        after = wait - (_WRONG_AT_ONCE - 1) * _SECONDS_A_WRONG_ONE
        if after > 0:
            self._metrics.wrong_tokens.inc()
            raise Throttled("too many wrong tokens from this address", hint="Check the token, then wait", after=after)

    def count(self, address: str) -> None:
        self._metrics.wrong_tokens.inc()
        now = self._clock.monotonic()
        with self._lock:
            if len(self._forgiven) >= _REMEMBERED:  # an attack from everywhere: the oldest make way
                self._forgiven.pop(next(iter(self._forgiven)))
            place = _neighbourhood(address)
            self._forgiven[place] = max(self._forgiven.pop(place, now), now) + _SECONDS_A_WRONG_ONE
