"""Whether two stores hold the same: for a rebuild, which must give what was there."""

from typing import Final

import numpy as np
import pyarrow as pa

from sonde.store.engine import Connection, fetch

TOLERANCE: Final = 1e-9  # of sums, whose order of adding is not fixed
SHOWN: Final = 5  # differences of each kind that are told one by one
_SERIES: Final = ("device", "metric", "site", "zone", "labels")
_EXACT: Final = {
    "alerts": "select * from alerts order by alert_id",
    "alert_events": "select * from store.alert_events order by all",
    "corrections": "select * from store.corrections order by all",
    "ledger": "select * from store.ledger order by source, lane",
    "streams": "select * exclude (holes) from store.streams order by source, epoch, lane",  # which are among the gaps
    "gaps": "select * exclude (detail) from gaps order by all",
    "definitions": "select * from store.definitions order by kind, name",
    "commands": "select * from store.commands order by id",
    "happened": "select * from store.happened order by all",
    "latest": """select s.device, s.metric, s.site, s.zone, s.labels, l.* exclude (series)
      from store.latest l join store.series s on s.id = l.series order by all""",
}
_READINGS: Final = """select device, metric, site, zone, labels, count(*) as readings,
  sum(hash(time, kind, value, text, quality))::varchar as hash from readings group by all order by all"""
_WINDOWS: Final = """select device, metric, site, zone, labels, width, start, count, min, max, last, sum from windows
  where device = $device order by all"""


def differences(mine: Connection, theirs: Connection) -> list[str]:
    """In what the second store differs from the first, in words. Readings are compared as a multiset for each series."""
    found = _unequal("readings", fetch(mine, _READINGS), fetch(theirs, _READINGS))
    for name, sql in _EXACT.items():
        found += _unequal(name, fetch(mine, sql), fetch(theirs, sql))
    devices = fetch(mine, "select distinct device from windows union select device from store.series")
    for device in sorted(devices["device"].to_pylist()):
        values = {"device": device}
        found += _windows_unequal(device, fetch(mine, _WINDOWS, values), fetch(theirs, _WINDOWS, values))
    return found


def _unequal(name: str, mine: pa.Table, theirs: pa.Table) -> list[str]:
    if mine.equals(theirs):
        return []
    here, there = ({tuple(row.values()) for row in table.to_pylist()} for table in (mine, theirs))
    lacking, more = sorted(here - there, key=repr), sorted(there - here, key=repr)
    told = [f"{name}: only the first has {row}" for row in lacking[:SHOWN]]
    told += [f"{name}: only the second has {row}" for row in more[:SHOWN]]
    return told or [f"{name}: {len(mine)} rows and {len(theirs)}"]


def _windows_unequal(device: str, mine: pa.Table, theirs: pa.Table) -> list[str]:
    exact = [*_SERIES, "width", "start", "count", "min", "max", "last"]
    found = _unequal("windows", mine.select(exact), theirs.select(exact))
    if found:
        return found
    here, there = (np.asarray(table["sum"].to_numpy()) for table in (mine, theirs))
    off = ~np.isclose(here, there, rtol=TOLERANCE, atol=TOLERANCE)
    return [f"windows: {int(off.sum())} sums of {device} differ"] if off.any() else []
