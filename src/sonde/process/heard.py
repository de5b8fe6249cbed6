"""The frames of one step, as alerts see them: each has a place in the log, and a time at which it came."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sonde.clock import Micros
from sonde.process.gather import Opened

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Heard:
    """``log_times`` never go back: a frame came when the one before it had come."""

    partition: int
    offsets: Ints
    log_times: Ints

    @classmethod
    def of(cls, partition: int, frames: Iterable[Opened], since: Micros) -> "Heard":
        """The frames of a step that follows on a frame which came at ``since``."""
        kept = list(frames)
        times = np.array([since, *(frame.header.log_time for frame in kept)], np.int64)
        return cls(partition, np.array([f.offset for f in kept], np.int64), np.maximum.accumulate(times)[1:])

    def __len__(self) -> int:
        return len(self.offsets)

    def at(self, offset: int) -> int:
        """The number of the frame at ``offset``."""
        return int(np.searchsorted(self.offsets, offset))

    def first_after(self, time: Micros) -> int:
        """The number of the first frame that came at ``time`` or later; how many there are if none did."""
        return int(np.searchsorted(self.log_times, time))
