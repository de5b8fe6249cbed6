"""One step of a partition's processor into the tables."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sonde.changes import Changes, Correction, Definition, LedgerLine, Stream
from sonde.clock import DAY
from sonde.command import Command
from sonde.errors import Conflict
from sonde.reading import TIME
from sonde.store.postgres.connections import Connection
from sonde.store.postgres.copy import HEAD, TAIL, copy_rows
from sonde.store.postgres.days import Known
from sonde.store.postgres.numbers import Ids, Numbers, translated
from sonde.store.postgres.putting import constant, insert, put, upsert
from sonde.store.postgres.removing import Floors, expire, purge, raise_floors, without_hidden
from sonde.store.schema import (
    ALERT_EVENTS,
    ALERTS,
    COMMANDS,
    CORRECTIONS,
    COUNTS,
    DEFINITIONS,
    HAPPENED,
    LEDGER,
    MARKS,
    STREAMS,
    table_of,
)

PARTITIONS: Final = 1024
"""There is room for so many in the tag of a row."""

_ADVANCE: Final = """update store.progress set next_offset = %(offset)s, log_time = %(log_time)s, heard_since = %(heard_since)s
where log = %(log)s and partition = %(partition)s and next_offset = %(expected)s returning true"""
_BEGIN: Final = """insert into store.progress (log, partition, next_offset, log_time, heard_since)
values (%(log)s, %(partition)s, %(offset)s, %(log_time)s, %(heard_since)s) on conflict do nothing returning true"""
_STANDING: Final = """select coalesce((select era from store.eras where partition = %s), 0),
  (select jsonb_object_agg(name, (extract(epoch from before) * 1000000)::bigint) from store.floors)"""

_WINDOW: Final = {
    "count": 't."count" + excluded."count"',
    "sum": 't."sum" + excluded."sum"',
    "min": 'least(t."min", excluded."min")',
    "max": 'greatest(t."max", excluded."max")',
    "last": "case when excluded.last_time >= t.last_time then excluded.last else t.last end",
    "last_time": "greatest(t.last_time, excluded.last_time)",
}
_KEYS: Final = ("series", "width", "start", "tag")
_LATEST: Final = ("series", "time", "kind", "value", "text", "quality", "arrived", "partition")
_SETTLE: Final = """delete from store.corrections c using {changed}
where c."offset" < changed."offset" and c.rule = changed.rule and c.series = changed.series
  and c.partition = changed.partition"""
_CORRECT: Final = {"start": "least(t.start, excluded.start)", "offset": 'greatest(t."offset", excluded."offset")'}


def write(connection: Connection, changes: Changes, numbers: Numbers, tables: Known) -> Ids:
    """Make ``changes`` true, inside the transaction of ``connection``; :class:`Conflict` if another was here. ``tables``
    are there for all readings that no floor hides. The ids of the partition's series, once that is committed."""
    partition = changes.progress.partition
    _advance(connection, changes)
    era, floors = _standing(connection, partition)
    known = numbers.ids(connection, ())
    for one in changes.purges:
        era = purge(connection, one, partition, known, era)
    ids = numbers.ids(connection, changes.series)
    _write_readings(connection, without_hidden(changes.readings, floors), tables, ids, (era, partition))
    _write_windows(connection, without_hidden(changes.windows, floors), ids, (era, partition))
    _write_latest(connection, changes.latest, ids, partition)
    _write_alerts(connection, changes, ids)
    _write_streams(connection, changes.streams, partition)
    _write_ledger(connection, changes.ledger, partition)
    put(connection, insert("marks", MARKS.names), table_of(MARKS, changes.marks))
    _write_definitions(connection, changes.definitions, partition)
    _write_commands(connection, changes, partition)
    floors = raise_floors(connection, changes.definitions, floors)
    expire(connection, partition, floors)
    return ids


def progress_of(connection: Connection, log: str, partition: int) -> int:
    """The next offset of a partition; 0 if nothing of it is stored. Waits for a commit that is on its way."""
    sql = "select next_offset from store.progress where log = %s and partition = %s for update"
    rows = connection.execute(sql, (log, partition)).fetchall()
    return int(rows[0][0]) if rows else 0


def _advance(connection: Connection, changes: Changes) -> None:
    to = changes.progress
    values = {
        "log": to.log,
        "partition": to.partition,
        "offset": to.offset,
        "log_time": _moment(to.log_time),
        "heard_since": _moment(to.heard_since),
        "expected": changes.expected,
    }
    if connection.execute(_ADVANCE, values).fetchall():
        return
    if changes.expected or not connection.execute(_BEGIN, values).fetchall():
        known = progress_of(connection, to.log, to.partition)
        raise Conflict(
            f"the store is at offset {known} of partition {to.partition}, not at {changes.expected}",
            hint="Another processor has taken over; load the state again",
            known=known,
        )


def _standing(connection: Connection, partition: int) -> tuple[int, Floors]:
    """The era of a partition, and the floors in force."""
    ((era, floors),) = connection.execute(_STANDING, (partition,)).fetchall()
    return int(era), floors or {}


def _write_readings(
    connection: Connection, readings: pa.Table, tables: Known, ids: Ids, place: tuple[int, int]
) -> None:
    if not len(readings):
        return
    tags = readings["kind"].to_numpy().astype(np.int32) | readings["quality"].to_numpy().astype(np.int32) << 3
    rows = pa.table(
        {
            "time": readings["time"],
            "value": readings["value"],
            "series": translated(ids, readings["series"]),
            "tag": pa.array(tags | _tag(*place), pa.int32()),
            "text": readings["text"],
        }
    )
    counts = []
    for name, chosen in tables.split(days_of(readings)):
        some = rows if chosen is None else rows.take(pa.array(chosen))
        columns = "(time, value, series, tag, text)"
        sql = f"copy store.{name} {columns} from stdin (format binary)"
        with connection.cursor().copy(sql.encode()) as copy:
            copy.write(HEAD + copy_rows(some) + TAIL)
        counts.append({"name": name, "partition": place[1], "rows": len(some)})
    counted = pa.schema([("name", pa.string()), ("partition", pa.int32()), ("rows", pa.int64())])
    sql = upsert("counts", counted.names, ("name", "partition"), {"rows": "t.rows + excluded.rows"})
    put(connection, sql, pa.Table.from_pylist(counts, counted))


def days_of(readings: pa.Table) -> Any:
    """The day of each reading, counted from 1970."""
    return readings["time"].cast(pa.int64()).to_numpy() // DAY


def _tag(era: int, partition: int) -> np.int32:
    """The part of a tag that is the same in every row of a step."""
    return np.uint32(era << 16 | partition << 6).astype(np.int32)


def _write_windows(connection: Connection, windows: pa.Table, ids: Ids, place: tuple[int, int]) -> None:
    if len(windows):
        widths = pa.table({"width": pc.unique(windows["width"])})
        put(connection, "insert into store.widths select * from {changed} order by 1 on conflict do nothing", widths)
        rows = constant(_with_ids(windows, ids), "tag", int(_tag(*place)))
        put(connection, upsert("windows_by_partition", rows.column_names, _KEYS, _WINDOW), rows)


def _write_latest(connection: Connection, latest: pa.Table, ids: Ids, partition: int) -> None:
    if len(latest):
        sql = upsert("latest_by_partition", _LATEST, ("series", "partition")) + " where excluded.time >= t.time"
        put(connection, sql, constant(_with_ids(latest, ids), "partition", partition).select(_LATEST))


def _write_alerts(connection: Connection, changes: Changes, ids: Ids) -> None:
    partition = changes.progress.partition
    if changes.retracted:
        sql = "delete from store.alerts_by_partition where partition = %s and id = any(%s)"
        connection.execute(sql, (partition, list(changes.retracted)))
    newest = {alert.id: alert for alert in changes.alerts}
    if newest:
        rows = constant(_with_ids(table_of(ALERTS, newest.values()), ids), "partition", partition)
        put(connection, upsert("alerts_by_partition", rows.column_names, ("id", "partition")), rows)
    put(connection, insert("alert_events", ALERT_EVENTS.names), table_of(ALERT_EVENTS, changes.events))
    anew = [d.name for d in changes.definitions if d.kind == "judged" and d.body is None]
    if anew:
        connection.execute("delete from store.corrections where partition = %s and rule = any(%s)", (partition, anew))
    if changes.settled:
        put(connection, _SETTLE, _with_ids(table_of(CORRECTIONS, changes.settled), ids))
    merged: dict[tuple[str, int, int], Correction] = {}
    for one in changes.corrections:  # a statement may set a row only once
        known = merged.setdefault((one.rule, one.series, one.partition), one)
        start, offset = min(known.start, one.start), max(known.offset, one.offset)
        merged[one.rule, one.series, one.partition] = msgspec.structs.replace(one, start=start, offset=offset)
    if merged:
        sql = upsert("corrections", CORRECTIONS.names, ("rule", "series", "partition"), _CORRECT)
        put(connection, sql, _with_ids(table_of(CORRECTIONS, merged.values()), ids))


def _write_streams(connection: Connection, streams: Iterable[Stream], partition: int) -> None:
    newest = {(s.source, s.epoch, s.lane): s for s in streams}
    if not newest:
        return
    plain = {name: [getattr(s, name) for s in newest.values()] for name in STREAMS.names}
    in_json = {name: [msgspec.json.encode(v).decode() for v in plain[name]] for name in ("holes", "before")}
    rows = constant(pa.table({**plain, **in_json}, schema=STREAMS), "partition", partition)
    keys = ("partition", "source", "epoch", "lane")
    put(connection, upsert("streams_by_partition", rows.column_names, keys), rows)


def _write_ledger(connection: Connection, lines: Iterable[LedgerLine], partition: int) -> None:
    found: dict[tuple[str, int], list[LedgerLine]] = {}
    for line in lines:
        found.setdefault((line.source, line.lane), []).append(line)
    if not found:
        return
    counts = {name: [sum(getattr(one, name) for one in some) for some in found.values()] for name in COUNTS}
    sources, lanes = map(list, zip(*found, strict=True))
    rows = constant(pa.table({"source": sources, "lane": lanes, **counts}, LEDGER), "partition", partition)
    added = {name: f"t.{name} + excluded.{name}" for name in COUNTS}
    put(connection, upsert("ledger_by_partition", rows.column_names, ("partition", "source", "lane"), added), rows)


def _write_definitions(connection: Connection, definitions: Iterable[Definition], partition: int) -> None:
    newest = {(d.kind, d.name): d for d in definitions}
    for kind, name in (key for key, d in newest.items() if d.body is None):
        sql = "delete from store.definitions_by_partition where kind = %s and name = %s and partition = %s"
        connection.execute(sql, (kind, name, partition))
    bodies = {key: msgspec.json.encode(d.body).decode() for key, d in newest.items() if d.body is not None}
    if bodies:
        kept = [newest[key] for key in bodies]
        columns = {name: [getattr(d, name) for d in kept] for name in DEFINITIONS.names if name != "body"}
        rows = constant(pa.table({**columns, "body": list(bodies.values())}, schema=_BODY_LAST), "partition", partition)
        keys = ("kind", "name", "partition")
        put(connection, upsert("definitions_by_partition", rows.column_names, keys), rows)


def _write_commands(connection: Connection, changes: Changes, partition: int) -> None:
    newest = {command.id: command for command in changes.commands}
    if newest:
        rows = pa.Table.from_pylist([_plain(c) for c in newest.values()], COMMANDS)
        rows = constant(rows, "partition", partition)
        put(connection, upsert("commands_by_partition", rows.column_names, ("id",)), rows)
    steps = pa.Table.from_pylist([_plain(step) for step in changes.happened], HAPPENED)
    put(connection, insert("happened", HAPPENED.names), steps)


_BODY_LAST: Final = pa.schema([*[field for field in DEFINITIONS if field.name != "body"], DEFINITIONS.field("body")])


def _plain(row: Command | msgspec.Struct) -> dict[str, Any]:
    """A row with what is JSON as text."""
    fields = msgspec.structs.asdict(row)
    texts: dict[str, Any] = {
        n: msgspec.json.encode(fields[n]).decode() for n in ("parameters", "details") if n in fields
    }
    return {**fields, **texts}


def _with_ids(table: pa.Table, ids: Ids) -> pa.Table:
    """``table`` with ids in place of the partition's own numbers."""
    at = table.column_names.index("series")
    return table.set_column(at, "series", translated(ids, table["series"]))


def _moment(time: int) -> Any:
    return pc.cast(pa.scalar(time, pa.int64()), TIME).as_py()
