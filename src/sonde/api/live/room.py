"""A client's line, and waiting until it takes more."""

import asyncio

from sonde.ports import Line


class Room:
    """Sends when there is room; whoever has more waits for :meth:`wait`."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._free = asyncio.Event()

    @property
    def is_free(self) -> bool:
        return self._line.has_room

    def send(self, frames: bytes) -> None:
        """Send; what is small and must be said may go without room too."""
        self._line.send(frames)

    async def wait(self) -> None:
        """Return when there is room."""
        while not self._line.has_room:
            self._free.clear()
            await self._free.wait()

    def drained(self) -> None:
        """There is room again."""
        self._free.set()
