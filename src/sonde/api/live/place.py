"""Where in the log a client is."""

from collections.abc import Mapping

from sonde.cursor import Cursor


class Place:
    """The next offset of each partition, and how many readings of that very frame came already. It moves on."""

    __slots__ = ("log", "offsets", "within")

    def __init__(self, log: str, offsets: Mapping[int, int], within: Mapping[int, int] | None = None) -> None:
        self.log = log
        self.offsets = dict(offsets)
        self.within = dict(within or {})

    def move(self, partition: int, offset: int, within: int = 0) -> None:
        """Go on to ``offset``, of whose readings ``within`` came."""
        self.offsets[partition] = offset
        if within:
            self.within[partition] = within
        else:
            self.within.pop(partition, None)

    def copy(self) -> "Place":
        return Place(self.log, self.offsets, self.within)

    def __str__(self) -> str:
        return str(Cursor(self.log, self.offsets, self.within))
