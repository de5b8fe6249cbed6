"""A client's line, and waiting until it takes more."""

import asyncio

from sonde.ports import Line


class Room:
    """Whoever has more than ``line`` has room for waits here; what is small and must be said may go without room too."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self._free = asyncio.Event()

    async def wait(self) -> None:
        """Return when there is room."""
        while not self.line.has_room:
            self._free.clear()
            await self._free.wait()

    def drained(self) -> None:
        """There is room again."""
        self._free.set()
