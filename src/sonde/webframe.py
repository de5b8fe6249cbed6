"""A message as a WebSocket server sends it (RFC 6455): made once, sent to many."""

import struct
from typing import Final

_TEXT: Final = 0x81  # the only frame of a message of text
_SHORT: Final = 126  # from so many bytes on, the length follows in two bytes
_LONG: Final = 1 << 16  # and from so many on in eight


def text_frame(text: bytes) -> bytes:
    """The frame that carries ``text``, which is UTF-8."""
    size = len(text)
    if size < _SHORT:
        return bytes((_TEXT, size)) + text
    if size < _LONG:
        return struct.pack("!BBH", _TEXT, 126, size) + text
    return struct.pack("!BBQ", _TEXT, 127, size) + text
