"""How much to send in one request."""

from collections.abc import Sequence
from typing import Final

from sonde.ports import Outgoing

SMALLEST: Final = 16 << 10
LARGEST: Final = 8 << 20
_START: Final = 256 << 10
_SECONDS: Final = 10.0  # a request should be done by then
_QUICK: Final = 1.0


class Parcel:
    """``bytes`` of content that a request may carry: grows while requests are quick, shrinks when they are slow or fail,
    and stays below what a sink called too large.
    """

    def __init__(self) -> None:
        self.bytes = _START
        self._ceiling = LARGEST

    def took(self, entries: Sequence[Outgoing], seconds: float) -> None:
        """A request with ``entries`` got through in so many seconds."""
        if seconds > _SECONDS:
            self.failed()
        elif seconds < _QUICK and _size(entries) * 2 > self.bytes:
            self.bytes = min(self._ceiling, self.bytes * 2)

    def failed(self) -> None:
        """A request did not get through; perhaps the link is too slow for its size."""
        self.bytes = max(min(SMALLEST, self._ceiling), self.bytes // 2)

    def too_large(self, entries: Sequence[Outgoing]) -> None:
        """A request with more than one entry was too large for the sink."""
        self.bytes = self._ceiling = max(1, min(self.bytes, _size(entries)) // 2)


def _size(entries: Sequence[Outgoing]) -> int:
    return sum(len(entry.content) for entry in entries)
