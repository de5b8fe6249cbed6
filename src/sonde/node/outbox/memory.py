"""The outbox in memory: for tests, and where nothing may be written."""

import secrets
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from sonde.clock import Clock, Micros, SystemClock
from sonde.entry import EntryKind, Lane
from sonde.errors import Conflict, NotFound, Retry
from sonde.node.outbox import tombstone
from sonde.ports import Noted, Outgoing, Stage, Waiting

_OVERHEAD: Final = 200  # bytes of an entry besides its content


@dataclass(slots=True)
class _Lane:
    seq: int = 0
    count: int = 0
    confirmed: int = 0
    bytes: int = 0
    waiting: deque[tuple[Micros, Outgoing]] = field(default_factory=deque)
    letters: list[Outgoing] = field(default_factory=list)
    peeked: dict[int, int] = field(default_factory=dict)


class MemoryOutbox:
    """An :class:`sonde.ports.Outbox` that is gone when the program ends."""

    def __init__(self, *, limit_bytes: int = 64 << 20, clock: Clock | None = None, epoch: str = "") -> None:
        self.epoch = epoch or secrets.token_hex(8)
        self.book_epoch = secrets.token_hex(8)
        self._book: dict[str, tuple[Noted, Stage]] = {}
        self._limit = limit_bytes
        self._clock = clock or SystemClock()
        self._lanes = {lane: _Lane() for lane in tombstone.LANES}
        self._lock = threading.Lock()

    def put(self, lane: int, kind: int, content: bytes, readings: int) -> int:
        with self._lock:
            return self._put(lane, kind, content, readings)

    def peek(self, lane: int, limit_bytes: int) -> Sequence[Outgoing]:
        with self._lock:
            found: list[Outgoing] = []
            size = 0
            for _, entry in self._lanes[lane].waiting:
                size += len(entry.content)
                if found and size > limit_bytes:
                    break
                found.append(entry)
            self._lanes[lane].peeked = {entry.until: entry.count for entry in found}
            return found

    def confirm(self, lane: int, seq: int) -> None:
        with self._lock:
            at = self._lanes[lane]
            if seq > at.seq:
                self._new_epoch()
                return
            while at.waiting and at.waiting[0][1].until <= seq:
                at.bytes -= _cost(at.waiting.popleft()[1])
            at.confirmed = max(at.confirmed, seq)
            if at.waiting and at.waiting[0][1].seq <= seq:
                self._shorten(at, seq)

    def reject(self, lane: int, seq: int, reason: str) -> None:
        with self._lock:
            at = self._lanes[lane]
            for place, (time, entry) in enumerate(at.waiting):
                if entry.seq == seq:
                    grave = _stone(seq, entry.until, entry.readings, entry.count, f"refused: {reason}")
                    at.waiting[place] = (time, grave)
                    at.bytes += _cost(grave) - _cost(entry)
                    at.letters.append(entry)
                    while sum(map(_cost, at.letters)) > self._limit // 8:
                        del at.letters[0]
                    return
            raise NotFound(f"the outbox holds no entry {seq} in lane {tombstone.LANES[lane]}")

    def retry(self) -> int:
        with self._lock:
            done = 0
            for lane, at in self._lanes.items():
                letters, at.letters = at.letters, []
                for entry in letters:
                    self._put(lane, entry.kind, entry.content, entry.readings)
                done += len(letters)
            return done

    def waiting(self) -> Sequence[Waiting]:
        with self._lock:
            return [
                Waiting(
                    lane,
                    len(at.waiting),
                    sum(entry.readings for _, entry in at.waiting),
                    at.bytes,
                    at.waiting[0][0] if at.waiting else None,
                    len(at.letters),
                )
                for lane, at in self._lanes.items()
            ]

    def last(self, lane: int) -> int:
        """The newest seq given out in a lane; 0 for none."""
        return self._lanes[lane].seq

    def advance(self, epoch: str, noted: Noted, stage: Stage, step: bytes) -> int | None:
        with self._lock:
            if stage != Stage.DONE and epoch != self.book_epoch:
                raise Conflict(f"the command book has another epoch than {epoch}: something in it may be missing")
            known = self._book.get(noted.id)
            if known is not None and known[1] >= stage:
                return None
            seq = self._put(Lane.CONTROL, EntryKind.COMMAND, step, 0)
            self._book[noted.id] = noted, stage
            return seq

    def stage(self, id: str) -> Stage | None:
        known = self._book.get(id)
        return None if known is None else known[1]

    def running(self) -> Sequence[Noted]:
        with self._lock:
            return [noted for noted, stage in self._book.values() if stage == Stage.RUNNING]

    def close(self) -> None:
        pass

    def _put(self, lane: int, kind: int, content: bytes, readings: int) -> int:
        at = self._lanes[lane]
        seq, count = at.seq + 1, at.count + readings
        if kind == EntryKind.TOMBSTONE:
            content = tombstone.encode(seq, readings, tombstone.reason_of(content))
        entry = Outgoing(kind, seq, seq, readings, count, tombstone.digest_of(content), content)
        if not self._make_room(_cost(entry)):
            if lane == Lane.CONTROL:
                raise Retry("the outbox is full of messages that may not be dropped", hint="Is the sink reachable?")
            entry = _stone(seq, seq, readings, count, tombstone.DROPPED)
        at.seq, at.count = seq, count
        at.bytes += _cost(entry)
        at.waiting.append((self._clock.now(), entry))
        return seq

    def _make_room(self, size: int) -> bool:
        for lane in (Lane.BACKLOG, Lane.LIVE):
            at = self._lanes[lane]
            run: list[Outgoing] = []
            time = at.waiting[0][0] if at.waiting else 0
            while at.waiting and self._bytes() + size + 2 * _OVERHEAD > self._limit:
                entry = at.waiting.popleft()[1]
                at.bytes -= _cost(entry)
                run.append(entry)
            if run:
                lost = sum(entry.readings for entry in run)
                grave = _stone(run[0].seq, run[-1].until, lost, run[-1].count, tombstone.DROPPED)
                at.waiting.appendleft((time, grave))
                at.bytes += _cost(grave)
        return self._bytes() + size <= self._limit

    def _bytes(self) -> int:
        return sum(at.bytes for at in self._lanes.values())

    def _shorten(self, at: _Lane, seq: int) -> None:
        """A sink has taken a part of what became a tombstone meanwhile: only the rest is lost."""
        time, entry = at.waiting[0]
        readings = entry.count - at.peeked[seq] if seq in at.peeked else entry.readings
        at.waiting[0] = (time, _stone(seq + 1, entry.until, readings, entry.count, tombstone.DROPPED))

    def _new_epoch(self) -> None:
        """A sink knows more than was ever given out: what waits is numbered anew, from 1."""
        self.epoch = secrets.token_hex(8)
        self.book_epoch = secrets.token_hex(8)
        for at in self._lanes.values():
            seq, count = at.confirmed, at.count - sum(entry.readings for _, entry in at.waiting)
            at.waiting = deque((time, _renumber(entry, seq, count)) for time, entry in at.waiting)
            at.seq, at.count, at.confirmed, at.peeked = at.seq - seq, at.count - count, 0, {}


def _cost(entry: Outgoing) -> int:
    return len(entry.content) + _OVERHEAD


def _stone(seq: int, until: int, readings: int, count: int, reason: str) -> Outgoing:
    content = tombstone.encode(until, readings, reason)
    return Outgoing(EntryKind.TOMBSTONE, seq, until, readings, count, tombstone.digest_of(content), content)


def _renumber(entry: Outgoing, seq: int, count: int) -> Outgoing:
    if entry.kind == EntryKind.TOMBSTONE:
        reason = tombstone.reason_of(entry.content)
        return _stone(entry.seq - seq, entry.until - seq, entry.readings, entry.count - count, reason)
    return msgspec.structs.replace(entry, seq=entry.seq - seq, until=entry.until - seq, count=entry.count - count)
