"""A log in files as it stands, read without its lock while another program may be writing it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sonde.errors import Damaged, Hold, NewerFormat, NotFound
from sonde.frame import Frame, Header
from sonde.keyring import Keys
from sonde.log import check
from sonde.log.chain import Chain
from sonde.log.check import FROM_THE_FIRST, Progress, Verification
from sonde.log.layout import SegmentHeader, segments_in
from sonde.log.lineage import Lineage, read_lineage
from sonde.log.look import Look
from sonde.log.segments import id_is_whole, partition_path, partitions_in, read_id
from sonde.ports import Record


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of a segment besides its frames: ``torn`` bytes at its end (place and number), and ``damage``."""

    path: Path
    size: int
    torn: tuple[int, int] | None
    damage: Sequence[tuple[Path, int, str]]


class WalkedLog:
    """The port ``Log`` for whoever only reads: nothing is changed, and nothing waits. :class:`NotFound` if there is no log at
    ``path``, :class:`Damaged` if not even its id can be read.

    For one thread. ``seen`` are the segments that were looked at, by partition and first offset.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lineage = _lineage(path)
        self._looks: dict[int, Look] = {}  # by partition, the one that is read
        self.id = self._lineage.id
        self.seen: dict[tuple[int, int], Seen] = {}

    def append(self, partition: int, frames: Sequence[bytes]) -> int:
        """Refused."""
        raise Hold(f"the log at {self._path} is only looked at")

    def read(self, partition: int, offset: int, limit_bytes: int, wait: float = 0.0) -> Sequence[Record]:
        """See :meth:`sonde.ports.Log.read`; it does not wait."""
        return self._look(partition, offset).read(offset, limit_bytes)

    def ends(self) -> Mapping[int, tuple[int, int]]:
        """See :meth:`sonde.ports.Log.ends`; up to the last whole frame."""
        found: dict[int, tuple[int, int]] = {}
        for number in partitions_in(self._path):
            files = segments_in(partition_path(self._path, number))
            if files:
                found[number] = files[0][0], self._opened(number, files, len(files) - 1).next
        return found

    def cut(self, partition: int, below: int) -> None:
        """Refused."""
        raise Hold(f"the log at {self._path} is only looked at")

    def close(self) -> None:
        for look in self._looks.values():
            look.close()
        self._looks.clear()

    def place(self, partition: int, offset: int) -> tuple[str, int]:
        """The file and byte of a frame that was just read."""
        look = self._looks[partition]
        return str(look.path), look.place(offset)

    def _look(self, partition: int, offset: int) -> Look:
        """The look at the segment with ``offset``, or at the last one."""
        held = self._looks.get(partition)
        if held is not None and held.first <= offset < held.reach:
            return held
        files = segments_in(partition_path(self._path, partition))
        before = [i for i, (first, _) in enumerate(files) if first <= offset]
        if not before:
            raise NotFound(f"offset {offset} of partition {partition} is not kept any more")
        return self._opened(partition, files, before[-1])

    def _opened(self, partition: int, files: list[tuple[int, Path]], i: int) -> Look:
        first, file = files[i]
        following = files[i + 1][0] if i + 1 < len(files) else None
        try:
            look = Look(file, SegmentHeader(self._lineage.log_of(partition, first), partition, first), following)
        except FileNotFoundError:
            raise NotFound(f"{file} was cut meanwhile") from None
        if (held := self._looks.pop(partition, None)) is not None:
            held.close()
        self._looks[partition] = look
        self.seen[partition, first] = Seen(look.path, look.size, look.torn, look.damage)
        return look


def verify(path: Path, ring: Keys | None = None, progress: Progress | None = None) -> Verification:
    """Read every frame of the log at ``path`` and check all that can be checked. Changes nothing and needs no lock.
    :class:`NotFound` if there is no log, :class:`Damaged` if not even its id can be read, :class:`KeyMissing`."""
    with closing(WalkedLog(path)) as log:
        found = check.check(log, ring, progress, where=log.place, chain=lambda cut: Chain(cut=cut))
        seen = list(log.seen.values())
    if not id_is_whole(path):
        found.damage.insert(0, (str(path / "id"), 0, "the id does not match its checksum"))
    found.damage += [(str(file), place, what) for one in seen for file, place, what in one.damage]
    found.torn += [(str(one.path), *one.torn) for one in seen if one.torn is not None]
    found.segments = len(seen)
    found.bytes = sum(one.size for one in seen)
    return found


def frames(
    path: Path,
    ring: Keys,
    start: Mapping[int, int] = FROM_THE_FIRST,
    *,
    damaged: Callable[[Damaged], None] | None = None,
) -> Iterator[tuple[int, int, Frame]]:
    """:func:`sonde.log.check.frames` of the log at ``path``. :class:`NotFound` if there is none."""
    with closing(WalkedLog(path)) as log:
        yield from check.frames(log, ring, start, where=log.place, damaged=damaged)


def ends(path: Path) -> Mapping[int, tuple[int, int]]:
    """For each partition of the log at ``path``, the first offset that is kept and the one after the last whole frame."""
    with closing(WalkedLog(path)) as log:
        return log.ends()


def headers(path: Path) -> Iterator[tuple[int, Iterator[Header | Damaged | NewerFormat]]]:
    """For each segment of the log at ``path`` its bytes, and the headers of its frames; to be taken one after the other."""
    lineage = _lineage(path)
    for number in partitions_in(path):
        for look in _looks(lineage, number, segments_in(partition_path(path, number))):
            yield look.size, look.headers()


def segment_bytes(path: Path) -> int:
    """How large all segments of the log at ``path`` are together."""
    return sum(_size(file) for *_, file in _segments(path))


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


def _looks(lineage: Lineage, partition: int, files: list[tuple[int, Path]]) -> Iterator[Look]:
    """A look at one segment after the other; those cut in the meantime are left out."""
    for i, (first, file) in enumerate(files):
        following = files[i + 1][0] if i + 1 < len(files) else None
        try:
            look = Look(file, SegmentHeader(lineage.log_of(partition, first), partition, first), following)
        except FileNotFoundError:
            continue
        with closing(look):
            yield look
