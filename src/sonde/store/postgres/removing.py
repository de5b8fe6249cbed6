"""What is let go of, in the step that says so: floors are raised, purged rows hidden until housekeeping deletes them."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sonde.changes import Definition, Purge
from sonde.clock import Micros
from sonde.reading import TIME
from sonde.removal import floors_of
from sonde.store.command_queries import NOT_OVER
from sonde.store.postgres.connections import Connection
from sonde.store.postgres.numbers import Ids
from sonde.store.postgres.putting import put, upsert

Floors = Mapping[str, Micros]
"""By their name, as :class:`sonde.removal.Floor` has it."""

_LAST_ERA: Final = 65_535  # a tag has no room for more: from then on what is purged is deleted at once
_FLOORS: Final = pa.schema([("name", pa.string()), ("width", pa.int32()), ("before", TIME)])
_HIDE: Final = """insert into store.purged (series, partition, era, before)
select series, %(partition)s, %(era)s, %(before)s::timestamptz from {changed} order by series"""
_FORGET_LATEST: Final = """delete from store.latest_by_partition l using {changed}
where l.series = changed.series and l.partition = %(partition)s and l.time < %(before)s::timestamptz"""
_DELETE: Final = """delete from store.{} r using {{changed}}
where r.series = changed.series and (r.tag >> 6 & 1023) = %(partition)s and r.{} < %(before)s::timestamptz"""
_OF_ALERT: Final = """with gone as (delete from store.alerts_by_partition where partition = %(partition)s and {} returning id)
delete from store.alert_events e using gone where e.partition = %(partition)s and e.alert = gone.id"""
_OF_COMMAND: Final = f"""with gone as (
  delete from store.commands_by_partition where partition = %(partition)s and changed_at < %(before)s::timestamptz
    and not ({NOT_OVER}) returning id)
delete from store.happened h using gone where h.id = gone.id"""  # noqa: S608


def without_hidden(table: pa.Table, floors: Floors) -> pa.Table:
    """Readings or windows without those that a floor hides already: they would only have to be deleted."""
    if not len(table) or not floors:
        return table
    if "width" not in table.column_names:
        return _from(table, "time", floors["readings"]) if "readings" in floors else table
    starts = table["start"].cast(pa.int64()).to_numpy()
    widths = table["width"].to_numpy()
    kept = np.ones(len(table), np.bool_)
    for name, before in floors.items():
        if (width := _width(name)) > 0:
            kept &= (widths != width) | (starts >= before)
    return table if kept.all() else table.filter(pa.array(kept))


def purge(connection: Connection, order: Purge, partition: int, ids: Ids, era: int) -> int:
    """Take what a purge names out of sight; the era of what comes now. What lies in large tables is deleted later."""
    values: dict[str, Any] = {"partition": partition, "before": _moment(order.before), "era": era + 1}
    if order.series is None:
        gone = ids[ids >= 0]
        _delete_alerts(connection, "since < %(before)s::timestamptz", values)
    else:
        gone = ids[np.array([number for number in order.series if number < len(ids)], np.int64)]
        values["series"] = gone.tolist()
        _delete_alerts(connection, "series = any(%(series)s) and since < %(before)s::timestamptz", values)
    if not len(gone):
        return era
    chosen = pa.table({"series": pa.array(gone, pa.int32())})
    put(connection, _FORGET_LATEST, chosen, **values)
    if era == _LAST_ERA:
        for table, column in (("readings_by_day", "time"), ("windows_by_partition", "start")):
            put(connection, _DELETE.format(table, column), chosen, **values)
        return era
    put(connection, _HIDE, chosen, **values)
    sql = """insert into store.eras values (%(partition)s, %(era)s) on conflict (partition) do update set era = excluded.era"""
    connection.execute(sql, values)
    return era + 1


def raise_floors(connection: Connection, definitions: Iterable[Definition], floors: Floors) -> Floors:
    """Those in force with those that are new; they never fall, whichever partition says so first."""
    new = {name: at for name, at in floors_of(definitions).items() if at > floors.get(name, -1)}
    if not new:
        return floors
    rows = pa.table(
        [list(new), [_width(name) for name in new], pa.array(new.values(), pa.int64()).cast(TIME)], schema=_FLOORS
    )
    raised = {"before": "greatest(t.before, excluded.before)"}
    put(connection, upsert("floors", _FLOORS.names, ("name",), raised), rows)
    return {**floors, **new}


def expire(connection: Connection, partition: int, floors: Floors) -> None:
    """Delete the alerts and commands that were over before their floors."""
    if (before := floors.get("alerts")) is not None:
        values = {"partition": partition, "before": _moment(before)}
        _delete_alerts(connection, "state = 'resolved' and resolved_at < %(before)s::timestamptz", values)
    if (before := floors.get("commands")) is not None:
        connection.execute(_OF_COMMAND.encode(), {"partition": partition, "before": _moment(before)})


def _delete_alerts(connection: Connection, condition: str, values: Mapping[str, Any]) -> None:
    connection.execute(_OF_ALERT.format(condition).encode(), values)


def _from(table: pa.Table, column: str, floor: Micros) -> pa.Table:
    least = pc.min(table[column].cast(pa.int64())).as_py()
    return table if least >= floor else table.filter(pc.greater_equal(table[column].cast(pa.int64()), floor))


def _width(name: str) -> int:
    """Of a floor of windows, in seconds; else 0."""
    return int(name.removeprefix("windows ")) if name.startswith("windows ") else 0


def _moment(time: Micros | None) -> Any:
    return "infinity" if time is None else pc.cast(pa.scalar(time, pa.int64()), TIME).as_py()
