"""How the body of a frame is protected: compressed, then sealed with one of three ciphers."""

import base64
import secrets
import struct
from collections.abc import Callable
from enum import IntEnum
from typing import Final, cast

import pyarrow as pa
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sonde.errors import TooLarge

MAX_BODY_BYTES: Final = 256 << 20


class Codec(IntEnum):
    """How a body is protected; the numbers are part of the format."""

    PLAIN = 0
    AES_GCM = 1
    FERNET = 2

    @classmethod
    def named(cls, name: str) -> "Codec":
        """The codec with a name as in the configuration: ``aes-gcm``, ``fernet``, ``plain``."""
        return cls[name.upper().replace("-", "_")]


def wrap(master: bytes, data_key: bytes, session: bytes) -> bytes:
    """``data_key`` sealed with a master key and bound to ``session``: nonce, 32 bytes, tag."""
    nonce = secrets.token_bytes(12)
    return nonce + AESGCM(master).encrypt(nonce, data_key, session)


def unwrap(master: bytes, wrapped: bytes, session: bytes) -> bytes:
    """The data key in ``wrapped``; ``InvalidTag`` if the master key or the session is another."""
    return AESGCM(master).decrypt(wrapped[:12], wrapped[12:], session)


class _AesGcm:
    def __init__(self, data_key: bytes) -> None:
        self._key = AESGCM(data_key)

    def seal(self, number: int, associated: bytes, body: bytes) -> bytes:
        return self._key.encrypt(number.to_bytes(12, "big"), body, associated)

    def open(self, number: int, associated: memoryview, sealed: memoryview) -> bytes:
        return self._key.decrypt(number.to_bytes(12, "big"), sealed, associated)


class _Fernet:
    def __init__(self, data_key: bytes) -> None:
        self._key = Fernet(base64.urlsafe_b64encode(data_key))

    def seal(self, number: int, associated: bytes, body: bytes) -> bytes:
        return self._key.encrypt(associated + body)

    def open(self, number: int, associated: memoryview, sealed: memoryview) -> bytes:
        text = bytes(sealed)
        token = self._key.decrypt(text)
        if base64.urlsafe_b64encode(base64.urlsafe_b64decode(text)) != text:
            raise InvalidToken  # base64 can be written in several ways; we wrote it in one
        if token[: len(associated)] != associated:
            raise InvalidToken
        return token[len(associated) :]


class _Plain:
    def __init__(self, data_key: bytes) -> None:
        pass

    def seal(self, number: int, associated: bytes, body: bytes) -> bytes:
        return body

    def open(self, number: int, associated: memoryview, sealed: memoryview) -> bytes:
        return bytes(sealed)


Cipher = _AesGcm | _Fernet | _Plain
CIPHERS: Final[dict[int, Callable[[bytes], Cipher]]] = {
    Codec.PLAIN: _Plain,
    Codec.AES_GCM: _AesGcm,
    Codec.FERNET: _Fernet,
}

# Inside the seal: u64 length of the body, then the body with zstd (RFC 8878), level 1.
_SIZE: Final = struct.Struct("<Q")
_ZSTD: Final = pa.Codec("zstd", compression_level=1)


def compress(body: bytes) -> bytes:
    """``body`` as it stands inside the seal; :class:`TooLarge` if no frame can hold it."""
    if len(body) > MAX_BODY_BYTES:
        raise TooLarge(f"a frame would hold {len(body)} bytes; it can hold {MAX_BODY_BYTES}")
    return _SIZE.pack(len(body)) + cast(bytes, _ZSTD.compress(body, asbytes=True))


def decompress(data: bytes) -> pa.Buffer:
    """What :func:`compress` was given; ``struct.error`` or ``OSError`` if ``data`` is not that."""
    (size,) = _SIZE.unpack_from(data)
    if size > MAX_BODY_BYTES:
        raise struct.error("a body larger than a frame can hold")
    return _ZSTD.decompress(memoryview(data)[_SIZE.size :], decompressed_size=size)
