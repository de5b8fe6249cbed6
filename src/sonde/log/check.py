"""Going through any log by its port: every frame read, opened and in its place. Several may be writing it."""

from collections.abc import Callable
from typing import Final

from sonde.errors import Damaged, Invalid, KeyRetired, NewerFormat
from sonde.frame import MAGIC, Opener, read_header
from sonde.keyring import Keys
from sonde.log.chain import SharedChain
from sonde.log.walk import Verification
from sonde.ports import Log, Record

_READ_BYTES: Final = 4 << 20
Progress = Callable[[int, int], None]
"""Called now and then with the frames done and the frames in all."""


def check(log: Log, ring: Keys | None = None, progress: Progress | None = None) -> Verification:
    """Read every frame that ``log`` holds now and check all that can be checked. In what is found, the partition stands for
    a file, and the offset for a byte. What other programs wrote there is no frame, and left out.
    :class:`sonde.errors.Retry`, :class:`sonde.errors.KeyMissing`."""
    found = Verification()
    opener = Opener(ring) if ring is not None else None
    ends = log.ends()
    total = sum(end - first for first, end in ends.values())
    done = 0
    for number, (first, end) in sorted(ends.items()):
        _check_partition(log, number, (first, end), found, opener)
        done += end - first
        if progress is not None:
            progress(done, total)
    return found


def _check_partition(log: Log, number: int, span: tuple[int, int], found: Verification, opener: Opener | None) -> None:
    offset, end = span
    chain = SharedChain(cut=offset > 0)
    while offset < end:
        try:
            records = log.read(number, offset, _READ_BYTES)
        except Damaged as damage:
            found.damage.append((_name(number), damage.offset, damage.message))
            chain.lose()
            if damage.next_offset is None or damage.next_offset <= offset:
                return
            offset = damage.next_offset
            continue
        if not records:
            return
        for record in records:
            _check_frame(record, number, chain, found, opener)
        offset = records[-1].offset + 1


def _check_frame(record: Record, number: int, chain: SharedChain, found: Verification, opener: Opener | None) -> None:
    if not record.frame.startswith(MAGIC):
        return
    found.frames += 1
    found.bytes += len(record.frame)
    place = _name(number), record.offset
    try:
        header = read_header(record.frame, file=_name(number), offset=record.offset)
        found.readings += header.readings
        wrong = chain.follow(header, record.frame)
        if wrong is not None:
            found.breaks.append((*place, wrong))
        if opener is not None:
            opener.open(record.frame, file=_name(number), offset=record.offset)
            found.opened += 1
    except KeyRetired:
        found.retired += 1
    except (Damaged, Invalid, NewerFormat) as error:
        found.damage.append((*place, error.message))
        chain.lose()


def _name(partition: int) -> str:
    return f"partition {partition}"
