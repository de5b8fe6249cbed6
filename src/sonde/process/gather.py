"""Reading the log: frames opened, in order, up to a micro-batch. Nothing is skipped in silence."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sonde.clock import Clock, Micros
from sonde.entry import Body, EntryKind
from sonde.errors import Damaged, Invalid, KeyRetired, NewerFormat, Reject, SondeError
from sonde.frame import MAGIC, Header, Opener, read_header, unsealed
from sonde.ports import Log, ReadEvents, Record

READ_BYTES: Final = 4 << 20  # of sealed frames a read, about 400,000 readings
_BODY_BYTES: Final = 256 << 20  # of opened frames a micro-batch
_LOOK_AHEAD: Final = 8 << 20
_KINDS: Final = frozenset(EntryKind)


@dataclass(frozen=True, slots=True)
class Opened:
    """A frame of the log, opened."""

    offset: int
    header: Header
    body: Body


@dataclass(frozen=True, slots=True)
class Unread:
    """A stretch of the log, from ``offset`` up to ``next_offset``, whose content is lost or means nothing."""

    offset: int
    next_offset: int
    readings: int  # as far as is known
    reason: str  # poison | damaged | retired
    why: str
    record: Record | None = None  # what it is, if it is one record that may mean something once a mistake is mended


class Gatherer:
    """Opens the frames of one partition in order.

    ``turns`` says whether a frame, perhaps after another that does, changes what the readings after it mean: it never
    shares a micro-batch with readings that came before it. ``read_bytes`` of sealed frames are read at once. ``events``
    reads what other programs wrote into the log; without it, such a record means nothing. It came no earlier than what
    stands before it, whatever its producer's clock says; the last of that came at ``came``.
    """

    def __init__(
        self,
        log: Log,
        partition: int,
        opener: Opener,
        offset: int,
        *,
        clock: Clock,
        turns: Callable[[Opened, bool], bool],
        read_bytes: int = READ_BYTES,
        events: ReadEvents | None = None,
        came: Micros = 0,
    ) -> None:
        self._came = came
        self._events = events
        self._read_bytes = read_bytes
        self._log = log
        self._partition = partition
        self._opener = opener
        self._offset = offset  # of the next frame to be opened
        self._clock = clock
        self._turns = turns
        self._records: deque[Record] = deque()
        self._next: Opened | None = None
        self._proved: deque[bytes] = deque(maxlen=64)  # sessions of which a frame was opened

    def gather(self, wait: float, until: float, max_readings: int) -> Sequence[Opened] | Unread:
        """Frames for one step: none after waiting ``wait`` seconds, else what comes up to the moment ``until``.

        What cannot be read comes alone. Raises what keeps the log from being read at all, once everything before that
        place has been given out.
        """
        frames: list[Opened] = []
        readings = size = 0
        turned = False
        while readings < max_readings and size < _BODY_BYTES:
            try:
                frame = self._take(until - self._clock.monotonic() if frames else wait, bool(frames))
            except SondeError:
                if frames:
                    break  # and again when it is first
                raise
            if frame is None:
                break
            if isinstance(frame, Unread):
                if not frames:
                    return frame
                self._put_back(frame)
                break
            turns = self._turns(frame, turned)
            if turns and readings:
                self._put_back(frame)
                break
            turned = turned or turns
            frames.append(frame)
            readings += frame.body.readings
            size += frame.body.batch.columns.nbytes if frame.body.batch is not None else 0
        return frames

    def _put_back(self, frame: Opened | Unread) -> None:
        if isinstance(frame, Opened):
            self._next = frame
        else:
            self._records.clear()
            self._offset = frame.offset

    def _take(self, wait: float, has_some: bool) -> Opened | Unread | None:
        if self._next is not None:
            frame, self._next = self._next, None
            return frame
        if not self._records and not (has_some and wait <= 0):
            try:
                self._records.extend(self._log.read(self._partition, self._offset, self._read_bytes, max(0.0, wait)))
            except Damaged as error:
                return self._beyond(error)
        if not self._records:
            return None
        opened = self._open(self._records[0])
        self._offset = opened.next_offset if isinstance(opened, Unread) else opened.offset + 1
        if isinstance(opened, Opened):
            self._came = max(self._came, opened.header.log_time)
        while self._records and self._records[0].offset < self._offset:
            self._records.popleft()
        return opened

    def _beyond(self, damage: Damaged) -> Unread:
        if damage.next_offset is None or damage.next_offset <= self._offset:
            raise damage
        lost = Unread(self._offset, damage.next_offset, 0, "damaged", str(damage))
        self._offset = damage.next_offset
        return lost

    def _open(self, record: Record) -> Opened | Unread:
        """The frame in ``record``, or what is known of it if it can never mean anything."""
        if self._events is not None and not record.frame.startswith(MAGIC):
            return self._open_events(record, self._events)
        name = f"partition {self._partition} of the log, frame {record.offset}"
        try:
            frame = self._opener.open(record.frame, file=name)
        except Invalid as error:
            return self._unread(record, "poison", str(error))
        except KeyRetired as error:
            return self._retired(error)
        except Damaged as error:
            if not self._sound_session(record):
                raise
            return self._unread(record, "damaged", str(error))
        for entry in frame.body.entries:
            if entry.kind not in _KINDS:
                raise NewerFormat(
                    f"{name} holds an entry of kind {entry.kind}",
                    hint="Go on with the Sonde that wrote it, or a newer one; nothing was skipped",
                )
        if frame.header.session not in self._proved:
            self._proved.append(frame.header.session)
        return Opened(record.offset, frame.header, frame.body)

    def _open_events(self, record: Record, events: ReadEvents) -> Opened | Unread:
        """What another program wrote into the log."""
        try:
            body = events(record.frame, record.time)
        except Reject as error:
            return self._unread(record, "poison", f"neither a frame nor events: {error}")
        frame = unsealed(body, max(record.time, self._came), len(record.frame))
        return Opened(record.offset, frame.header, frame.body)

    def _unread(self, record: Record, reason: str, why: str) -> Unread:
        header = _header(record)
        return Unread(record.offset, record.offset + 1, header.readings if header else 0, reason, why, record)

    def _retired(self, error: KeyRetired) -> Unread:
        """All frames at hand, from the first on, whose key was given up: they may be very many, and are passed over at once."""
        first, readings, end = self._records[0].offset, 0, 0
        for record in self._records:
            header = _header(record)
            if header is None or header.key != error.name:
                break
            readings, end = readings + header.readings, record.offset + 1
        return Unread(first, end, readings, "retired", str(error))

    def _sound_session(self, record: Record) -> bool:
        """Whether another frame of the same writer session opens: then this one was changed, else its key is wrong."""
        header = _header(record)
        if header is None or header.session in self._proved:
            return True
        for other in self._log.read(self._partition, record.offset + 1, _LOOK_AHEAD):
            following = _header(other)
            if following is not None and following.session != header.session:
                return False
            try:
                self._opener.open(other.frame)
            except (Damaged, Invalid, KeyRetired):
                continue
            self._proved.append(header.session)
            return True
        return False


def _header(record: Record) -> Header | None:
    """What a frame says without a key; none if even that was changed."""
    try:
        return read_header(record.frame)
    except Damaged:
        return None
