"""Going through a log that another program may be writing: verify it, or read all its frames."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from sonde.errors import Damaged, Invalid, KeyRetired, NewerFormat, NotFound, Problem
from sonde.frame import Frame, Header, Opener, read_header
from sonde.keyring import Keys
from sonde.log.chain import Chain
from sonde.log.layout import SegmentHeader, segments_in
from sonde.log.lineage import Lineage, read_lineage
from sonde.log.look import Look
from sonde.log.segments import id_is_whole, partition_path, partitions_in, read_id

_FROM_THE_FIRST: Final[Mapping[int, int]] = MappingProxyType({})

Progress = Callable[[int, int], None]
"""Called now and then with the bytes done and the bytes in all."""


@dataclass(slots=True)
class Verification:
    """What was found. ``torn`` are ``(file, byte, bytes)`` that a crash left after the last whole frame; ``damage`` is
    ``(file, byte, what)``; ``breaks``, of the same form, are places where frames were removed, moved or put in. ``opened``
    counts the frames whose seal was opened too: none without a key ring. ``retired`` counts those whose key was given up."""

    segments: int = 0
    frames: int = 0
    readings: int = 0
    bytes: int = 0
    opened: int = 0
    retired: int = 0
    torn: list[tuple[str, int, int]] = field(default_factory=list)
    damage: list[tuple[str, int, str]] = field(default_factory=list)
    breaks: list[tuple[str, int, str]] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether all is there. A torn tail is no damage: nobody had a receipt for it."""
        return not self.damage and not self.breaks


def verify(path: Path, ring: Keys | None = None, progress: Progress | None = None) -> Verification:
    """Read every frame of the log at ``path`` and check all that can be checked. Changes nothing and needs no lock.
    :class:`NotFound` if there is no log, :class:`Damaged` if not even its id can be read, :class:`KeyMissing`."""
    found = Verification()
    opener = Opener(ring) if ring is not None else None
    lineage = _lineage(path)
    if not id_is_whole(path):
        found.damage.append((str(path / "id"), 0, "the id does not match its checksum"))
    segments = list(_segments(path))
    total = segment_bytes(path)
    for number in partitions_in(path):
        files = [(first, file) for n, first, file in segments if n == number]
        chain = Chain(cut=bool(files) and files[0][0] > 0)
        for look in _looks(lineage, number, files):
            _verify_segment(look, found, chain, opener)
            found.segments += 1
            found.bytes += look.size
            if progress is not None:
                progress(min(found.bytes, total), total)
    return found


def _verify_segment(look: Look, found: Verification, chain: Chain, opener: Opener | None) -> None:
    found.damage += [(str(file), place, what) for file, place, what in look.damage]
    if look.torn is not None:
        found.torn.append((str(look.path), *look.torn))
    for record in look.frames(look.first):
        if isinstance(record, Damaged):
            found.damage.append((record.file, record.offset, record.message))
            chain.lose()
            continue
        place = look.place(record.offset)
        found.frames += 1
        try:
            header = read_header(record.frame, file=str(look.path), offset=place)
            found.readings += header.readings
            wrong = chain.follow(header, record.frame)
            if wrong is not None:
                found.breaks.append((str(look.path), place, wrong))
            if opener is not None:
                _agree(opener.open(record.frame, file=str(look.path), offset=place))
                found.opened += 1
        except KeyRetired:
            found.retired += 1
        except (Damaged, Invalid, NewerFormat) as error:
            found.damage.append((str(look.path), place, error.message))


def _agree(frame: Frame) -> None:
    """:class:`Invalid` unless the header counts what the body holds."""
    if frame.header.readings != frame.body.readings or frame.header.entries != len(frame.body.entries):
        raise Invalid(Problem(None, "frame", "its header counts other entries or readings than it holds"))


def frames(
    path: Path,
    ring: Keys,
    start: Mapping[int, int] = _FROM_THE_FIRST,
    *,
    damaged: Callable[[Damaged], None] | None = None,
) -> Iterator[tuple[int, int, Frame]]:
    """``(partition, offset, frame)`` for every frame of the log at ``path``, partition by partition, from offset
    ``start[partition]`` on, up to what is whole now. Needs no lock. Frames of keys that were retired are left out.

    Damage is raised, or if ``damaged`` is given it is called and reading goes on after it. :class:`NotFound` if there is no
    log, :class:`KeyMissing`, :class:`NewerFormat`.
    """
    opener = Opener(ring)
    lineage = _lineage(path)
    for number in partitions_in(path):
        begin = start.get(number, 0)
        files = segments_in(partition_path(path, number))
        for look in _looks(lineage, number, files, begin):
            for record in look.frames(max(begin, look.first)):
                try:
                    if isinstance(record, Damaged):
                        raise record
                    place = look.place(record.offset)
                    frame = opener.open(record.frame, file=str(look.path), offset=place)
                except KeyRetired:
                    continue
                except (Damaged, Invalid) as error:
                    if damaged is None:
                        raise
                    damaged(error if isinstance(error, Damaged) else _poison(error, look, record.offset))
                    continue
                yield number, record.offset, frame


def _poison(error: Invalid, look: Look, offset: int) -> Damaged:
    """What was sealed is no body of a frame."""
    return Damaged(error.message, file=str(look.path), offset=look.place(offset))


def headers(path: Path) -> Iterator[tuple[int, Iterator[Header | Damaged | NewerFormat]]]:
    """For each segment of the log at ``path`` its bytes, and the headers of its frames; to be taken one after the other."""
    lineage = _lineage(path)
    for number in partitions_in(path):
        for look in _looks(lineage, number, segments_in(partition_path(path, number))):
            yield look.size, look.headers()


def segment_bytes(path: Path) -> int:
    """How large all segments of the log at ``path`` are together."""
    return sum(_size(file) for *_, file in _segments(path))


def ends(path: Path) -> Mapping[int, tuple[int, int]]:
    """For each partition of the log at ``path``, the first offset that is kept and the one after the last whole frame."""
    lineage = _lineage(path)
    found: dict[int, tuple[int, int]] = {}
    for number in partitions_in(path):
        files = segments_in(partition_path(path, number))
        for look in _looks(lineage, number, files[-1:]):
            found[number] = files[0][0], look.next
    return found


def log_id(path: Path) -> str:
    """The id of the log at ``path``. :class:`NotFound` if there is none, :class:`Damaged` if it cannot be read."""
    return _lineage(path).id


def _lineage(path: Path) -> Lineage:
    if not path.is_dir() or not (any(_segments(path)) or (path / "id").exists()):
        raise NotFound(f"there is no log at {path}")
    log = read_id(path)
    if log is None:
        raise Damaged("the id of the log cannot be read", file=str(path / "id"), offset=0)
    return read_lineage(path, log)


def _segments(path: Path) -> Iterator[tuple[int, int, Path]]:
    for number in partitions_in(path):
        for first, file in segments_in(partition_path(path, number)):
            yield number, first, file


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # cut in the meantime
        return 0


def _looks(lineage: Lineage, partition: int, files: list[tuple[int, Path]], begin: int = 0) -> Iterator[Look]:
    """A look at one segment after the other that reaches beyond ``begin``; those cut in the meantime are left out."""
    for i, (first, file) in enumerate(files):
        following = files[i + 1][0] if i + 1 < len(files) else None
        if following is not None and following <= begin:
            continue
        try:
            look = Look(file, SegmentHeader(lineage.log_of(partition, first), partition, first), following)
        except FileNotFoundError:
            continue
        with closing(look):
            yield look
