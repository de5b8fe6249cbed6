"""Rows of readings as JSON: records of history, and devices with the newest value of each series.

All of it works on columns; a row never becomes a Python object.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sonde.api.columns import join, join_runs, json_rows, json_texts, members, objects, raw_texts, value_texts, whole
from sonde.clock import Micros
from sonde.window import run_starts

TEMPERATURE: Final = "temperature"
CO2: Final = "co2"
_DATA: Final = pa.scalar('"data"', pa.string())
_BY_DEVICE: Final = [("device_id", "ascending"), ("metric", "ascending"), ("time", "ascending")]

Starts = np.ndarray[Any, np.dtype[np.int64]]


def json_records(rows: pa.Table) -> bytes:
    """The rows of :class:`sonde.question.History` as an array of objects."""
    return json_rows(
        {
            "type": pa.repeat(_DATA, rows.num_rows),
            "id": json_texts(rows["metric"]),
            "device": json_texts(rows["device"]),
            "site": json_texts(rows["site"]),
            "zone": json_texts(rows["zone"]),
            "labels": raw_texts(rows["labels"]),
            "timestamp": json_texts(rows["time"]),
            "value": value_texts(rows["kind"], rows["value"], rows["text"]),
            "quality": json_texts(rows["quality"]),
        }
    )


@dataclass(frozen=True, slots=True)
class DeviceRows:
    """The rows of :class:`sonde.question.Devices`, sorted by device, metric and time."""

    rows: pa.Table

    @classmethod
    def of(cls, rows: pa.Table) -> "DeviceRows":
        """The rows with names as plain text, sorted."""
        plain = {n: rows[n].cast(pa.string()) for n in ("device_id", "site_id", "zone_id", "metric", "labels")}
        for name, column in plain.items():
            rows = rows.set_column(rows.schema.get_field_index(name), name, column)
        return cls(rows.sort_by(_BY_DEVICE).combine_chunks())

    def first(self, devices: int) -> tuple["DeviceRows", str]:
        """The rows of the first so many devices, and the name of the last of them if there are more, else ``""``."""
        starts = _starts(self.rows, "device_id")
        if len(starts) <= devices:
            return self, ""
        kept = self.rows.slice(0, int(starts[devices]))
        return DeviceRows(kept), kept["device_id"][-1].as_py()

    def json(self, stale_before: Micros, *, series: bool = False) -> bytes:
        """An array of devices; with ``series`` each lists all of its series too."""
        if self.rows.num_rows == 0:
            return b"[]"
        return join(objects(self._columns(stale_before, series)))

    def _columns(self, stale_before: Micros, series: bool) -> dict[str, pa.Array]:
        starts = _starts(self.rows, "device_id")
        times = whole(self.rows["time"]).cast(pa.int64()).to_numpy()
        newest = _newest(times, starts)
        at_newest = self.rows.take(pa.array(newest))
        columns = {
            "device_id": json_texts(at_newest["device_id"]),
            "site_id": json_texts(at_newest["site_id"]),
            "zone_id": json_texts(at_newest["zone_id"]),
            "last_seen": json_texts(at_newest["time"]),
            "metrics": self._metrics(),
            "avg_temp": self._mean(starts, TEMPERATURE),
            "max_co2": self._greatest(starts, CO2),
            "stale": json_texts(pa.array(times[newest] < stale_before)),
        }
        if series:
            columns["series"] = join_runs(self._series(), starts, "[]")
        return columns

    def _metrics(self) -> pa.Array:
        """For each device an object: metric → the newest of its series with that metric."""
        last = _ends(self.rows, "device_id", "metric")
        rows = self.rows.take(pa.array(last))
        texts = members(json_texts(rows["metric"]), objects(_latest(rows)))
        return join_runs(texts, _starts(rows, "device_id"))

    def _series(self) -> pa.Array:
        names = {"metric": "metric", "site": "site_id", "zone": "zone_id"}
        columns = {name: json_texts(self.rows[column]) for name, column in names.items()}
        return objects({**columns, "labels": raw_texts(self.rows["labels"]), **_latest(self.rows)})

    def _mean(self, starts: Starts, metric: str) -> pa.Array:
        """For each device the mean of the newest values of one metric's series; null where there is none."""
        values, known = self._values(metric)
        counts = np.add.reduceat(known.astype(np.int64), starts)
        sums = np.add.reduceat(np.where(known, values, 0.0), starts)
        return json_texts(pa.array(sums / np.maximum(counts, 1), pa.float64(), mask=counts == 0))

    def _greatest(self, starts: Starts, metric: str) -> pa.Array:
        """For each device the greatest of them; null where there is none."""
        values, known = self._values(metric)
        most = np.maximum.reduceat(np.where(known, values, -np.inf), starts)
        return json_texts(pa.array(most, pa.float64(), mask=np.isneginf(most)))

    def _values(self, metric: str) -> tuple[np.ndarray[Any, np.dtype[np.float64]], np.ndarray[Any, np.dtype[np.bool_]]]:
        """The numbers of all rows, and which are known and of this metric."""
        values = whole(self.rows["value"]).to_numpy(zero_copy_only=False)
        of_metric = pc.equal(whole(self.rows["metric"]), pa.scalar(metric, pa.string()))
        return values, np.isfinite(values) & of_metric.to_numpy(zero_copy_only=False)


def _latest(rows: pa.Table) -> dict[str, pa.Array]:
    return {
        "value": value_texts(rows["kind"], rows["value"], rows["text"]),
        "time": json_texts(rows["time"]),
        "quality": json_texts(rows["quality"]),
    }


def _starts(rows: pa.Table, *names: str) -> Starts:
    codes = [whole(pc.dictionary_encode(rows[name])).indices.to_numpy() for name in names]
    return run_starts(*codes).astype(np.int64)


def _ends(rows: pa.Table, *names: str) -> Starts:
    return np.append(_starts(rows, *names)[1:], rows.num_rows) - 1


def _newest(times: np.ndarray[Any, np.dtype[np.int64]], starts: Starts) -> Starts:
    """The row with the greatest time in each run."""
    run = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(times))))
    order = np.lexsort((times, run))
    return np.asarray(order[np.append(starts[1:], len(times)) - 1], np.int64)
