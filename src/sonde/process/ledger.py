"""Adding up a step: ledger lines by source and lane, and what was set aside or lost."""

from collections.abc import Sequence
from typing import Final

from sonde.changes import LedgerLine, Mark
from sonde.clock import Micros
from sonde.entry import Entry

_COLUMNS: Final = ("declared", "stored", "duplicate", "refused", "set_aside", "lost", "conflicting", "late")


class Tally:
    """What one step adds to the ledger, and its marks."""

    def __init__(self, partition: int) -> None:
        self.marks: list[Mark] = []
        self._partition = partition
        self._lines: dict[tuple[str, int], dict[str, int]] = {}

    def add(self, source: str, lane: int, **readings: int) -> None:
        """Add readings to columns of a :class:`LedgerLine`."""
        line = self._lines.get((source, lane))
        if line is None:
            line = self._lines[source, lane] = dict.fromkeys(_COLUMNS, 0)
        for column, number in readings.items():
            line[column] += number

    def set_aside(self, place: "Place", entry: Entry, readings: int, why: str) -> None:
        """``readings`` that no stream declared go no further."""
        self.add(entry.source, entry.lane, set_aside=readings, conflicting=readings)
        self.mark(place, entry, "set_aside", (entry.seq, entry.seq), readings, why)

    def mark(self, place: "Place", entry: Entry, reason: str, seqs: tuple[int, int], readings: int, why: str) -> None:
        """Say that something was set aside or lost."""
        first, last = seqs
        self.marks.append(
            Mark(
                partition=self._partition,
                offset=place.offset,
                entry=place.entry,
                source=entry.source,
                lane=entry.lane,
                epoch=entry.epoch,
                reason=reason,
                first_seq=first,
                last_seq=last,
                readings=readings,
                noticed=place.log_time,
                detail=why,
            )
        )

    def lines(self) -> Sequence[LedgerLine]:
        return [LedgerLine(source, lane, **line) for (source, lane), line in self._lines.items() if any(line.values())]

    def total(self, column: str) -> int:
        return sum(line[column] for line in self._lines.values())


class Place:
    """Where an entry stands in the log."""

    __slots__ = ("entry", "log_time", "offset")

    def __init__(self, offset: int, entry: int, log_time: Micros) -> None:
        self.offset, self.entry, self.log_time = offset, entry, log_time
