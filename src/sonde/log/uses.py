"""Which master keys the frames of a log need, by their headers alone."""

from dataclasses import dataclass
from pathlib import Path

from sonde.clock import Micros
from sonde.codec import Codec
from sonde.errors import Damaged, NewerFormat
from sonde.frame import Header
from sonde.log.check import Progress
from sonde.log.walk import headers, segment_bytes


@dataclass(slots=True)
class KeyUse:
    """What one master key has sealed: frames, readings in them, in how many segments, log time of the first and the last.
    ``sample`` is the header of one of the frames."""

    sample: Header
    frames: int = 0
    readings: int = 0
    segments: int = 0
    first: Micros = 0
    last: Micros = 0

    def count(self, header: Header) -> None:
        self.first = min(self.first, header.log_time) if self.frames else header.log_time
        self.last = max(self.last, header.log_time)
        self.frames += 1
        self.readings += header.readings


def key_uses(path: Path, progress: Progress | None = None) -> dict[str, KeyUse]:
    """By key name, what of the log at ``path`` is sealed with it. Needs neither a key nor a lock. What is damaged needs no
    key any more."""
    total, done = segment_bytes(path), 0
    uses: dict[str, KeyUse] = {}
    for size, found in headers(path):
        here: set[str] = set()
        for header in found:
            if isinstance(header, Damaged | NewerFormat) or header.codec == Codec.PLAIN:
                continue
            use = uses.setdefault(header.key, KeyUse(header))
            use.count(header)
            use.segments += header.key not in here
            here.add(header.key)
        done += size
        if progress is not None:
            progress(min(done, total), total)
    return uses
