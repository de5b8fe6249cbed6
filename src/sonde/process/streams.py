"""Where an entry stands in its node's stream: next, after a jump, in a hole, or behind. Without I/O.

Cumulative counts make this exact: every entry says how many readings its stream has up to its end, so a hole knows how
many readings it misses, also when it is filled from the middle.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from sonde.changes import Stream
from sonde.clock import Micros

MAX_HOLES: Final = 1000
"""Holes remembered per stream; the oldest one more is given up and counted as lost."""

_LIMIT: Final = 2**62
_UNKNOWN: Final = -1


class Hole(NamedTuple):
    """Seqs that have not come. ``before``: readings of the stream before it; ``until``: when the first reading after it was
    measured, if that is known."""

    first: int
    last: int
    readings: int
    before: int
    until: Micros | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """What an entry covers: ``first`` to ``last`` seq, ``readings`` in them, ``count`` of the stream at its end; ``time`` of
    the first of them, if it is known."""

    first: int
    last: int
    readings: int
    count: int
    time: Micros | None = None

    @property
    def before(self) -> int:
        return self.count - self.readings


@dataclass(frozen=True, slots=True)
class Placed:
    """The stream once the entry is in it. ``declared``: how many readings more it counts; ``covered``: how many of the
    span's readings had not come before; ``given_up``: holes beyond :data:`MAX_HOLES`."""

    stream: Stream
    declared: int
    covered: int
    given_up: tuple[Hole, ...] = ()


class Inconsistent(ValueError):
    """A count that cannot be: below one already known, or not the sum of its parts."""


def place(stream: Stream, span: Span) -> Placed | None:
    """``stream`` with ``span`` in it; none if all of the span came before. :class:`Inconsistent` changes nothing."""
    if not (0 < span.first <= span.last <= _LIMIT and 0 <= span.readings <= span.count <= _LIMIT):
        raise Inconsistent("its seq or count is not one that a stream can have")
    covered, holes = _fill(_holes(stream), span)
    declared = 0
    seq, count = stream.seq, stream.count
    if span.last > stream.seq:
        declared = span.count - stream.count
        covered += _extend(stream, span, holes)
        seq, count = span.last, span.count
    elif holes == _holes(stream):
        return None
    given_up = tuple(holes[:-MAX_HOLES])
    kept = holes[-MAX_HOLES:]
    moved = Stream(
        stream.source,
        stream.epoch,
        stream.lane,
        seq,
        count,
        tuple(hole[:3] if hole.until is None else (*hole[:3], hole.until) for hole in kept),
        tuple(hole.before for hole in kept),
    )
    return Placed(moved, declared, covered, given_up)


def _holes(stream: Stream) -> list[Hole]:
    before = stream.before if len(stream.before) == len(stream.holes) else (_UNKNOWN,) * len(stream.holes)
    return [
        Hole(first, last, readings, count, until[0] if until else None)
        for (first, last, readings, *until), count in zip(stream.holes, before, strict=True)
    ]


def _extend(stream: Stream, span: Span, holes: list[Hole]) -> int:
    """Add the hole that ``span`` leaves behind itself, if any; how many of its readings lie beyond the stream."""
    missing = span.before - stream.count
    overlaps, follows = span.first <= stream.seq, span.first == stream.seq + 1
    if (
        (missing > 0 and overlaps)
        or (missing < 0 and not overlaps)
        or (missing and follows)
        or span.count < stream.count
    ):
        raise Inconsistent(f"its count does not follow from the {stream.count} readings up to seq {stream.seq}")
    if not overlaps and not follows:
        holes.append(Hole(stream.seq + 1, span.first - 1, missing, stream.count, span.time))
    return span.count - (stream.count if overlaps else span.before)


def _fill(holes: list[Hole], span: Span) -> tuple[int, list[Hole]]:
    """How many readings of ``span`` fall into ``holes``, and what is left of them."""
    filled, left = 0, []
    for hole in holes:
        first, last, readings, before, until = hole
        if last < span.first or first > span.last:
            left.append(hole)
            continue
        if before == _UNKNOWN:  # entries of a stream come in order: the first to come fits its beginning
            before = span.before if span.first == first else span.count - readings
        start = span.before if span.first > first else before
        end = span.count if span.last < last else before + readings
        whole = span.first >= first and span.last <= last
        exact = (span.first != first or span.before == before) and (
            span.last != last or span.count == before + readings
        )
        if not before <= start <= end <= before + readings or (whole and not exact):
            raise Inconsistent(f"its count does not fit the hole from seq {first} to {last}")
        if span.first > first:
            left.append(Hole(first, span.first - 1, start - before, before, until if span.time is None else span.time))
        if span.last < last:
            left.append(Hole(span.last + 1, last, before + readings - end, end, until))
        filled += end - start
    return filled, left
