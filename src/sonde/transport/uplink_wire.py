"""The node's wire over HTTP: the message of ``POST /uplink``, which both ends share, and the node's end of it.

The body is MessagePack, compressed whole into one standard zstd frame (RFC 8878) under the content type
``application/vnd.sonde.uplink`` with ``Content-Encoding: zstd``; the header ``Sonde-Length`` says how many bytes it is
when decompressed. The answer is JSON: ``{"durable_seq": n}``, or ``{"known_seq": n}`` with 409.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
import pyarrow as pa

from sonde.errors import Invalid, Problem, TooLarge
from sonde.ports import Outgoing, StreamId

CONTENT_TYPE: Final = "application/vnd.sonde.uplink"
CONTENT_ENCODING: Final = "zstd"
LENGTH: Final = "Sonde-Length"
MAX_MESSAGE_BYTES: Final = 32 << 20
"""What a message may be at most when decompressed, unless a sink sets less."""


class Message(msgspec.Struct, frozen=True):
    """Consecutive entries of one lane of a node; ``confirmed`` is the seq up to which it holds receipts."""

    epoch: str
    lane: int
    confirmed: int
    entries: list[Outgoing]

    @property
    def stream(self) -> StreamId:
        return StreamId(self.epoch, self.lane)


class Durable(msgspec.Struct, frozen=True):
    """A receipt: the stream is durable up to this seq."""

    durable_seq: int


class Known(msgspec.Struct, frozen=True):
    """With 409: the seq up to which the sink knows the stream."""

    known_seq: int


_ZSTD: Final = pa.Codec("zstd", compression_level=1)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


def pack(stream: StreamId, confirmed: int, entries: Sequence[Outgoing]) -> tuple[bytes, int]:
    """The body of a request, and its length when decompressed."""
    message = _encode(Message(stream.epoch, stream.lane, confirmed, list(entries)))
    return _ZSTD.compress(message, asbytes=True), len(message)


def unpack(body: bytes | memoryview, length: str | int | None, limit: int = MAX_MESSAGE_BYTES) -> Message:
    """What a request says. ``length`` is its header ``Sonde-Length``.

    :class:`TooLarge` above ``limit`` bytes, :class:`Invalid` if it is no message or its entries do not follow each other.
    """
    try:
        size = int(length or "")
    except ValueError:
        raise _invalid(f"the header {LENGTH} should say the length of the message, and says {length!r}") from None
    if size > limit:
        raise TooLarge(f"the message has {size} bytes; the limit is {limit}", hint="Send fewer entries")
    try:
        message = _decode(memoryview(_ZSTD.decompress(body, decompressed_size=size)) if size > 0 else b"")
    except (OSError, pa.ArrowException, ValueError, msgspec.DecodeError) as error:
        raise _invalid(f"not a message of a node ({error})") from None
    _check(message)
    return message


def _check(message: Message) -> None:
    if not message.entries:
        raise _invalid("a message without entries")
    if not 0 < len(message.epoch) <= 32 or message.confirmed < 0:
        raise _invalid("the epoch or the confirmed seq is not one")
    expected = message.entries[0].seq
    for entry in message.entries:
        if entry.seq != expected or entry.seq < 1 or not entry.seq <= entry.until < 1 << 48:
            raise _invalid(f"entry {entry.seq} to {entry.until} stands where {expected} should follow")
        if entry.readings < 0 or entry.count < entry.readings or len(entry.digest) != 16:
            raise _invalid(f"entry {entry.seq} has counts or a digest that cannot be")
        expected = entry.until + 1


def _invalid(what: str) -> Invalid:
    return Invalid(Problem(None, "body", what), syntax=True)
