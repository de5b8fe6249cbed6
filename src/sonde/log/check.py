"""Going through any log by its port, of which many may be writers: every frame read, opened and in its place."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from sonde.errors import Damaged, Invalid, KeyRetired, NewerFormat, NotFound, Problem, Reject
from sonde.frame import MAGIC, Frame, Opener, read_header, unsealed
from sonde.keyring import Keys
from sonde.log.chain import Follows, SharedChain
from sonde.ports import Log, ReadEvents, Record

READ_BYTES: Final = 4 << 20
FROM_THE_FIRST: Final[Mapping[int, int]] = MappingProxyType({})

Progress = Callable[[int, int], None]
"""Called now and then with the frames done and the frames in all."""
Where = Callable[[int, int], tuple[str, int]]
"""What people are told of a place in the log, partition and offset: a file and the byte in it, or the same again in words."""
ToChain = Callable[[bool], Follows]
"""Begins to follow a partition; with true, one of which the beginning was cut away."""


def in_partition(partition: int, offset: int) -> tuple[str, int]:
    """Of a log that has no files."""
    return f"partition {partition}", offset


def _shared(cut: bool) -> Follows:
    return SharedChain(cut=cut)


@dataclass(slots=True)
class Verification:
    """What was found. ``damage`` is ``(file, byte, what)``, of a log without files ``(partition, offset, what)``; ``breaks``,
    of the same form, are places where frames were removed, moved or put in; ``torn`` are ``(file, byte, bytes)`` that a crash
    left after the last whole frame. ``opened`` counts the frames whose seal was opened too: none without a key ring;
    ``retired`` those whose key was given up; ``events`` the records that are no frames: other programs wrote them."""

    partitions: int = 0
    segments: int = 0
    frames: int = 0
    readings: int = 0
    bytes: int = 0
    opened: int = 0
    retired: int = 0
    events: int = 0
    torn: list[tuple[str, int, int]] = field(default_factory=list)
    damage: list[tuple[str, int, str]] = field(default_factory=list)
    breaks: list[tuple[str, int, str]] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether all is there. A torn tail is no damage: nobody had a receipt for it."""
        return not self.damage and not self.breaks


def check(
    log: Log,
    ring: Keys | None = None,
    progress: Progress | None = None,
    *,
    where: Where = in_partition,
    chain: ToChain = _shared,
) -> Verification:
    """Read every frame that ``log`` holds now and check all that can be checked. Events of other programs are counted and not
    read. :class:`sonde.errors.Retry`, :class:`sonde.errors.KeyMissing`."""
    found = Verification()
    opener = Opener(ring) if ring is not None else None
    ends = log.ends()
    found.partitions = len(ends)
    for partition, record in records(log, ends, progress):
        if isinstance(record, Start):
            following = chain(record.cut)
        elif isinstance(record, Damaged):
            found.damage.append((*_place(record, partition), record.message))
            following.lose()
        elif record.frame.startswith(MAGIC):
            _check_frame(record, where(partition, record.offset), following, found, opener)
        else:
            found.events += 1
            found.bytes += len(record.frame)
    return found


def _check_frame(
    record: Record, place: tuple[str, int], chain: Follows, found: Verification, opener: Opener | None
) -> None:
    file, at = place
    found.frames += 1
    found.bytes += len(record.frame)
    try:
        header = read_header(record.frame, file=file, offset=at)
    except (Damaged, NewerFormat) as error:
        found.damage.append((file, at, error.message))
        chain.lose()
        return
    found.readings += header.readings
    wrong = chain.follow(header, record.frame)
    if wrong is not None:
        found.breaks.append((file, at, wrong))
    if opener is None:
        return
    try:
        _agree(opener.open(record.frame, file=file, offset=at))
        found.opened += 1
    except KeyRetired:
        found.retired += 1
    except (Damaged, Invalid, NewerFormat) as error:
        found.damage.append((file, at, error.message))


def _agree(frame: Frame) -> None:
    """:class:`Invalid` unless the header counts what the body holds."""
    if frame.header.readings != frame.body.readings or frame.header.entries != len(frame.body.entries):
        raise Invalid(Problem(None, "frame", "its header counts other entries or readings than it holds"))


def frames(
    log: Log,
    ring: Keys,
    start: Mapping[int, int] = FROM_THE_FIRST,
    *,
    where: Where = in_partition,
    damaged: Callable[[Damaged], None] | None = None,
    events: ReadEvents | None = None,
    progress: Progress | None = None,
) -> Iterator[tuple[int, int, Frame]]:
    """``(partition, offset, frame)`` for every frame that ``log`` holds now, partition by partition, from offset
    ``start[partition]`` on. Frames of keys that were retired are left out. What other programs wrote becomes a frame by
    ``events``; without it, it is left out.

    Damage, and what means nothing, is raised, or if ``damaged`` is given it is called and reading goes on after it.
    :class:`KeyMissing`, :class:`NewerFormat`, :class:`Retry`.
    """
    opener = Opener(ring)
    spans = {number: (max(first, start.get(number, 0)), end) for number, (first, end) in log.ends().items()}
    for partition, record in records(log, spans, progress):
        if isinstance(record, Start):
            continue
        try:
            if isinstance(record, Damaged):
                raise record
            frame = _opened(record, opener, where(partition, record.offset), events)
        except KeyRetired:
            continue
        except Damaged as error:
            if damaged is None:
                raise
            damaged(error)
            continue
        if frame is not None:
            yield partition, record.offset, frame


def _opened(record: Record, opener: Opener, place: tuple[str, int], events: ReadEvents | None) -> Frame | None:
    file, at = place
    try:
        if record.frame.startswith(MAGIC):
            return opener.open(record.frame, file=file, offset=at)
        if events is None:
            return None
        return unsealed(events(record.frame, record.time), record.time, len(record.frame))
    except KeyRetired:
        raise
    except Reject as error:  # what was sealed is no body of a frame, or what another program wrote is no event
        raise Damaged(error.message, file=file, offset=at, unit=unit_of(file)) from None


def unit_of(file: str) -> str:
    """What a place counts: in a file bytes, in a partition of a log without files frames."""
    return "offset" if file.startswith("partition ") else "byte"


@dataclass(frozen=True, slots=True)
class Start:
    """A partition begins; ``cut`` if not with its first frame."""

    cut: bool


def records(
    log: Log, spans: Mapping[int, tuple[int, int]], progress: Progress | None = None
) -> Iterator[tuple[int, Start | Record | Damaged]]:
    """Each record of ``spans`` (partition → first offset, and the one after the last), with its partition; or what is wrong in
    its place. What is cut away meanwhile is left out."""
    total = sum(max(0, end - first) for first, end in spans.values())
    done = 0
    for partition, (first, end) in sorted(spans.items()):
        yield partition, Start(first > 0)
        offset = first
        while offset < end:
            try:
                found = log.read(partition, offset, READ_BYTES)
            except Damaged as damage:
                yield partition, damage
                following = damage.next_offset or end
            except NotFound:
                following = max(offset + 1, log.ends()[partition][0])
            else:
                yield from ((partition, record) for record in found if record.offset < end)
                following = found[-1].offset + 1 if found else end
            offset = max(offset + 1, following)
            if progress is not None:
                progress(done + min(offset, end) - first, total)
        done += max(0, end - first)


def _place(damage: Damaged, partition: int) -> tuple[str, int]:
    return damage.file or f"partition {partition}", damage.offset
