"""Who is asking: a token in the header ``Authorization``, or the cookie of a browser that signed in."""

import re
from typing import Annotated, Any, Final

from fastapi import Request, Security
from fastapi.security import APIKeyCookie, HTTPBearer, SecurityScopes

from sonde.access import SCOPES, Access
from sonde.errors import Forbidden, Unauthenticated
from sonde.ports import Credential
from sonde.token import Token

COOKIE: Final = "sonde_session"
CERTIFICATE: Final = "sonde.certificate"  # the extension of a scope in which the listener says what a node has shown
_SECRET: Final = re.compile(r"[0-9A-Za-z]{43}")
_SAFE: Final = frozenset({"GET", "HEAD"})

# These two only describe the ways in, for the OpenAPI document; the check reads the request itself.
_token = HTTPBearer(auto_error=False, scheme_name="token", description="A token: `sonde token create NAME --scope …`")
_cookie = APIKeyCookie(
    name=COOKIE, auto_error=False, scheme_name="cookie", description="Set by `/sign-in` for browsers"
)


def _check(
    request: Request,
    scopes: SecurityScopes,
    _by_token: Annotated[Any, Security(_token)],
    _by_cookie: Annotated[Any, Security(_cookie)],
) -> Credential:
    access: Access = request.app.state.parts.access
    request.state.who = found = identify(request, access, scopes.scopes[0])
    return found


def needs(scope: str) -> Any:
    """The dependency of a route that only callers with ``scope`` may use."""
    return Security(_check, scopes=[scope])


def identify(request: Request, access: Access, scope: str) -> Credential:
    """Who asks; :class:`Unauthenticated`, :class:`Forbidden` without ``scope``, or :class:`Throttled`."""
    address = address_of(request)
    header = request.headers.get("authorization")
    if header is not None:
        return access.check(_token_in(request, header), scope, address, certificate_of(request))
    cookie = request.cookies.get(COOKIE)
    if not cookie:
        return access.check(None, scope, address, certificate_of(request))
    if request.method not in _SAFE and not from_own_page(request):
        raise Forbidden("a page of another origin may not use this browser's sign-in", hint="Send a token instead")
    if not is_secret(cookie):
        raise _wrong(request, Unauthenticated("this browser's sign-in is not one of ours", hint="Sign in again"))
    return access.check_cookie(cookie, scope, address)


def scopes_of(request: Request, access: Access) -> tuple[Credential | None, list[str]]:
    """Who asks and what they may do; nobody and nothing without a token or cookie."""
    found = None
    scopes = []
    for scope in SCOPES:
        try:
            found = identify(request, access, scope)
            scopes.append(scope)
        except Forbidden:
            continue
        except Unauthenticated:
            if "authorization" in request.headers or request.cookies.get(COOKIE):
                raise
            return None, []
    return found, scopes


def from_own_page(request: Request) -> bool:
    """Whether a browser sent this from a page of this server; programs that are no browsers say nothing."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in {"same-origin", "none"}
    origin = request.headers.get("origin")
    return origin is None or origin.partition("://")[2] == request.headers.get("host")


def address_of(request: Request) -> str:
    return request.client.host if request.client else ""


def token_of(request: Request) -> str | None:
    """The token that the caller sent, if any; it is not looked at."""
    header = request.headers.get("authorization")
    return None if header is None else header.partition(" ")[2].strip()


def certificate_of(request: Request) -> bytes:
    """The digest of the token that the caller's TLS certificate names; empty without one."""
    found: bytes = request.scope.get("extensions", {}).get(CERTIFICATE, {}).get("credential", b"")
    return found


def is_secret(text: str) -> bool:
    """Whether a link or cookie has the form of one; what has not is refused without a look-up."""
    return _SECRET.fullmatch(text) is not None


def _token_in(request: Request, header: str) -> str:
    """The token in a header ``Authorization``. What was mistyped is refused at once: only a token that could be right may
    make others from the same address wait."""
    scheme, _, token = header.partition(" ")
    try:
        if scheme.lower() != "bearer":
            raise Unauthenticated(
                "the header Authorization names no bearer", hint="Write Authorization: Bearer sonde_…"
            )
        return Token.parse(token.strip()).text
    except Unauthenticated as error:
        raise _wrong(request, error) from None


def _wrong(request: Request, error: Unauthenticated) -> Unauthenticated:
    request.app.state.parts.metrics.wrong_tokens.inc()
    return error
