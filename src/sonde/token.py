"""Access tokens: ``sonde_<id>_<secret>_<check>``.

The id may be shown, the secret is 256 random bits, and the check is a checksum of all before it, so that a mistyped
token is told from an unknown one without a look-up. What is kept of a token is its SHA-256.
"""

import hashlib
import secrets
import string
import zlib
from dataclasses import dataclass, field
from typing import Final, Self

from sonde.errors import Unauthenticated

_DIGITS: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_ID_CHARACTERS: Final = 12
_SECRET_CHARACTERS: Final = 43  # 62^43 > 2^256
_CHECK_CHARACTERS: Final = 6  # 62^6 > 2^32
_LENGTH: Final = len("sonde___") + _ID_CHARACTERS + _SECRET_CHARACTERS + _CHECK_CHARACTERS


@dataclass(frozen=True, slots=True)
class Token:
    """A token; its text is shown once, when it is made, and never by ``repr``."""

    id: str
    text: str = field(repr=False)

    @classmethod
    def make(cls) -> Self:
        """A new token with a secret nobody can guess."""
        name = _base62(secrets.randbelow(62**_ID_CHARACTERS), _ID_CHARACTERS)
        head = f"sonde_{name}_{_base62(secrets.randbits(256), _SECRET_CHARACTERS)}"
        return cls(name, f"{head}_{_check(head)}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """The token that ``text`` is; :class:`Unauthenticated` if it has another form or was mistyped."""
        head, _, check = text.rpartition("_")
        if len(text) != _LENGTH or not text.startswith("sonde_") or not text.isascii() or check != _check(head):
            raise Unauthenticated(
                "this is not a token of Sonde, or a part of it is missing",
                hint="It looks like sonde_…_…_…; copy it whole",
            )
        return cls(head.split("_")[1], text)

    @property
    def digest(self) -> bytes:
        """What may be stored: SHA-256, 32 bytes."""
        return digest(self.text)


def digest(secret: str) -> bytes:
    """SHA-256 of a secret's text. Slow hashing would add nothing: 256 random bits cannot be guessed."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def session_id(key: bytes) -> str:
    """What a session may be called by: it follows from the digest of its secret, and does not lead back to it."""
    return _base62(int.from_bytes(hashlib.sha256(b"session" + key).digest()[:8]), _ID_CHARACTERS)


def new_secret() -> str:
    """256 random bits as text, for sign-in links and cookies."""
    return _base62(secrets.randbits(256), _SECRET_CHARACTERS)


def _check(head: str) -> str:
    return _base62(zlib.crc32(head.encode("utf-8", "surrogatepass")), _CHECK_CHARACTERS)


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
