"""Frames: a body sealed for disk.

::

    magic "SNDE" | version | codec | entries | readings | log time | number | session | previous
    | key name | wrapped data key | length of the body | checksum of the body | checksum of all before
    then the body: compressed, then encrypted

A writer session draws a random data key and wraps it with the named master key, so every frame can be opened alone.
The nonce of a frame is its number in the session. The header is the associated data, and it names the predecessor's
checksum (``previous``), so a frame that was changed, moved or removed is seen. The checksums find torn and damaged
frames without a key.

Codecs: ``aes-gcm`` (AES-256-GCM, NIST SP 800-38D), ``fernet`` (the header repeated inside one token), ``plain``.
"""

import base64
import secrets
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final, cast

import pyarrow as pa
from cryptography.exceptions import InvalidTag
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sonde.clock import Micros
from sonde.entry import Body, decode_body, encode_body
from sonde.errors import Damaged, NewerFormat
from sonde.keyring import NAME_BYTES, KeyRing

MAGIC: Final = b"SNDE"
VERSION: Final = 1
_HEADER: Final = struct.Struct(f"<4sBBHIIqQ16sI{NAME_BYTES}s60sII")
_CHECKSUM: Final = struct.Struct("<I")
HEADER_BYTES: Final = _HEADER.size + _CHECKSUM.size
MAX_BODY_BYTES: Final = 256 << 20
_UNWRAPPED_SESSIONS = 64  # data keys kept at hand when opening


class Codec(IntEnum):
    """How a body is protected; the numbers are part of the format."""

    PLAIN = 0
    AES_GCM = 1
    FERNET = 2

    @classmethod
    def named(cls, name: str) -> "Codec":
        """The codec with a name as in the configuration: ``aes-gcm``, ``fernet``, ``plain``."""
        return cls[name.upper().replace("-", "_")]


@dataclass(frozen=True, slots=True)
class Header:
    """What can be known of a frame without a key."""

    codec: int
    entries: int
    readings: int
    log_time: Micros
    number: int
    session: bytes
    previous: int
    key: str
    wrapped: bytes
    length: int
    checksum: int

    def pack(self) -> bytes:
        fields = _HEADER.pack(
            MAGIC,
            VERSION,
            self.codec,
            0,
            self.entries,
            self.readings,
            self.log_time,
            self.number,
            self.session,
            self.previous,
            self.key.encode(),
            self.wrapped,
            self.length,
            self.checksum,
        )
        return fields + _CHECKSUM.pack(zlib.crc32(fields))

    @property
    def frame_bytes(self) -> int:
        return HEADER_BYTES + self.length

    def associated(self) -> bytes:
        """What the seal covers besides the body: the header, but for the checksum of what is sealed."""
        return replace(self, length=0, checksum=0).pack()


def read_header(data: bytes | memoryview, *, file: str = "frame", offset: int = 0) -> Header:
    """The header that ``data`` starts with; :class:`Damaged` naming ``file`` and ``offset`` if there is none."""
    if len(data) < HEADER_BYTES:
        raise Damaged(f"{len(data)} bytes are too few for a frame's header", file=file, offset=offset)
    magic, version, codec, _, *fields, key, wrapped, length, checksum = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise Damaged("no frame starts here", file=file, offset=offset)
    if _CHECKSUM.unpack_from(data, _HEADER.size)[0] != zlib.crc32(data[: _HEADER.size]):
        raise Damaged("the header of a frame does not match its checksum", file=file, offset=offset)
    if version > VERSION:
        raise NewerFormat(f"{file} holds a frame of version {version}; this Sonde reads up to {VERSION}")
    if length > MAX_BODY_BYTES:
        raise Damaged(f"a frame announces {length} bytes", file=file, offset=offset)
    entries, readings, log_time, number, session, previous = fields
    return Header(
        codec=codec,
        entries=entries,
        readings=readings,
        log_time=log_time,
        number=number,
        session=session,
        previous=previous,
        key=key.rstrip(b"\0").decode(),
        wrapped=wrapped,
        length=length,
        checksum=checksum,
    )


def check_body(header: Header, body: bytes | memoryview, *, file: str = "frame", offset: int = 0) -> None:
    """:class:`Damaged` unless ``body`` is whole; needs no key."""
    if len(body) != header.length or zlib.crc32(body) != header.checksum:
        raise Damaged("the body of a frame does not match its checksum", file=file, offset=offset)


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame opened."""

    header: Header
    body: Body


class Sealer:
    """One writer session: seals bodies one after another. After a failed append, make a new one."""

    def __init__(self, ring: KeyRing, codec: Codec = Codec.AES_GCM) -> None:
        self._codec = codec
        self._key_name = ring.active
        self._session = secrets.token_bytes(16)
        self._data_key = AESGCM.generate_key(256)
        self._wrapped = _wrap(ring.key(ring.active), self._data_key, self._session)
        self._number = 0
        self._previous = 0

    def seal(self, body: Body, log_time: Micros) -> bytes:
        """``body`` as a frame, ready to append."""
        return self.seal_encoded(encode_body(body), len(body.entries), body.readings, log_time)

    def seal_encoded(self, encoded: bytes, entries: int, readings: int, log_time: Micros) -> bytes:
        """The same for a body that is already in bytes."""
        header = Header(
            codec=self._codec,
            entries=entries,
            readings=readings,
            log_time=log_time,
            number=self._number,
            session=self._session,
            previous=self._previous,
            key=self._key_name,
            wrapped=self._wrapped,
            length=0,
            checksum=0,
        )
        sealed = _SEAL[self._codec](self._data_key, header, _compress(encoded))
        header = replace(header, length=len(sealed), checksum=zlib.crc32(sealed))
        self._number += 1
        self._previous = header.checksum
        return header.pack() + sealed


class Opener:
    """Opens frames sealed with any key of a ring; keeps the data keys of the sessions it saw last."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring
        self._data_keys: dict[bytes, bytes] = {}

    def open(self, data: bytes | memoryview, *, file: str = "frame", offset: int = 0) -> Frame:
        """The frame in ``data``.

        :class:`KeyMissing` if its master key is not in the ring, :class:`Damaged` naming ``file`` and ``offset`` if it
        was changed, :class:`Invalid` if what was sealed is not a body.
        """
        view = memoryview(data)
        header = read_header(view, file=file, offset=offset)
        sealed = view[HEADER_BYTES : header.frame_bytes]
        check_body(header, sealed, file=file, offset=offset)
        try:
            body = _OPEN[header.codec](self._data_key(header), header, sealed)
            return Frame(header, decode_body(_decompress(body)))
        except (InvalidTag, InvalidToken, KeyError, struct.error, pa.ArrowException, OSError):
            raise Damaged(
                "a frame's seal is broken: it was changed, or its key is another", file=file, offset=offset
            ) from None

    def _data_key(self, header: Header) -> bytes:
        if header.codec == Codec.PLAIN:
            return b""
        key = self._data_keys.get(header.wrapped)
        if key is None:
            key = _unwrap(self._ring.key(header.key), header.wrapped, header.session)
            while len(self._data_keys) >= _UNWRAPPED_SESSIONS:
                self._data_keys.pop(next(iter(self._data_keys)))
            self._data_keys[header.wrapped] = key
        return key


def _wrap(master: bytes, data_key: bytes, session: bytes) -> bytes:
    nonce = secrets.token_bytes(12)
    return nonce + AESGCM(master).encrypt(nonce, data_key, session)


def _unwrap(master: bytes, wrapped: bytes, session: bytes) -> bytes:
    return AESGCM(master).decrypt(wrapped[:12], wrapped[12:], session)


def _nonce(header: Header) -> bytes:
    return header.number.to_bytes(12, "big")


def _seal_aes_gcm(data_key: bytes, header: Header, body: bytes) -> bytes:
    return AESGCM(data_key).encrypt(_nonce(header), body, header.associated())


def _open_aes_gcm(data_key: bytes, header: Header, sealed: memoryview) -> bytes:
    return AESGCM(data_key).decrypt(_nonce(header), sealed, header.associated())


def _seal_fernet(data_key: bytes, header: Header, body: bytes) -> bytes:
    return Fernet(base64.urlsafe_b64encode(data_key)).encrypt(header.associated() + body)


def _open_fernet(data_key: bytes, header: Header, sealed: memoryview) -> bytes:
    token = Fernet(base64.urlsafe_b64encode(data_key)).decrypt(bytes(sealed))
    if token[:HEADER_BYTES] != header.associated():
        raise InvalidToken
    return token[HEADER_BYTES:]


def _seal_plain(data_key: bytes, header: Header, body: bytes) -> bytes:
    return body


def _open_plain(data_key: bytes, header: Header, sealed: memoryview) -> bytes:
    return bytes(sealed)


_SEAL: Final[dict[int, Callable[[bytes, Header, bytes], bytes]]] = {
    Codec.PLAIN: _seal_plain,
    Codec.AES_GCM: _seal_aes_gcm,
    Codec.FERNET: _seal_fernet,
}
_OPEN: Final[dict[int, Callable[[bytes, Header, memoryview], bytes]]] = {
    Codec.PLAIN: _open_plain,
    Codec.AES_GCM: _open_aes_gcm,
    Codec.FERNET: _open_fernet,
}

# Inside the seal: u64 length of the body, then the body with zstd (RFC 8878), level 1.
_SIZE: Final = struct.Struct("<Q")
_ZSTD: Final = pa.Codec("zstd", compression_level=1)


def _compress(body: bytes) -> bytes:
    return _SIZE.pack(len(body)) + cast(bytes, _ZSTD.compress(body, asbytes=True))


def _decompress(data: bytes) -> pa.Buffer:
    (size,) = _SIZE.unpack_from(data)
    if size > MAX_BODY_BYTES:
        raise struct.error("a body larger than a frame can hold")
    return _ZSTD.decompress(memoryview(data)[_SIZE.size :], decompressed_size=size)
