"""Looking into an outbox file from another program, whether or not a node has it open."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import apsw

from sonde.clock import Micros
from sonde.errors import Damaged, NotFound, Retry
from sonde.frame import HEADER_BYTES, read_header
from sonde.node.outbox.row import lane_of
from sonde.node.outbox.tables import BUSY_MS
from sonde.node.outbox.tombstone import LANES
from sonde.ports import Waiting


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter: an entry that a sink refused, or that was damaged. ``again``: it is about to be put back."""

    lane: int
    kind: int
    readings: int
    bytes: int
    time: Micros
    reason: str
    again: bool


def what_waits(path: Path) -> Sequence[Waiting]:
    """What each lane of the outbox at ``path`` holds."""
    with _look(path) as connection:
        rejected = dict(connection.execute("select entry >> 48, count(*) from letters group by 1"))
        found = {
            lane: (entries, readings, size, oldest)
            for lane, entries, readings, size, oldest, _ in connection.execute(
                "select id >> 48, count(*), sum(readings), sum(cost), time, min(id) from entries group by 1"
            )  # SQLite takes the time from the row with the least id
        }
        return [Waiting(lane, *found.get(lane, (0, 0, 0, None)), rejected.get(lane, 0)) for lane in LANES]


def dead_letters(path: Path) -> Sequence[Letter]:
    """The dead letters of the outbox at ``path``, oldest first."""
    with _look(path) as connection:
        return [
            Letter(lane_of(entry), kind, readings, size, time, reason, bool(again))
            for entry, kind, readings, size, time, reason, again in connection.execute(
                "select entry, kind, readings, size, time, reason, again from letters order by id"
            )
        ]


def ask_again(path: Path) -> int:
    """Ask the node that has the outbox open to put its dead letters back, which it does within seconds; how many.

    If no node has it open, open it as :class:`SqliteOutbox` and call ``retry`` instead.
    """
    with _look(path, write=True) as connection:
        connection.execute("update letters set again = 1 where again = 0")
        return int(connection.changes())


def sealed_with(path: Path) -> Mapping[str, tuple[int, int, Micros, Micros]]:
    """By key name, how many entries of the outbox at ``path`` are sealed with it, how many readings those have, and when
    the first and the last were put."""
    found: dict[str, tuple[int, int, Micros, Micros]] = {}
    with _look(path) as connection:
        rows = "select frame, readings, time from entries union all select frame, readings, time from letters"
        for head, readings, time in connection.execute(
            f"select substr(frame, 1, {HEADER_BYTES}), readings, time from ({rows})"  # noqa: S608
        ):
            try:
                key = read_header(head, file=str(path)).key
            except Damaged:
                continue
            entries, before, first, last = found.get(key, (0, 0, time, time))
            found[key] = entries + 1, before + readings, min(first, time), max(last, time)
    return found


@contextmanager
def _look(path: Path, *, write: bool = False) -> Iterator[apsw.Connection]:
    if not path.exists():
        raise NotFound(f"there is no outbox at {path}")
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.set_busy_timeout(BUSY_MS)
            connection.execute("pragma synchronous = full" if write else "pragma query_only = on")
            yield connection
        finally:
            connection.close()
    except (apsw.CorruptError, apsw.NotADBError, apsw.SQLError) as error:
        raise Damaged(f"not an outbox ({error})", file=str(path), offset=0) from None
    except apsw.Error as error:
        raise Retry(f"{path} cannot be read: {error}") from None
