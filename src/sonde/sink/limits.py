"""How much a sink takes in; every bound has a name here."""

from dataclasses import dataclass, replace

from sonde.clock import DAY, Micros
from sonde.errors import TooLarge


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one sink. A request at a bound is taken, one beyond it is told which it was."""

    body_bytes: int = 32 << 20  # of a request, as it travels
    decompressed_bytes: int = 64 << 20
    readings: int = 100_000  # in a request
    value_bytes: int = 1 << 20  # of one text or JSON value
    depth: int = 64  # of nested JSON
    labels_bytes: int = 4096  # of one reading's labels, as JSON
    future: Micros = DAY  # how far ahead of this clock a time may be

    bytes_per_second: int = 1 << 30
    burst_bytes: int = 2 << 30
    token_bytes_per_second: int = 1 << 30
    token_burst_bytes: int = 2 << 30

    waiting_bytes: int = 128 << 20  # of requests that wait for their commit
    waiting_requests: int = 20_000
    waiting_seconds: float = 30.0
    group_readings: int = 200_000  # in one frame
    group_bytes: int = 64 << 20  # of bodies in one frame

    def within(self, frame_bytes: int) -> "Limits":
        """The same for a log whose frames have at most so many bytes: a body that does not become smaller fits, even as
        Fernet writes it, with all that a frame says beside it."""
        room = frame_bytes * 7 // 10
        return replace(
            self,
            body_bytes=min(self.body_bytes, room),
            decompressed_bytes=min(self.decompressed_bytes, room),
            group_bytes=min(self.group_bytes, room),
        )

    def too_many(self) -> TooLarge:
        """The error for a request with more readings than it may have."""
        return TooLarge(f"a request has at most {self.readings} readings", hint="Send fewer at once")
