"""What is kept for how long, and what goes first when the disk is nearly full. Without I/O: decisions from what there is."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from sonde.clock import SECOND, Micros
from sonde.ports import Held, Piece
from sonde.removal import Floor, What, Why

Shed = Literal["log", "readings", "windows"]
_HOUR: Final = 3600 * SECOND
_TIMES: Final = 10  # how much faster than it passes time may be made up for


@dataclass(frozen=True, slots=True)
class Policy:
    """Ages in microseconds, sizes in bytes; none: no limit. ``windows`` goes by width in seconds. Below ``shed_below`` bytes
    free the things named by ``shed`` go, in that order; below ``warn_below`` it is said."""

    readings: Micros | None = None
    readings_bytes: int | None = None
    windows: Mapping[int, Micros] = field(default_factory=dict)
    windows_bytes: int | None = None
    alerts: Micros | None = None
    alerts_most: int | None = None
    commands: Micros | None = None
    log: Micros | None = None
    log_bytes: int | None = None
    audit: Micros | None = None
    warn_below: int = 0
    shed_below: int = 0
    shed: Sequence[Shed] = ("log",)


@dataclass(frozen=True, slots=True)
class Segment:
    """A file of the log that can go as a whole: its partition, its first offset and that of the next one, its bytes, and the
    log time of the first frame of the next one."""

    partition: int
    first: int
    next: int
    bytes: int
    ended: Micros


class Slowly:
    """Wall-clock time for deletions: a clock that jumps ahead must not take years of history with it. Time may pass here at
    most ten times as fast as it does; ``ahead`` is by how much the clock is ahead of it."""

    def __init__(self, since: Micros, monotonic: float) -> None:
        self._at, self._seen = since, monotonic
        self.ahead: Micros = 0

    def look(self, now: Micros, monotonic: float) -> Micros:
        """The moment that ages are counted from."""
        allowed = self._at + round(max(0.0, monotonic - self._seen) * _TIMES * SECOND)
        self._seen = monotonic
        self._at = max(self._at, min(now, allowed))
        self.ahead = max(0, now - self._at)
        return min(self._at, now)


def old_floors(policy: Policy, now: Micros, floors: Mapping[str, Micros]) -> list[Floor]:
    """Floors to raise because of age. They rise in steps, so that the log does not fill with them: of an hour, or of a 24th of
    a shorter age."""
    ages: list[tuple[What, int, Micros | None]] = [("readings", 0, policy.readings), ("alerts", 0, policy.alerts)]
    ages += [("windows", width, age) for width, age in sorted(policy.windows.items())]
    ages.append(("commands", 0, policy.commands))
    found: list[Floor] = []
    for what, width, age in ages:
        if age is None:
            continue
        step = min(_HOUR, max(SECOND, age // 24))
        before = (now - age) // step * step
        floor = Floor(what, before, width, "age")
        if before > max(0, floors.get(floor.name, 0)):
            found.append(floor)
    return found


def large_floors(policy: Policy, held: Held) -> list[Floor]:
    """Floors to raise because of size: so that the oldest pieces go, until what is left fits."""
    found: list[Floor] = []
    sizes: list[tuple[What, int | None, int]] = [
        ("readings", policy.readings_bytes, held.growing),
        ("windows", policy.windows_bytes, 0),
    ]
    for content, limit, growing in sizes:
        if limit is not None:
            pieces = [piece for piece in held.pieces if piece.content == content]
            excess = sum(piece.bytes for piece in pieces) + growing - limit
            found += _raised(content, _oldest(pieces, excess), held, "size")
    return found


def shed_floors(what: What, held: Held, wanted: int) -> list[Floor]:
    """Floors to raise so that ``wanted`` bytes of ``readings`` or ``windows`` go, the oldest first; none if there are none."""
    return _raised(what, _oldest([piece for piece in held.pieces if piece.content == what], wanted), held, "disk")


def cuts(
    segments: Iterable[Segment], safe: Mapping[int, int], *, before: Micros | None = None, excess: int = 0
) -> dict[int, int]:
    """By partition, the offset below which the log may be cut: whole segments that ended before a moment, and the oldest until
    ``excess`` bytes have gone; never what a checkpoint still needs (``safe``)."""
    below: dict[int, int] = {}
    stopped: set[int] = set()
    for segment in sorted(segments, key=lambda s: (s.ended, s.partition, s.first)):
        needed = segment.next > safe.get(segment.partition, 0) or segment.partition in stopped
        old = before is not None and segment.ended < before
        if needed or not (old or excess > 0):
            stopped.add(segment.partition)
            continue
        below[segment.partition] = segment.next
        excess -= segment.bytes
    return below


def _oldest(pieces: Sequence[Piece], wanted: int) -> list[Piece]:
    """The pieces that end first, as many as hold ``wanted`` bytes."""
    chosen: list[Piece] = []
    for piece in sorted(pieces, key=lambda p: p.last):
        if wanted <= 0:
            break
        chosen.append(piece)
        wanted -= piece.bytes
    return chosen


def _raised(what: What, pieces: Sequence[Piece], held: Held, why: Why) -> list[Floor]:
    if not pieces:
        return []
    before = pieces[-1].last + 1
    lost = sum(piece.rows for piece in pieces) if what == "readings" else 0
    widths = sorted(held.widths) if what == "windows" else [0]
    floors = [Floor(what, before, width, why, lost) for width in widths]
    return [floor for floor in floors if before > held.floors.get(floor.name, 0)]
