"""One step of the processor into the tables, and the tables back into what a processor must know."""

# ruff: noqa: S608 - names of tables and columns are Sonde's own; values go as parameters

from collections.abc import Iterable
from typing import Any, Final

import msgspec
import pyarrow as pa

from sonde.changes import Alert, Changes, Definition, Happened, Mark, Newest, Progress, Purge, Series, State, Stream
from sonde.clock import Micros
from sonde.command import Command, command_of_row
from sonde.errors import Conflict
from sonde.reading import TIME, Kind, Quality
from sonde.store.command_queries import NOT_OVER
from sonde.store.engine import Connection, fetch
from sonde.store.layout import Layout
from sonde.store.schema import (
    ALERT_EVENTS,
    ALERTS,
    COMMANDS,
    CORRECTIONS,
    COUNTS,
    DEFINITIONS,
    HAPPENED,
    KEYS,
    LEDGER,
    MARKS,
    SERIES,
    STREAMS,
    TABLES,
    columns_of,
    generation,
    table_of,
)

_ADVANCE: Final = """insert into store.progress
select $log, $partition, $offset, make_timestamptz($log_time), make_timestamptz($heard_since)
where coalesce((select next_offset from store.progress where log = $log and "partition" = $partition), 0) = $expected
on conflict do update set next_offset = excluded.next_offset, log_time = excluded.log_time,
  heard_since = excluded.heard_since returning next_offset"""

_SETTLE: Final = """delete from store.corrections c using changed s
where c."offset" < s."offset" and c.rule = s.rule and c.series = s.series and c."partition" = s."partition" """

_CORRECT: Final = """insert into store.corrections as c select * from changed on conflict do update set
  start = least(c.start, excluded.start), "offset" = greatest(c."offset", excluded."offset")"""

_MERGE_WINDOWS: Final = """insert into {table} as w select * from changed on conflict do update set
  count = w.count + excluded.count, sum = w.sum + excluded.sum,
  min = least(w.min, excluded.min), max = greatest(w.max, excluded.max),
  last = case when excluded.last_time >= w.last_time then excluded.last else w.last end,
  last_time = greatest(w.last_time, excluded.last_time)"""

_KEEP_LATEST: Final = f"""insert into store.latest as l select * from changed on conflict do update set
  {", ".join(f'"{c}" = excluded."{c}"' for c in TABLES["latest"].names if c != "series")}
  where excluded.time >= l.time"""

_ADD_TO_LEDGER: Final = f"""insert into store.ledger as l
select source, lane, {", ".join(f"sum({c})::bigint" for c in COUNTS)} from changed group by source, lane
on conflict do update set {", ".join(f"{c} = l.{c} + excluded.{c}" for c in COUNTS)}"""


def write(cursor: Connection, changes: Changes, layout: Layout) -> None:
    """Make ``changes`` true, inside the transaction that ``cursor`` is in; :class:`Conflict` if another was here."""
    place = offsets_of(cursor, changes.progress.log) if changes.purges else 0
    _advance(cursor, changes)
    for purge in changes.purges:
        _purge(cursor, purge, place, layout)
    if changes.series:
        _put(cursor, "insert into store.series select * from changed", table_of(SERIES, changes.series))
    if len(changes.readings):
        hot = generation("readings", layout.readings[-1])
        _put(cursor, f"insert into {hot} select * from changed", changes.readings)
    if len(changes.windows):
        table = generation("windows", layout.windows[-1])
        _put(cursor, _MERGE_WINDOWS.format(table=table), changes.windows)
    if len(changes.latest):
        _put(cursor, _KEEP_LATEST, changes.latest)
    _write_alerts(cursor, changes)
    _write_streams(cursor, changes.streams)
    if changes.ledger:
        _put(cursor, _ADD_TO_LEDGER, table_of(LEDGER, changes.ledger))
    if changes.marks:
        _put(cursor, "insert into store.marks select * from changed", table_of(MARKS, changes.marks))
    _write_definitions(cursor, changes.definitions)
    _write_commands(cursor, changes.commands, changes.happened)
    floors = layout.hidden.raised(changes.definitions).floors
    _expire_alerts(cursor, floors.get("alerts"))
    _expire_commands(cursor, floors.get("commands"))
    _forget_events(cursor, changes)


def hides_more(changes: Changes) -> bool:
    """Whether less is to be seen after ``changes`` of what was there before."""
    return bool(changes.purges) or any(definition.kind == "floor" for definition in changes.definitions)


def offsets_of(cursor: Connection, log: str) -> int:
    """The next offsets of all partitions of a log together: it grows with every step."""
    sql = "select coalesce(sum(next_offset), 0)::bigint as place from store.progress where log = $log"
    return int(fetch(cursor, sql, {"log": log})["place"][0].as_py())


def progress_of(cursor: Connection, log: str, partition: int) -> int:
    """The next offset of a partition; 0 if nothing of it is stored."""
    sql = 'select next_offset from store.progress where log = $log and "partition" = $partition'
    rows = cursor.execute(sql, {"log": log, "partition": partition}).fetchall()
    return int(rows[0][0]) if rows else 0


_TAKEN_AWAY: Final = "where reason in ('set_aside', 'purged') order by \"offset\" desc, entry desc limit 10000"


def read_state(cursor: Connection) -> State:
    """What a processor needs to go on, as ``cursor`` sees it."""
    series = fetch(cursor, f"select {columns_of(SERIES)} from store.series order by id")
    return State(
        progress=[
            Progress(row["log"], row["partition"], row["next_offset"], row["log_time"], row["heard_since"])
            for row in _rows(cursor, "progress")
        ],
        series=[Series(*row) for row in zip(*(column.to_pylist() for column in series.columns), strict=True)],
        newest=_newest(cursor),
        alerts=[Alert(**row) for row in _rows(cursor, "alerts", "where state <> 'resolved' order by since, id")],
        streams=[_stream(row) for row in _rows(cursor, "streams", "order by source, epoch, lane")],
        definitions=[
            Definition(**{**row, "body": msgspec.json.decode(row["body"])})
            for row in _rows(cursor, "definitions", "order by log_time, kind, name")
        ],
        commands=[
            command_of_row(row) for row in _rows(cursor, "commands", f"where {NOT_OVER} order by accepted_at, id")
        ],
        marks=[Mark(**row) for row in _rows(cursor, "marks", _TAKEN_AWAY)],
    )


def _newest(cursor: Connection) -> dict[int, Newest]:
    counts = (
        f"kind <= {int(Kind.BOOLEAN)} and quality in ({int(Quality.GOOD)}, {int(Quality.RANGE)}) and isfinite(value)"
    )
    value = f"case when {counts} then value end as value"
    sql = f"select series, epoch_us(time) as time, {value}, epoch_us(arrived) as arrived from store.latest"
    columns = [column.to_pylist() for column in fetch(cursor, sql).columns]
    return {series: Newest(*rest) for series, *rest in zip(*columns, strict=True)}


def _stream(row: dict[str, Any]) -> Stream:
    holes = msgspec.json.decode(row["holes"], type=tuple[tuple[int, ...], ...])
    return Stream(**{**row, "holes": holes, "before": msgspec.json.decode(row["before"], type=tuple[int, ...])})


def _advance(cursor: Connection, changes: Changes) -> None:
    to = changes.progress
    values = {
        "log": to.log,
        "partition": to.partition,
        "offset": to.offset,
        "log_time": to.log_time,
        "heard_since": to.heard_since,
        "expected": changes.expected,
    }
    if not cursor.execute(_ADVANCE, values).fetchall():
        known = progress_of(cursor, to.log, to.partition)
        raise Conflict(
            f"the store is at offset {known} of partition {to.partition}, not at {changes.expected}",
            hint="Another processor has taken over; load the state again",
            known=known,
        )


def _put(cursor: Connection, sql: str, table: pa.Table) -> None:
    cursor.register("changed", table)
    try:
        cursor.execute(sql)
    finally:
        cursor.unregister("changed")


def _set(cursor: Connection, name: str, table: pa.Table) -> None:
    """Put whole rows in the place of those with the same key."""
    others = [column for column in table.schema.names if column not in KEYS[name]]
    to = ", ".join(f'"{c}" = excluded."{c}"' for c in others)
    _put(cursor, f"insert into store.{name} select * from changed on conflict do update set {to}", table)


def _purge(cursor: Connection, purge: Purge, place: int, layout: Layout) -> None:
    """Delete what is in tables; what is in parts is hidden, and noted for the housekeeping. ``place`` is where the log
    stood before this step: what a part holds from beyond it came later."""
    if purge.series is not None:
        cursor.register("chosen", pa.table({"series": pa.array(purge.series, pa.int32())}))
    places = [(generation("readings", number), "time") for number in layout.readings]
    places += [(generation("windows", number), "start") for number in layout.windows]
    places += [("store.latest", "time"), ("store.newest", "start"), ("store.alerts", "since")]
    for table, moment in places:
        conditions = [] if purge.series is None else ["series in (select series from chosen)"]
        conditions += [] if purge.before is None else [f"{moment} < make_timestamptz({purge.before})"]
        cursor.execute(f"delete from {table} where {' and '.join(conditions) or 'true'}")
    if layout.folder is not None:  # also when there is no part: one may just be written, with what is deleted here
        number = fetch(cursor, "select coalesce(max(number), 0) + 1 as n from store.purges")["n"][0].as_py()
        before = "null" if purge.before is None else f"make_timestamptz({purge.before})"
        cursor.execute(f"insert into store.purges values ({number}, {place}, {before}, {purge.series is None})")
        if purge.series is not None:
            cursor.execute(f"insert into store.purged select {number}, series from chosen")
    if purge.series is not None:
        cursor.unregister("chosen")


def _forget_events(cursor: Connection, changes: Changes) -> None:
    """The events of alerts that are gone go when something was let go of."""
    if changes.purges or any(d.kind == "floor" for d in changes.definitions):
        cursor.execute("delete from store.alert_events where alert not in (select id from store.alerts)")


def _expire_alerts(cursor: Connection, floor: Micros | None) -> None:
    if floor is not None:
        cursor.execute(f"delete from store.alerts where state = 'resolved' and resolved_at < make_timestamptz({floor})")


def _expire_commands(cursor: Connection, floor: Micros | None) -> None:
    if floor is not None:
        old = f"changed_at < make_timestamptz({floor}) and not ({NOT_OVER})"
        cursor.execute(f"delete from store.happened where id in (select id from store.commands where {old})")
        cursor.execute(f"delete from store.commands where {old}")


def _write_alerts(cursor: Connection, changes: Changes) -> None:
    gone = list(changes.retracted)
    if gone:
        cursor.execute("delete from store.alerts where id in (select unnest($ids))", {"ids": gone})
    newest = {alert.id: alert for alert in changes.alerts}
    if newest:
        _set(cursor, "alerts", table_of(ALERTS, newest.values()))
    if changes.events:
        events = table_of(ALERT_EVENTS, changes.events)
        _put(cursor, "insert into store.alert_events select * from changed", events)
    for definition in changes.definitions:
        if definition.kind == "judged" and definition.body is None:
            cursor.execute("delete from store.corrections where rule = $rule", {"rule": definition.name})
    if changes.settled:
        _put(cursor, _SETTLE, table_of(CORRECTIONS, changes.settled))
    if changes.corrections:
        _put(cursor, _CORRECT, table_of(CORRECTIONS, changes.corrections))


def _write_streams(cursor: Connection, streams: Iterable[Stream]) -> None:
    newest = {(s.source, s.epoch, s.lane): s for s in streams}
    if newest:
        plain = {name: [getattr(s, name) for s in newest.values()] for name in STREAMS.names}
        in_json = {name: [msgspec.json.encode(v).decode() for v in plain[name]] for name in ("holes", "before")}
        _set(cursor, "streams", pa.table({**plain, **in_json}, schema=STREAMS))


def _write_definitions(cursor: Connection, definitions: Iterable[Definition]) -> None:
    newest = {(d.kind, d.name): d for d in definitions}
    for kind, name in (key for key, d in newest.items() if d.body is None):
        cursor.execute(
            "delete from store.definitions where kind = $kind and name = $name", {"kind": kind, "name": name}
        )
    rows = [
        {
            "kind": d.kind,
            "name": d.name,
            "body": msgspec.json.encode(d.body).decode(),
            "log_time": d.log_time,
            "source": d.source,
            "who": d.who,
        }
        for d in newest.values()
        if d.body is not None
    ]
    if rows:
        _set(cursor, "definitions", pa.Table.from_pylist(rows, DEFINITIONS))


def _write_commands(cursor: Connection, commands: Iterable[Command], happened: Iterable[Happened]) -> None:
    newest = {command.id: command for command in commands}
    if newest:
        _set(cursor, "commands", pa.Table.from_pylist([_plain(c) for c in newest.values()], COMMANDS))
    steps = [_plain(step) for step in happened]
    if steps:
        _put(cursor, "insert into store.happened select * from changed", pa.Table.from_pylist(steps, HAPPENED))


def _plain(row: Command | Happened) -> dict[str, Any]:
    """A row with what is JSON as text."""
    fields = msgspec.structs.asdict(row)
    texts: dict[str, Any] = {
        n: msgspec.json.encode(fields[n]).decode() for n in ("parameters", "details") if n in fields
    }
    return {**fields, **texts}


def _rows(cursor: Connection, name: str, rest: str = "") -> list[dict[str, Any]]:
    """Rows of a table, their times in microseconds."""
    schema = TABLES[name]
    columns = ", ".join(f'epoch_us("{f.name}") as "{f.name}"' if f.type == TIME else f'"{f.name}"' for f in schema)
    return list(fetch(cursor, f"select {columns} from store.{name} {rest}").to_pylist())
