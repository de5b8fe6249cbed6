"""Who did what, when and from where: the acts that an audit trail keeps, each chained to the one before by its hash."""

import hashlib
from collections.abc import Mapping
from typing import Final

import msgspec

from sonde.clock import Micros

NO_HASH: Final = bytes(32)
"""What the first act of a trail is chained to."""


class Act(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that somebody did on purpose.

    ``who`` is the name of a credential, or ``local`` for a command on the machine itself. ``what`` is a verb and its object
    with a point between (``rule.set``, ``alert.acknowledge``, ``key.rotate``, ``token.create``, ``command.send``, ``purge``);
    ``on`` names the one it was done to. ``detail`` never holds a secret.
    """

    time: Micros
    who: str
    what: str
    on: str = ""
    address: str = ""
    detail: Mapping[str, str] = {}


def chained(previous: bytes, act: Act) -> bytes:
    """The hash of ``act`` after the one whose hash is ``previous``: SHA-256 over both, fields in their order."""
    return hashlib.sha256(previous + msgspec.json.encode(act, order="deterministic")).digest()
