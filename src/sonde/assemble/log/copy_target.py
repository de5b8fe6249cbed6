"""The log that another one is copied into: how far each of its partitions has come, and what waits to be written."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from sonde.clock import Micros
from sonde.codec import Codec
from sonde.entry import Body, Entry, EntryKind
from sonde.errors import Damaged, Hold, Invalid, KeyRetired
from sonde.frame import NO_TAG, Frame, Opener, Sealer, tag
from sonde.keyring import Keys
from sonde.ports import Log, Record

_MARK: Final = "copied"
_WRITERS: Final = 8
_LOOK_BYTES: Final = 4 << 20


@dataclass(slots=True)
class _Partition:
    """``next``: the first offset of the source that it lacks. ``log_time`` is that of its last frame; none: it is empty."""

    number: int
    sealer: Sealer
    next: int = 0
    log_time: Micros | None = None
    waiting: list[bytes] = field(default_factory=list)


class Target:
    """``log`` as the copy of the log whose id is ``source``. Every frame that is put into it says how far it brings its
    partition; so the last frame of each says where to go on. :class:`Hold` if it holds anything else."""

    def __init__(self, log: Log, ring: Keys, codec: Codec, source: str) -> None:
        self._log, self._source = log, source
        self.waiting_bytes = self.waiting_frames = 0
        opener, ends = Opener(ring), log.ends()
        self._of = len(ends)
        self._partitions = {
            number: self._open(number, _last(log, number, *ends[number]), opener, ring, codec)
            for number in sorted(ends)
        }

    @property
    def began(self) -> bool:
        """Whether anything was copied before."""
        return any(partition.log_time is not None for partition in self._partitions.values())

    def put(self, number: int, offset: int, body: Body, log_time: Micros) -> None:
        """What of the source's frame at ``offset`` goes into a partition, unless it has that already."""
        partition = self._partitions[number]
        if offset < partition.next:
            return
        mark = Entry(EntryKind.TICK, payload={_MARK: {"log": self._source, "offset": offset, "of": self._of}})
        frame = partition.sealer.seal(Body([*body.entries, mark], body.batch), log_time)
        partition.waiting.append(frame)
        partition.next, partition.log_time = offset + 1, log_time
        self.waiting_bytes += len(frame)
        self.waiting_frames += 1

    def tick(self, offset: int, log_time: Micros, older: Micros) -> None:
        """Let every partition whose last frame is older know that the source has come to ``offset``, and when."""
        for partition in self._partitions.values():
            if partition.log_time is None or partition.log_time < older:
                self.put(partition.number, offset, Body([]), log_time)

    def end(self, offset: int, log_time: Micros) -> None:
        """Let every partition know that there is nothing more up to ``offset``."""
        for partition in self._partitions.values():
            self.put(partition.number, offset, Body([]), log_time)

    def flush(self) -> None:
        """Make durable what was put. :class:`Retry`: nobody knows what of it is; make another one of these."""
        full = [partition for partition in self._partitions.values() if partition.waiting]
        with ThreadPoolExecutor(_WRITERS, thread_name_prefix="sonde-copy") as writers:
            for written in [writers.submit(self._log.append, p.number, p.waiting) for p in full]:
                written.result()
        for partition in full:
            partition.waiting = []
        self.waiting_bytes = self.waiting_frames = 0

    def _open(self, number: int, last: Record | None, opener: Opener, ring: Keys, codec: Codec) -> _Partition:
        if last is None:
            return _Partition(number, Sealer(ring, codec, NO_TAG))
        try:
            frame = opener.open(last.frame)
        except (Damaged, Invalid, KeyRetired):
            raise self._foreign(number) from None
        mark = _mark_of(frame)
        if mark.get("log") != self._source:
            raise self._foreign(number)
        if mark.get("of") != self._of:
            raise Hold(
                f"the copy was begun into {mark.get('of')} partitions, and now there are {self._of}",
                hint="What belongs together would be torn apart: begin again with a new log",
            )
        previous = tag(frame.header.codec, last.frame)
        return _Partition(number, Sealer(ring, codec, previous), int(mark["offset"]) + 1, frame.header.log_time)

    def _foreign(self, number: int) -> Hold:
        return Hold(
            f"partition {number} of the target ends with something that is no copy of this log",
            hint="Name a log that is new. If this copy is done and servers write there now, all is well: do nothing",
        )


def _last(log: Log, number: int, first: int, end: int) -> Record | None:
    """The last frame of a partition; a log may have holes."""
    look = 1
    while first < end:
        offset, found = max(first, end - look), None
        while offset < end and (records := _read(log, number, offset)):
            found, offset = records[-1], records[-1].offset + 1
        if found is not None or end - look <= first:
            return found
        look *= 16
    return None


def _read(log: Log, number: int, offset: int) -> Sequence[Record]:
    try:
        return log.read(number, offset, _LOOK_BYTES, 5.0)
    except Damaged:
        return ()


def _mark_of(frame: Frame) -> Mapping[str, Any]:
    for entry in reversed(frame.body.entries):
        if (
            entry.kind == EntryKind.TICK
            and isinstance(entry.payload, dict)
            and isinstance(entry.payload.get(_MARK), dict)
        ):
            found: Mapping[str, Any] = entry.payload[_MARK]
            return found
    return {}
