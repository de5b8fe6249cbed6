"""The tables back into what the processor of a partition must know."""

# ruff: noqa: S608 - names of tables and columns are Sonde's own; values go as parameters

from typing import Any, Final

import msgspec
import pyarrow as pa

from sonde.changes import Alert, Definition, Mark, Newest, Progress, Series, State, Stream
from sonde.command import command_of_row
from sonde.reading import TIME, Kind, Quality
from sonde.store.command_queries import NOT_OVER
from sonde.store.postgres.connections import Connection
from sonde.store.queries import by_name
from sonde.store.schema import ALERTS, COMMANDS, DEFINITIONS, MARKS, PROGRESS, STREAMS

_SERIES: Final = """select n.number, s.device, s.metric, s.site, s.zone, s.labels
from store.numbers n join store.series s on s.id = n.series where n.partition = %s order by n.number"""

_COUNTS: Final = (
    f"l.kind <= {int(Kind.BOOLEAN)} and l.quality in ({int(Quality.GOOD)}, {int(Quality.RANGE)})"
    " and l.value - l.value = 0"  # of what is infinite, or no number, that is no number
)
_NEWEST: Final = f"""select n.number, (extract(epoch from l.time) * 1000000)::bigint, case when {_COUNTS} then l.value end,
  (extract(epoch from l.arrived) * 1000000)::bigint
from store.numbers n join store.latest_by_partition l on l.series = n.series and l.partition = n.partition
where n.partition = %s"""
_TAKEN_AWAY: Final = """where t.partition = %s and reason in ('set_aside', 'purged')
order by "offset" desc, entry desc limit 10000"""


def read_state(connection: Connection, partition: int) -> State:
    """What the processor of a partition needs to go on, as ``connection`` sees it."""
    alerts = _rows(
        connection,
        "alerts_by_partition",
        ALERTS,
        "where t.partition = %s and state <> 'resolved' order by since, id",
        (partition,),
        series="coalesce((select number from store.numbers n where n.series = t.series and n.partition = t.partition), -1)",
    )
    streams = "where t.partition = %s order by source, epoch, lane"
    defined = f"where t.partition = %s order by log_time, {by_name('kind', 'name')}"
    commands = f"where t.partition = %s and {NOT_OVER} order by accepted_at, id"
    return State(
        progress=[
            Progress(row["log"], row["partition"], row["next_offset"], row["log_time"], row["heard_since"])
            for row in _rows(connection, "progress", PROGRESS, "order by log, partition", ())
        ],
        series=[Series(*row) for row in connection.execute(_SERIES, (partition,), binary=True)],
        newest={
            number: Newest(*rest) for number, *rest in connection.execute(_NEWEST.encode(), (partition,), binary=True)
        },
        alerts=[Alert(**row) for row in alerts],
        streams=[_stream(row) for row in _rows(connection, "streams_by_partition", STREAMS, streams, (partition,))],
        definitions=[
            Definition(**{**row, "body": msgspec.json.decode(row["body"])})
            for row in _rows(connection, "definitions_by_partition", DEFINITIONS, defined, (partition,))
        ],
        commands=[
            command_of_row(row) for row in _rows(connection, "commands_by_partition", COMMANDS, commands, (partition,))
        ],
        marks=[Mark(**row) for row in _rows(connection, "marks", MARKS, _TAKEN_AWAY, (partition,))],
    )


def _stream(row: dict[str, Any]) -> Stream:
    holes = msgspec.json.decode(row["holes"], type=tuple[tuple[int, ...], ...])
    return Stream(**{**row, "holes": holes, "before": msgspec.json.decode(row["before"], type=tuple[int, ...])})


def _rows(
    connection: Connection, name: str, schema: pa.Schema, rest: str, values: tuple[object, ...], **instead: str
) -> list[dict[str, Any]]:
    """Rows of a table, their times in microseconds; what is read ``instead`` of a column."""
    columns = [
        instead.get(field.name)
        or (f'(extract(epoch from t."{field.name}") * 1000000)::bigint' if field.type == TIME else f't."{field.name}"')
        for field in schema
    ]
    sql = f"select {', '.join(columns)} from store.{name} t {rest}"
    return [dict(zip(schema.names, row, strict=True)) for row in connection.execute(sql.encode(), values, binary=True)]
