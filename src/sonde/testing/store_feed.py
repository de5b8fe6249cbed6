"""Changes for a store to commit, made from readings written down plainly, and what must then be found in it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa

from sonde.changes import LATEST, READINGS, WINDOWS, Changes, Progress, Series
from sonde.clock import DAY, SECOND, Micros
from sonde.reading import TIME, Kind
from sonde.window import fold

LOG: Final = "log-1"
START: Final = 19_700 * DAY  # 2023-12-09
WIDTHS: Final = (300, 900)


@dataclass(frozen=True, slots=True)
class Row:
    """One reading."""

    series: int
    time: Micros
    value: float | None
    kind: int = Kind.NUMBER
    text: str | None = None
    quality: int = 0


def table(rows: Iterable[Row]) -> pa.Table:
    """Rows as a processor gives them: sorted by series and time."""
    kept = sorted(rows, key=lambda row: (row.series, row.time))
    columns: list[list[Any]] = [[getattr(row, name) for row in kept] for name in READINGS.names]
    return pa.table([_array(c, f.type) for c, f in zip(columns, READINGS, strict=True)], schema=READINGS)


def windows_of(readings: pa.Table) -> pa.Table:
    """The windows of all that is a number."""
    numbers = readings.filter(pa.compute.less_equal(readings["kind"], int(Kind.BOOLEAN)))
    times = numbers["time"].cast(pa.int64()).to_numpy()
    return fold(numbers["series"].to_numpy(), times, numbers["value"].to_numpy(), WIDTHS)


def latest_of(readings: pa.Table, arrived: Micros = START) -> pa.Table:
    """The last row of each series, which came at a log time."""
    series = readings["series"].to_numpy()
    last = readings.take(np.flatnonzero(np.append(series[1:] != series[:-1], len(series) > 0)))
    return last.append_column(LATEST.field("arrived"), pa.array([arrived] * len(last), pa.int64()).cast(TIME))


def building(devices: int, *, sites: int = 2, zones: int = 2) -> list[Series]:
    """Four metrics for each device, the devices spread over sites and zones."""
    metrics = ("co2", "humidity", "occupancy", "temperature")
    return [
        Series(4 * d + m, f"device-{d}", metric, f"Site-{d % sites}", f"Zone-{d // sites % zones}", "{}")
        for d in range(devices)
        for m, metric in enumerate(metrics)
    ]


def random_rows(
    seed: int, series: Sequence[Series], count: int, *, since: Micros = START, span: Micros = DAY
) -> list[Row]:
    """Readings at random moments, not in order; some at the same moment."""
    random = np.random.default_rng(seed)
    times = since + random.integers(0, span, count) // SECOND * SECOND
    ids = random.integers(0, len(series), count)
    values = np.round(random.normal(20, 5, count), 2)
    return [Row(series[i].id, int(t), float(v)) for i, t, v in zip(ids, times, values, strict=True)]


@dataclass
class Feed:
    """One partition's steps, each following on the last; it remembers all readings."""

    log: str = LOG
    partition: int = 0
    offset: int = 0
    readings: pa.Table = field(default_factory=READINGS.empty_table)
    known: set[int] = field(default_factory=set)

    def step(self, rows: Iterable[Row] = (), series: Iterable[Series] = (), **more: Any) -> Changes:
        """The next step: these readings, those series of which it has not spoken yet, and whatever else a step has."""
        readings = table(rows)
        new = [one for one in series if one.id not in self.known]
        self.known.update(one.id for one in new)
        self.readings = pa.concat_tables([self.readings, readings])
        before, self.offset = self.offset, self.offset + 1
        return Changes(
            expected=before,
            progress=Progress(self.log, self.partition, self.offset, START + self.offset * SECOND),
            series=new,
            readings=readings,
            windows=windows_of(readings),
            latest=latest_of(readings, START + self.offset * SECOND),
            **more,
        )

    def windows(self) -> pa.Table:
        """What the windows must be now, step by step."""
        rows = self.readings.sort_by([("series", "ascending"), ("time", "ascending")])
        return windows_of(rows) if len(rows) else WINDOWS.empty_table()


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    return pa.array(values, pa.int64()).cast(TIME) if kind == TIME else pa.array(values, kind)
