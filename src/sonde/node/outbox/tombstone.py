"""Tombstones: what travels in place of entries that will never come."""

import hashlib
from typing import Final

import msgspec

DROPPED: Final = "dropped: the outbox was full"
DAMAGED: Final = "lost: the outbox file was damaged here"
UNREAD: Final = "lost: the newest commits of the outbox could not be read"

LANES: Final = {1: "control", 2: "live", 3: "backlog"}
"""The lanes that an outbox has, and their names in metrics and messages."""


class Tombstone(msgspec.Struct, frozen=True):
    """The seqs up to ``until`` will never come; ``readings`` were lost with them."""

    until: int
    readings: int
    reason: str


def encode(until: int, readings: int, reason: str) -> bytes:
    """The content of a tombstone, in JSON."""
    return msgspec.json.encode(Tombstone(until, readings, reason))


def reason_of(content: bytes) -> str:
    """Why the entries of a tombstone are lost."""
    try:
        return msgspec.json.decode(content, type=_Reason).reason
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""


def digest_of(content: bytes) -> bytes:
    """The first 16 bytes of the SHA-256."""
    return hashlib.sha256(content).digest()[:16]


class _Reason(msgspec.Struct):
    reason: str = ""
