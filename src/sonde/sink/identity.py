"""What makes a request the same request when it comes again.

A reading with an ``event_id`` is that. Others are known by their request: its ``Idempotency-Key``, or its body if every
reading in it has a time of its own. How identities are made is part of the log's format.
"""

import hashlib
from typing import Final

from sonde.errors import Invalid, Problem
from sonde.ports import Credential
from sonde.sink import names

HEADER: Final = "Idempotency-Key"
_BYTES: Final = 16
_AT_ONCE: Final = 2_047  # bytes that hashlib takes without letting go of the interpreter's lock
_LARGE: Final = 1 << 18
_BY_KEY: Final = b"sonde request\0idempotency\0"
_BY_BODY: Final = b"sonde request\0body\0"


def body_digest(body: bytes) -> bytes:
    """What stands for the content of a request."""
    if not _AT_ONCE < len(body) < _LARGE:
        return hashlib.sha256(body).digest()[:_BYTES]
    digest, view = hashlib.sha256(), memoryview(body)
    for start in range(0, len(body), _AT_ONCE):  # to wait for the lock again would take longer than all of this
        digest.update(view[start : start + _AT_ONCE])
    return digest.digest()[:_BYTES]


def request_key(who: Credential, idempotency_key: str, digest: bytes, *, timed: bool, identified: bool) -> bytes:
    """The identity of a request, 16 bytes; empty if it has none and is new each time."""
    if identified:
        return b""
    if idempotency_key:
        named = who.name.encode() + b"\0" + idempotency_key.encode()
        return hashlib.sha256(_BY_KEY + named).digest()[:_BYTES]
    return hashlib.sha256(_BY_BODY + digest).digest()[:_BYTES] if timed else b""


def check_key(idempotency_key: str) -> None:
    """:class:`Invalid` unless the header's value can be a key."""
    wrong = names.what_is_wrong(idempotency_key)
    if wrong is not None:
        raise Invalid(Problem(None, HEADER, wrong))
