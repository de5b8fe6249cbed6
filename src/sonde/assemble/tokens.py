"""Tokens, in the control database of a data directory; a server may be running on it or not."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sonde.access import SCOPES, Access
from sonde.clock import Micros, SystemClock
from sonde.control.sqlite import SqliteControl
from sonde.directory import DataDirectory
from sonde.errors import Invalid, NotFound, Problem
from sonde.ports import Control, Credential
from sonde.token import Token

_LONGEST = 256  # bytes of a name or pattern


@contextmanager
def open_control(directory: DataDirectory) -> Iterator[Control]:
    """The control database, closed afterwards."""
    control = SqliteControl(directory.control)
    try:
        yield control
    finally:
        control.close()


def create_token(
    control: Control,
    name: str,
    scopes: Sequence[str],
    *,
    devices: Sequence[str] = (),
    node: str = "",
    expires: Micros | None = None,
) -> Token:
    """A new token; its text is known to the caller alone. :class:`Invalid`, or :class:`Conflict` if two are valid."""
    for field, text in (("name", name), ("node", node or name), *(("device", pattern) for pattern in devices)):
        if not text.strip() or not text.isprintable() or len(text.encode("utf-8", "replace")) > _LONGEST:
            raise Invalid(Problem(None, field, f"should be 1 to {_LONGEST} printable characters"))
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        problem = f"{unknown[0]!r} is no scope" if unknown else "no scope is named"
        raise Invalid(Problem(None, "--scope", f"{problem}; the scopes are {', '.join(SCOPES)}"))
    now = SystemClock().now()
    if expires is not None and expires <= now:
        raise Invalid(Problem(None, "--expires", "that moment has passed; name a later one"))
    token = Token.make()
    control.create_token(
        Credential(token.id, name, frozenset(scopes), tuple(devices), node, expires, created=now), token.digest
    )
    return token


def revoke_token(control: Control, name_or_id: str) -> int:
    """Revoke the tokens with that name or id; how many. :class:`NotFound` if there is none that is valid."""
    revoked = control.revoke(name_or_id)
    if not revoked:
        raise _unknown(name_or_id)
    return revoked


def sign_in_link(control: Control, name_or_id: str) -> str:
    """The secret of a one-time link that signs a browser in with a token's rights."""
    for credential in valid_tokens(control):
        if name_or_id in {credential.name, credential.id}:
            return Access(control, SystemClock()).make_link(credential.id)
    raise _unknown(name_or_id)


def valid_tokens(control: Control) -> list[Credential]:
    """The tokens that are neither revoked nor expired."""
    now = SystemClock().now()
    return [c for c in control.tokens() if not c.revoked and (c.expires is None or c.expires > now)]


def _unknown(name_or_id: str) -> NotFound:
    return NotFound(f"no token that is valid has the name or id {name_or_id!r}", hint="sonde token list shows them")
