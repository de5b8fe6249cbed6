"""Putting messages together: readings up to a number, in the order of the log, each message with the cursor behind it."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from sonde.api.live import writer
from sonde.api.live.place import Place
from sonde.api.live.wanted import Wanted

MOST: Final = 1000
"""Readings in a message."""

LARGE: Final = 256 << 10
"""Bytes of readings at which a message is full; many clients take no messages above 1 MiB."""


class Sealed(NamedTuple):
    """Frames of messages, the place behind them, and how many readings they hold; or a message that is ``not_in_log``: its
    type and members, for whoever cannot be sent it now."""

    frame: bytes
    behind: Place
    readings: int = 0
    not_in_log: tuple[str, Mapping[str, Any]] | None = None


class Parcel:
    """The messages of one subscription's words, as frames ready to be sent."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self._id = writer.encode(wanted.id)
        self._readings: list[bytes] = []
        self._size = 0
        self._frames: list[Sealed] = []
        self.skipped = 0

    @property
    def is_full(self) -> bool:
        """Whether the next reading should begin another message."""
        return len(self._readings) >= MOST or self._size >= LARGE

    def add(self, reading: bytes) -> None:
        """Add a reading as :class:`sonde.api.live.writer.Readings` wrote it."""
        self._readings.append(reading)
        self._size += len(reading)

    def seal(self, place: Place) -> None:
        """End the message: what was added came from before ``place``."""
        if self._readings:
            if self.wanted.plain:
                frame = b"".join(self._readings)
            else:
                frame = writer.data(self._id, str(place), self._readings, self.skipped)
                self.skipped = 0
            self._frames.append(Sealed(frame, place.copy(), len(self._readings)))
            self._readings, self._size = [], 0

    def say(self, type_: str, place: Place, members: Mapping[str, Any], *, in_log: bool = True) -> None:
        """Add another message, after what was added before it."""
        self.seal(place)
        if self.wanted.plain:
            frame = writer.message(type_, **members)
        else:
            frame = writer.message(type_, subscription=self.wanted.id, cursor=str(place), **members)
        self._frames.append(Sealed(frame, place.copy(), not_in_log=None if in_log else (type_, members)))

    def take(self) -> list[Sealed]:
        """What is sealed."""
        frames, self._frames = self._frames, []
        return frames
