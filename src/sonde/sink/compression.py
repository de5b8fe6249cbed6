"""Bodies that come compressed: unpacked piece by piece, so that a small one cannot fill the memory."""

import zlib
from collections.abc import Callable
from typing import Final

import pyarrow as pa

from sonde.errors import Invalid, Problem, TooLarge, Unsupported

_PIECE: Final = 1 << 20
_GZIP: Final = zlib.MAX_WBITS | 16


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """``body`` as it was before ``encoding`` (the header's value) was applied.

    :class:`TooLarge` beyond ``limit`` bytes, :class:`Unsupported`, :class:`Invalid` if it is not what it says.
    """
    encoding = encoding.strip().lower()
    if encoding in {"", "identity"}:
        return body
    if encoding not in _READERS:
        raise Unsupported(f"the encoding {encoding[:64]!r} is not understood", hint="Send gzip, zstd, or none")
    try:
        return _READERS[encoding](body, limit)
    except (zlib.error, OSError, EOFError) as error:
        raise Invalid(Problem(None, "body", f"not {encoding}, or cut short ({error})"), syntax=True) from None


def _gzip(body: bytes, limit: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    rest = body
    while rest:  # a file may have several members, one after another
        member = zlib.decompressobj(_GZIP)
        while not member.eof:
            piece = member.decompress(rest, _PIECE)
            rest = member.unconsumed_tail
            if not piece and not rest and not member.eof:
                raise EOFError("the end is missing")
            size += len(piece)
            _check(size, limit)
            pieces.append(piece)
        rest = member.unused_data
    return b"".join(pieces)


def _zstd(body: bytes, limit: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    with pa.CompressedInputStream(pa.BufferReader(body), "zstd") as stream:
        while piece := stream.read(_PIECE):
            size += len(piece)
            _check(size, limit)
            pieces.append(piece)
    return b"".join(pieces)


def _check(size: int, limit: int) -> None:
    if size > limit:
        raise TooLarge(f"the body has more than {limit} bytes when decompressed", hint="Send fewer readings at once")


_READERS: Final[dict[str, Callable[[bytes, int], bytes]]] = {"gzip": _gzip, "x-gzip": _gzip, "zstd": _zstd}
