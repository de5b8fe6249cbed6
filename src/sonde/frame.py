"""Frames: a body sealed for disk.

::

    magic "SNDE" | version | codec | flags (0) | entries | readings | log time | number | session | previous
    | key name | wrapped data key || length of the body | checksum of the body | checksum of all before
    then the body: compressed, then encrypted

All numbers are little-endian. The size of the header and the place of its checksum are the same in every version.

A writer session draws a random data key and wraps it with the named master key, so every frame can be opened alone.
The nonce of a frame is its number in the session. The header up to ``||`` is the associated data, and ``previous`` in it
names the predecessor's tag, so a frame that was changed, moved or removed is seen. The checksums (CRC-32) find torn and
damaged frames without a key.

Codecs: ``aes-gcm`` (AES-256-GCM, NIST SP 800-38D), ``fernet`` (the header repeated inside one token), ``plain``.
"""

import hashlib
import secrets
import struct
import threading
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
from cryptography.exceptions import InvalidTag
from cryptography.fernet import InvalidToken
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sonde.clock import Micros
from sonde.codec import CIPHERS, MAX_BODY_BYTES, Cipher, Codec, compress, decompress, unwrap, wrap
from sonde.entry import Body, Entry, decode_body, decode_entries, encode_body
from sonde.errors import Damaged, NewerFormat, TooLarge
from sonde.keyring import NAME_BYTES, Keys

__all__ = [
    "HEADER_BYTES",
    "MAX_BODY_BYTES",
    "NO_TAG",
    "Codec",
    "Frame",
    "Header",
    "Opener",
    "Sealer",
    "check_body",
    "check_frame",
    "frame_size",
    "read_header",
    "tag",
]

MAGIC: Final = b"SNDE"
VERSION: Final = 1
TAG_BYTES: Final = 16
NO_TAG: Final = bytes(TAG_BYTES)
_BOUND: Final = struct.Struct(f"<4sBBHIIqQ16s{TAG_BYTES}s{NAME_BYTES}s60s")  # the associated data
_LENGTH: Final = struct.Struct("<II")  # of the body: bytes, checksum
_CHECKED: Final = _BOUND.size + _LENGTH.size
_CHECKSUM: Final = struct.Struct("<I")
HEADER_BYTES: Final = _CHECKED + _CHECKSUM.size
_SESSIONS_AT_HAND = 64


@dataclass(frozen=True, slots=True)
class Header:
    """What can be known of a frame without a key. ``previous`` is the tag of the frame before it in its session; for the
    first one (``number`` 0) that of the last frame of the session before, or zeros if the writer did not say."""

    codec: int
    entries: int
    readings: int
    log_time: Micros
    number: int
    session: bytes
    previous: bytes
    key: str
    wrapped: bytes
    length: int
    checksum: int

    def associated(self) -> bytes:
        """What the seal covers besides the body: all but its length and checksum."""
        return _BOUND.pack(
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
        )

    def pack(self) -> bytes:
        return _packed(self.associated(), self.length, self.checksum)

    @property
    def frame_bytes(self) -> int:
        return HEADER_BYTES + self.length


def _packed(associated: bytes, length: int, checksum: int) -> bytes:
    fields = associated + _LENGTH.pack(length, checksum)
    return fields + _CHECKSUM.pack(zlib.crc32(fields))


def frame_size(data: bytes | memoryview, *, file: str = "frame", offset: int = 0) -> int:
    """The bytes of the frame that ``data`` starts with, as its header says; :class:`Damaged` if no whole header is there.
    Holds for frames of any version."""
    if len(data) < HEADER_BYTES:
        raise Damaged(f"{len(data)} bytes are too few for a frame's header", file=file, offset=offset)
    if data[: len(MAGIC)] != MAGIC:
        raise Damaged("no frame starts here", file=file, offset=offset)
    if _CHECKSUM.unpack_from(data, _CHECKED)[0] != zlib.crc32(data[:_CHECKED]):
        raise Damaged("the header of a frame does not match its checksum", file=file, offset=offset)
    length: int = _LENGTH.unpack_from(data, _BOUND.size)[0]
    if length > MAX_BODY_BYTES:
        raise Damaged(f"a frame announces {length} bytes", file=file, offset=offset)
    return HEADER_BYTES + length


def check_frame(data: bytes | memoryview, *, file: str = "frame", offset: int = 0) -> int:
    """The bytes of the frame that ``data`` starts with; :class:`Damaged` unless header and body match their checksums."""
    size = frame_size(data, file=file, offset=offset)
    if len(data) < size or zlib.crc32(data[HEADER_BYTES:size]) != _LENGTH.unpack_from(data, _BOUND.size)[1]:
        raise Damaged("the body of a frame does not match its checksum", file=file, offset=offset)
    return size


def read_header(data: bytes | memoryview, *, file: str = "frame", offset: int = 0) -> Header:
    """The header that ``data`` starts with. :class:`Damaged` naming ``file`` and ``offset`` if there is none,
    :class:`NewerFormat` if a newer Sonde wrote it."""
    frame_size(data, file=file, offset=offset)
    _, version, codec, flags, *fields, key, wrapped = _BOUND.unpack_from(data)
    if version != VERSION or flags or codec not in CIPHERS:
        raise NewerFormat(
            f"the frame in {file} at byte {offset} has version {version}, codec {codec} and flags {flags:#x}",
            hint=f"This Sonde reads version {VERSION}; open it with the one that wrote it, or a newer one",
        )
    try:
        name = key.rstrip(b"\0").decode()
    except UnicodeDecodeError:
        raise Damaged("the key of a frame has a name that is not text", file=file, offset=offset) from None
    rest: tuple[Any, ...] = (name, wrapped, *_LENGTH.unpack_from(data, _BOUND.size))
    return Header(codec, *fields, *rest)


def check_body(header: Header, body: bytes | memoryview, *, file: str = "frame", offset: int = 0) -> None:
    """:class:`Damaged` unless ``body`` is whole; needs no key."""
    if len(body) != header.length or zlib.crc32(body) != header.checksum:
        raise Damaged("the body of a frame does not match its checksum", file=file, offset=offset)


def tag(codec: int, frame: bytes | memoryview) -> bytes:
    """What a frame's successor names it by: its GCM tag, which nobody can forge without the key; in the other codecs the
    first half of its SHA-256."""
    if codec == Codec.AES_GCM:
        return bytes(frame[-TAG_BYTES:])
    return hashlib.sha256(frame).digest()[:TAG_BYTES]


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame opened."""

    header: Header
    body: Body


def unsealed(body: Body, log_time: Micros, length: int) -> Frame:
    """What would have been opened, had somebody sealed ``body`` at ``log_time``: ``length`` bytes that another program wrote
    into the log itself."""
    header = Header(
        codec=Codec.PLAIN,
        entries=len(body.entries),
        readings=body.readings,
        log_time=log_time,
        number=0,
        session=b"",
        previous=NO_TAG,
        key="",
        wrapped=b"",
        length=length,
        checksum=0,
    )
    return Frame(header, body)


class Sealer:
    """One writer session: seals the frames of one partition one after another, from any thread.

    After a failed append, make a new one: what was sealed but not appended would be missed in the session's chain.
    ``previous`` is the :func:`tag` of the last frame in the log, so that no end of a session can be removed unseen.
    ``key`` is the name of the master key.
    """

    def __init__(self, ring: Keys, codec: Codec = Codec.AES_GCM, previous: bytes = NO_TAG) -> None:
        self._codec = codec
        self.key = ring.active
        self._session = secrets.token_bytes(16)
        data_key = AESGCM.generate_key(256)
        self._cipher = CIPHERS[codec](data_key)
        self._wrapped = wrap(ring.key(self.key), data_key, self._session)
        self._number = 0
        self._previous = previous
        self._lock = threading.Lock()  # a nonce must never serve twice

    def seal(self, body: Body, log_time: Micros) -> bytes:
        """``body`` as a frame, ready to append; :class:`TooLarge` if no frame can hold it."""
        return self.seal_encoded(encode_body(body), len(body.entries), body.readings, log_time)

    def seal_encoded(self, encoded: bytes, entries: int, readings: int, log_time: Micros) -> bytes:
        """The same for a body that is already in bytes."""
        body = compress(encoded)
        with self._lock:
            header = Header(
                codec=self._codec,
                entries=entries,
                readings=readings,
                log_time=log_time,
                number=self._number,
                session=self._session,
                previous=self._previous,
                key=self.key,
                wrapped=self._wrapped,
                length=0,
                checksum=0,
            )
            associated = header.associated()
            sealed = self._cipher.seal(header.number, associated, body)
            if len(sealed) > MAX_BODY_BYTES:
                raise TooLarge(f"a frame would have {len(sealed)} bytes; it can have {MAX_BODY_BYTES}")
            frame = _packed(associated, len(sealed), zlib.crc32(sealed)) + sealed
            self._number += 1
            self._previous = tag(self._codec, frame)
        return frame


class Opener:
    """Opens frames sealed with any key of a ring; keeps the data keys of the sessions it saw last.

    ``codecs`` are those it takes: leave ``plain`` out where nobody but the key's owner may have written.
    """

    def __init__(self, ring: Keys, codecs: Collection[Codec] = tuple(Codec)) -> None:
        self._ring = ring
        self._codecs = frozenset(codecs)
        self._ciphers: dict[tuple[int, bytes], Cipher] = {}

    def open(self, data: bytes | memoryview, *, file: str = "frame", offset: int = 0) -> Frame:
        """The frame in ``data``.

        :class:`KeyMissing` if its master key is not in the ring, :class:`KeyRetired` if it never will be,
        :class:`Damaged` naming ``file`` and ``offset`` if it
        was changed, :class:`NewerFormat`, :class:`Invalid` if what was sealed is not a body.
        """
        header, body = self._unsealed(data, file, offset)
        return Frame(header, decode_body(body))

    def open_entries(self, data: bytes | memoryview) -> tuple[Header, list[Entry]]:
        """The same without the readings, for those who look only at what else the log says."""
        header, body = self._unsealed(data, "frame", 0)
        return header, decode_entries(body)

    def _unsealed(self, data: bytes | memoryview, file: str, offset: int) -> tuple[Header, bytes | pa.Buffer]:
        view = memoryview(data)
        header = read_header(view, file=file, offset=offset)
        sealed = view[HEADER_BYTES:]
        check_body(header, sealed, file=file, offset=offset)
        if header.codec not in self._codecs:
            raise Damaged(f"a frame is {Codec(header.codec).name}, which is not allowed here", file=file, offset=offset)
        try:
            opened = self._cipher(header).open(header.number, view[: _BOUND.size], sealed)
            body = decompress(opened)
        except (InvalidTag, InvalidToken, struct.error, pa.ArrowException, OSError):
            raise Damaged(
                "the seal of a frame is broken",
                file=file,
                offset=offset,
                hint=f"It was changed, or {header.key!r} is now another key",
            ) from None
        return header, body

    def _cipher(self, header: Header) -> Cipher:
        if header.codec == Codec.PLAIN:
            return CIPHERS[Codec.PLAIN](b"")
        cipher = self._ciphers.get((header.codec, header.wrapped))
        if cipher is None:
            data_key = unwrap(self._ring.key(header.key), header.wrapped, header.session)
            cipher = CIPHERS[header.codec](data_key)
            while len(self._ciphers) >= _SESSIONS_AT_HAND:
                self._ciphers.pop(next(iter(self._ciphers)), None)
            self._ciphers[header.codec, header.wrapped] = cipher
        return cipher
