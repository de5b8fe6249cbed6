"""What in a step is new: every entry and every ``event_id`` is stored once.

A node's entry is placed by its seq; a request by its key; a reading with an ``event_id`` by that. The rest is new each
time. Identities are recorded before the store commits and always with the same place, so doing it again changes nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sonde.changes import Stream
from sonde.clock import Micros
from sonde.entry import Entry, EntryKind
from sonde.ports import Claim, Identities
from sonde.process.gather import Opened
from sonde.process.identity import EventKeys, of_entry, of_events
from sonde.process.ledger import Place, Tally
from sonde.process.streams import Inconsistent, Placed, Span, place
from sonde.reading import Batch

_DIGEST_BYTES: Final = 8
_LANES: Final = 128
StreamKey = tuple[str, str, int]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive rows of one frame that came from one source and lane."""

    source: str
    lane: int
    offset: int
    log_time: Micros
    rows: int


@dataclass(slots=True)
class Sifted:
    """What is new: batches of readings, one a frame that has any; where their rows come from; all other entries."""

    batches: list[Batch] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    entries: list[tuple[Place, Entry]] = field(default_factory=list)
    streams: dict[StreamKey, Stream] = field(default_factory=dict)


class Dedupe:
    """Knows the streams of all nodes, and asks :class:`Identities` about everything else."""

    def __init__(self, identities: Identities, partition: int, streams: Iterable[Stream]) -> None:
        self._identities = identities
        self._partition = partition
        self._streams: dict[StreamKey, Stream] = {(s.source, s.epoch, s.lane): s for s in streams}

    def sift(self, frames: Sequence[Opened], tally: Tally) -> Sifted:
        """What of ``frames`` is new. What is not is in the ``tally``."""
        sifted = Sifted()
        repeated = self._repeated(frames)
        kept: list[Kept] = []
        for number, frame in enumerate(frames):
            keep = Kept(frame)
            for i, entry in enumerate(frame.body.entries):
                spot = Place(frame.offset, i, frame.header.log_time)
                if self._is_new(spot, entry, keep, repeated.get((number, i)), tally, sifted):
                    keep.take(spot, entry, sifted)
                else:
                    keep.drop(entry)
            kept.append(keep)
        self._sift_events(kept, tally)
        for keep in kept:
            keep.gather(tally, sifted)
        return sifted

    def _repeated(self, frames: Sequence[Opened]) -> dict[tuple[int, int], Claim | None]:
        """For each entry that has an identity, the earlier claim on it, or none."""
        claims, places = [], []
        for number, frame in enumerate(frames):
            for i, entry in enumerate(frame.body.entries):
                key = of_entry(entry)
                if key is not None:
                    claims.append(Claim(key, frame.offset, i, entry.digest[:_DIGEST_BYTES]))
                    places.append((number, i))
        return dict(zip(places, self._earlier(claims, frames), strict=True))

    def _earlier(self, claims: list[Claim], frames: Sequence[Opened]) -> list[Claim | None]:
        if not claims:
            return []
        firsts = self._identities.first(self._partition, claims, frames[-1].header.log_time)
        # In a rebuild, an identity that was forgotten in between may be remembered from a later place: then both are kept,
        # as they were the first time.
        return [
            first if (first.offset, first.position) < (claim.offset, claim.position) else None
            for claim, first in zip(claims, firsts, strict=True)
        ]

    def _is_new(
        self, spot: Place, entry: Entry, keep: "Kept", earlier: Claim | None, tally: Tally, sifted: Sifted
    ) -> bool:
        if not 0 <= entry.lane < _LANES:
            tally.set_aside(spot, entry, entry.rows, f"there is no lane {entry.lane}")
        elif entry.rows and entry.kind != EntryKind.READINGS:
            tally.set_aside(spot, entry, entry.rows, f"an entry of kind {entry.kind} carries readings")
        elif entry.epoch:
            return self._is_new_in_stream(spot, entry, keep, earlier, tally, sifted)
        elif earlier is None:
            tally.add(entry.source, entry.lane, declared=entry.rows)
            return True
        elif earlier.digest == entry.digest[:_DIGEST_BYTES]:
            tally.add(entry.source, entry.lane, duplicate=entry.rows)
        else:
            why = f"its key came before, in the frame at offset {earlier.offset}, with another content"
            tally.set_aside(spot, entry, entry.rows, why)
        return False

    def _is_new_in_stream(
        self, spot: Place, entry: Entry, keep: "Kept", earlier: Claim | None, tally: Tally, sifted: Sifted
    ) -> bool:
        name = (entry.source, entry.epoch, entry.lane)
        stream = self._streams.get(name) or Stream(*name, 0, 0)
        try:
            follows = entry.seq == stream.seq + 1 and not stream.holes
            span = _span(entry, None if follows else keep.time_of(entry))  # which only a hole has to know
            placed = place(stream, span)
        except Inconsistent as error:
            tally.set_aside(spot, entry, entry.rows, f"seq {entry.seq}: {error}")
            return False
        if placed is None:
            if earlier is not None:
                tally.add(entry.source, entry.lane, duplicate=entry.rows)
            elif entry.kind != EntryKind.TOMBSTONE:  # which yields to what is there
                tally.set_aside(spot, entry, entry.rows, f"seq {entry.seq} came before, with another content")
            return False
        self._streams[name] = sifted.streams[name] = placed.stream
        tally.add(entry.source, entry.lane, declared=placed.declared)
        for hole in placed.given_up:
            tally.add(entry.source, entry.lane, lost=hole.readings)
            why = "given up: the stream has too many holes"
            tally.mark(spot, entry, "lost", (hole.first, hole.last), hole.readings, why)
        if entry.kind == EntryKind.TOMBSTONE:
            _declare_lost(spot, entry, span, placed, tally)
        return entry.kind != EntryKind.TOMBSTONE

    def _sift_events(self, kept: Sequence["Kept"], tally: Tally) -> None:
        """Drop readings whose ``event_id`` came before; asked only now, so that what was set aside claims nothing."""
        found = [(keep, keys) for keep in kept if (keys := keep.events()) is not None]
        claims = [
            Claim(key, keep.frame.offset, int(row), digest)
            for keep, keys in found
            for row, key, digest in zip(keys.rows.tolist(), keys.keys, keys.digests, strict=True)
        ]
        earlier = self._earlier(claims, [keep.frame for keep in kept])
        at = 0
        for keep, keys in found:
            keep.drop_events(keys, earlier[at : at + len(keys.rows)], tally)
            at += len(keys.rows)


def _span(entry: Entry, time: Micros | None) -> Span:
    if entry.kind != EntryKind.TOMBSTONE:
        return Span(entry.seq, entry.seq, entry.rows, entry.count, time)
    payload: Any = entry.payload
    until = payload.get("until") if isinstance(payload, dict) else None
    readings = payload.get("readings") if isinstance(payload, dict) else None
    if not isinstance(until, int) or not isinstance(readings, int):
        raise Inconsistent("a tombstone that does not say until which seq it stands, and for how many readings")
    return Span(entry.seq, until, readings, entry.count)


def _declare_lost(spot: Place, entry: Entry, span: Span, placed: Placed, tally: Tally) -> None:
    reason = str(entry.payload.get("reason", ""))
    column = "refused" if reason.startswith("refused") else "lost"
    tally.add(entry.source, entry.lane, **{column: placed.covered})
    tally.mark(spot, entry, "lost", (span.first, span.last), placed.covered, reason or "declared lost by its node")


class Kept:
    """The rows of one frame that are new."""

    def __init__(self, frame: Opened) -> None:
        self.frame = frame
        self._mask: Mask | None = None  # none: all
        self._at = 0
        self._spans: list[tuple[Place, Entry, int]] = []

    def time_of(self, entry: Entry) -> Micros | None:
        """When the first reading of the entry that comes next was measured; None if it has none."""
        batch = self.frame.body.batch
        return None if batch is None or not entry.rows else batch.columns.column("time")[self._at].value

    def take(self, spot: Place, entry: Entry, sifted: Sifted) -> None:
        if entry.kind == EntryKind.READINGS:
            self._spans.append((spot, entry, self._at))
        else:
            sifted.entries.append((spot, entry))
        self._at += entry.rows

    def drop(self, entry: Entry) -> None:
        if entry.rows:
            self._kept_rows()[self._at : self._at + entry.rows] = False
        self._at += entry.rows

    def _kept_rows(self) -> Mask:
        if self._mask is None:
            self._mask = np.ones(self.frame.body.readings, np.bool_)
        return self._mask

    def events(self) -> EventKeys | None:
        batch = self.frame.body.batch
        return of_events(batch, self._mask) if batch is not None and self._spans else None

    def drop_events(self, keys: EventKeys, earlier: Sequence[Claim | None], tally: Tally) -> None:
        """Take out the rows whose identity was claimed before, entry by entry."""
        known = np.array([claim is not None for claim in earlier], np.bool_)
        if not known.any():
            return
        same = [
            claim is not None and claim.digest == digest for claim, digest in zip(earlier, keys.digests, strict=True)
        ]
        repeats, conflicts = keys.rows[known & same], keys.rows[known & ~np.array(same)]
        self._kept_rows()[keys.rows[known]] = False
        for spot, entry, start in self._spans:
            duplicate = _within(repeats, start, entry.rows)
            conflicting = _within(conflicts, start, entry.rows)
            if duplicate:
                tally.add(entry.source, entry.lane, declared=-duplicate, duplicate=duplicate)
            if conflicting:
                tally.add(entry.source, entry.lane, declared=-conflicting)
                tally.set_aside(spot, entry, conflicting, "event_id came before, with another value")

    def gather(self, tally: Tally, sifted: Sifted) -> None:
        """Add what is kept to ``sifted``, neighbours of one source and lane as one piece."""
        pieces: list[Piece] = []
        for _, entry, start in self._spans:
            rows = entry.rows
            if self._mask is not None:
                rows = int(np.count_nonzero(self._mask[start : start + rows]))
            if not rows:
                continue
            if pieces and (pieces[-1].source, pieces[-1].lane) == (entry.source, entry.lane):
                rows += pieces.pop().rows
            pieces.append(Piece(entry.source, entry.lane, self.frame.offset, self.frame.header.log_time, rows))
        batch = self.frame.body.batch
        if batch is None or not pieces:
            return
        for piece in pieces:
            tally.add(piece.source, piece.lane, stored=piece.rows)
        sifted.pieces.extend(pieces)
        sifted.batches.append(batch if self._mask is None else Batch(batch.columns.filter(self._mask)))


def _within(rows: npt.NDArray[np.int64], start: int, length: int) -> int:
    first, last = np.searchsorted(rows, [start, start + length])
    return int(last - first)
