"""What a node reads: sensors, and what a sensor may have besides."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from sonde.profile import Profile
from sonde.reading import Reading


class Sensor(Protocol):
    """Gives readings when asked.

    Made once, then ``read`` at its rate, always from one thread, until ``close``. ``read`` may block: only its own
    sensor waits. An exception is a failed reading: it is counted, and the sensor is closed and made again with backoff.
    """

    def read(self) -> Sequence[Reading]:
        """The readings of this moment; may be none. :class:`EndOfReadings` when there will never be more."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class Declares(Protocol):
    """A sensor may have this too: it says what its devices are. Asked after each read; the same object as before means
    that nothing has changed."""

    def profiles(self) -> Sequence[Profile]: ...


Tell = Callable[[float | None, str], None]
"""Says how far a command has come, from 0 to 1 if that is known, and in words."""


@runtime_checkable
class Performs(Protocol):
    """A sensor may have this too: it carries out the commands that its profiles declare."""

    def perform(self, device: str, command: str, parameters: Mapping[str, Any], tell: Tell) -> Any:
        """Carry out a command whose parameters fit its template. Called from a thread of its own beside ``read``, one
        command at a time for each device. What it returns goes into the result: text is its message, anything else its
        details. An exception means that the command failed."""
        ...


@runtime_checkable
class Paced(Protocol):
    """A sensor may have this too: it says itself how many seconds lie between two reads. Asked after each read."""

    @property
    def interval(self) -> float: ...


class EndOfReadings(Exception):
    """A sensor has given all it had (a replay at its end)."""
