"""Identities learnt again from the log, after their file was lost or damaged."""

import threading
from typing import Final

from sonde.clock import SystemClock
from sonde.frame import Opener
from sonde.ports import Identities, Log
from sonde.process.dedupe import Dedupe
from sonde.process.gather import Gatherer, Unread
from sonde.process.ledger import Tally

_READINGS: Final = 100_000  # at a time


def relearn(
    log: Log, identities: Identities, opener: Opener, until: int, stop: threading.Event, *, partition: int = 0
) -> bool:
    """Let ``identities`` see all frames below ``until`` again; whether that came to its end before ``stop``."""
    clock = SystemClock()
    offset = log.ends().get(partition, (0, 0))[0]
    gatherer = Gatherer(log, partition, opener, offset, clock=clock, turns=lambda frame, turned: False)
    dedupe = Dedupe(identities, partition, ())
    while offset < until:
        if stop.is_set():
            return False
        gathered = gatherer.gather(0.0, clock.monotonic(), _READINGS)
        if isinstance(gathered, Unread):
            offset = gathered.next_offset
            continue
        if not gathered:
            break
        offset = gathered[-1].offset + 1
        dedupe.sift([frame for frame in gathered if frame.offset < until], Tally(partition))
    return True
