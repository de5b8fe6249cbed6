"""Making room in a full outbox: the oldest entries go, and one tombstone takes the place of each run of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import apsw

from sonde.entry import EntryKind
from sonde.node.outbox import tables
from sonde.node.outbox.row import Row, row_id
from sonde.node.outbox.stream import Lane

_TOMBSTONE: Final = 520  # bytes that a tombstone takes, roughly


@dataclass(slots=True)
class Run:
    """Consecutive entries of a lane, from its oldest. ``fresh`` are the readings that no tombstone had taken before."""

    first: Row
    last: Row
    entries: int = 0
    readings: int = 0
    cost: int = 0
    fresh: int = 0

    def add(self, row: Row) -> None:
        self.last = row
        self.entries += 1
        self.readings += row.readings
        self.cost += row.cost
        self.fresh += row.readings if row.kind != EntryKind.TOMBSTONE else 0


class Room:
    """Empties lanes until what waits takes at most ``limit`` bytes."""

    def __init__(self, connection: apsw.Connection, lanes: Mapping[int, Lane], limit: int) -> None:
        self._connection = connection
        self._lanes = lanes
        self._limit = limit

    @property
    def excess(self) -> int:
        return sum(lane.bytes for lane in self._lanes.values()) - self._limit

    def empty(self, lane: int, replace_run: Callable[[int, Run], None]) -> None:
        """Put a tombstone in place of as many of a lane's oldest entries as it takes; none if there is room."""
        excess = self.excess
        if excess <= 0 or self._lanes[lane].entries == 0:
            return
        run = self._oldest(lane, excess)
        if run is not None and (run.entries > 1 or run.cost > 2 * _TOMBSTONE):
            replace_run(lane, run)  # a tombstone for a single small entry would free nothing

    def _oldest(self, lane: int, excess: int) -> Run | None:
        run: Run | None = None
        columns = tables.COLUMNS.replace("frame", "zeroblob(0)")
        for values in self._connection.execute(
            f"select id, {columns} from entries where id >= ? and id < ? order by id",  # noqa: S608
            (row_id(lane, 0), row_id(lane + 1, 0)),
        ):
            row = tables.row_of(values)
            run = run or Run(row, row)
            run.add(row)
            if run.cost - _TOMBSTONE > excess:
                break
        return run
