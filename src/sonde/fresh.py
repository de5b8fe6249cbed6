"""What is new in the log: of each frame what had not come before, as the store will have it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sonde.clock import Micros
from sonde.entry import Entry
from sonde.reading import Batch


@dataclass(frozen=True, slots=True)
class Fresh:
    """The frame at ``offset``, or what is known of a stretch up to ``until`` that cannot be read (``lost`` says why).

    ``series`` and ``quality`` are of each reading of ``batch``: the number that the feed gave its series (-1: it is not shown
    any more), and how far its value can be trusted by what its device's profile declares. ``entries`` are those that are no
    readings.
    """

    partition: int
    offset: int
    until: int
    log_time: Micros
    batch: Batch | None = None
    series: npt.NDArray[np.int32] | None = None
    quality: npt.NDArray[np.int8] | None = None
    entries: Sequence[Entry] = ()
    bytes: int = 0
    lost: str = ""
