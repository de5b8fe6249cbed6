"""Which master keys the frames of a log need, by their headers alone."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sonde.clock import Micros
from sonde.codec import Codec
from sonde.errors import Damaged, NewerFormat
from sonde.frame import MAGIC, Header, read_header
from sonde.log.check import Progress, records
from sonde.log.walk import headers, segment_bytes
from sonde.ports import Log, Record


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
        here = {use.sample.key for header in found if (use := _count(uses, header)) is not None}
        for name in here:
            uses[name].segments += 1
        done += size
        if progress is not None:
            progress(min(done, total), total)
    return uses


def uses_in(log: Log, progress: Progress | None = None) -> dict[str, KeyUse]:
    """The same of any log, by its port; there are no segments in it."""
    uses: dict[str, KeyUse] = {}
    for _, record in records(log, log.ends(), progress):
        if isinstance(record, Record) and record.frame.startswith(MAGIC):
            with suppress(Damaged, NewerFormat):  # what is damaged needs no key any more
                _count(uses, read_header(record.frame))
    return uses


def _count(uses: dict[str, KeyUse], header: Header | Damaged | NewerFormat) -> KeyUse | None:
    if isinstance(header, Damaged | NewerFormat) or header.codec == Codec.PLAIN:
        return None
    use = uses.setdefault(header.key, KeyUse(header))
    use.count(header)
    return use
