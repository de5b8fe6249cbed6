"""The readings of one request in columns of Python values, on their way into one batch with those of its neighbours."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sonde.clock import Micros
from sonde.reading import TIME, Batch, Value, numbers
from sonde.routing import CONTROL, partition_of
from sonde.sink.coded import Coded, side_by_side

Texts: TypeAlias = Sequence[str] | Coded
Moments: TypeAlias = list[Micros] | npt.NDArray[np.int64]
Values: TypeAlias = Sequence[Value] | npt.NDArray[np.float64]

NO_LABELS: Final = "{}"


@dataclass(slots=True)
class Columns:
    """Columns of one length: Python values where they are few, else numbers side by side.

    ``sites``, ``zones`` and ``labels`` are empty when no reading has any, ``ids`` when none has an ``event_id``,
    ``qualities`` when all are good.
    """

    devices: Texts
    metrics: Texts
    times: Moments
    values: Values
    sites: Texts = ()
    zones: Texts = ()
    labels: Sequence[str] = ()
    qualities: Sequence[int] = ()
    ids: Sequence[str | None] | pa.Array = ()

    def __len__(self) -> int:
        return len(self.values)

    def batch(self) -> Batch:
        """The columns as a batch."""
        rows = len(self)
        times = self.times if isinstance(self.times, np.ndarray) else np.array(self.times, np.int64)
        return Batch.build(
            device=_encoded(self.devices, rows),
            metric=_encoded(self.metrics, rows),
            site=_encoded(self.sites, rows),
            zone=_encoded(self.zones, rows),
            labels=_encoded(self.labels, rows, NO_LABELS),
            time=numbers(times, TIME),
            value=self.values,
            quality=self.qualities or 0,
            event_id=self.ids if len(self.ids) else None,
        )


def _encoded(names: Texts, rows: int, absent: str = "") -> pa.Array:
    if not len(names):
        names = Coded(np.zeros(rows, np.int32), [absent])
    return (names if isinstance(names, Coded) else Coded.of(names)).array()


@dataclass(slots=True)
class Received:
    """What a request brought: its readings, in what form, and whether each had a time and an id of its own."""

    form: str
    readings: Columns | Batch
    timed: bool
    identified: bool

    def __len__(self) -> int:
        return len(self.readings)

    def devices(self) -> Iterable[str]:
        """The devices that the readings are of, each once."""
        if isinstance(self.readings, Columns):
            devices = self.readings.devices
            return devices.used() if isinstance(devices, Coded) else set(devices)
        column = self.readings.columns["device"]
        used = np.zeros(len(column.dictionary), np.bool_)  # the dictionary may name devices of other senders too
        used[column.indices.to_numpy()] = True
        return [name for name, is_used in zip(column.dictionary.to_pylist(), used, strict=True) if is_used]

    def home(self, partitions: int) -> int | None:
        """The home of all its devices, if they have the same."""
        if partitions == 1:
            return CONTROL
        homes = {partition_of(device, partitions) for device in self.devices()}
        return homes.pop() if len(homes) == 1 else None


def merge(readings: Iterable[Columns | Batch]) -> Batch:
    """All readings in one batch, in their order; columns that stand side by side are joined before they are built."""
    batches: list[Batch] = []
    together: list[Columns] = []
    for part in readings:
        if isinstance(part, Columns):
            together.append(part)
            continue
        if together:
            batches.append(_joined(together).batch())
            together = []
        batches.append(part)
    if together:
        batches.append(_joined(together).batch())
    return Batch.concat(batches)


def _joined(parts: list[Columns]) -> Columns:
    if len(parts) == 1:
        return parts[0]
    return Columns(
        devices=_names([p.devices for p in parts], parts),
        metrics=_names([p.metrics for p in parts], parts),
        times=_moments([p.times for p in parts]),
        values=_values([p.values for p in parts]),
        sites=_names([p.sites for p in parts], parts),
        zones=_names([p.zones for p in parts], parts),
        labels=_filled([p.labels for p in parts], parts, NO_LABELS),
        qualities=_filled([p.qualities for p in parts], parts, 0),
        ids=_filled([p.ids for p in parts], parts, None),
    )


def _chained(columns: Iterable[Iterable[Any]]) -> list[Any]:
    return list(chain.from_iterable(columns))


def _names(columns: list[Texts], parts: list[Columns]) -> Texts:
    if not any(isinstance(column, Coded) for column in columns):
        return _filled(columns, parts, "")
    return Coded.joined(
        [
            column if isinstance(column, Coded) else Coded.of(column or [""] * len(part))
            for column, part in zip(columns, parts, strict=True)
        ]
    )


def _moments(columns: list[Moments]) -> Moments:
    if not any(isinstance(column, np.ndarray) for column in columns):
        return _chained(columns)
    return side_by_side([np.asarray(column, np.int64) for column in columns])


def _values(columns: list[Values]) -> Values:
    if all(isinstance(column, np.ndarray) for column in columns):
        return side_by_side(columns)  # type: ignore[arg-type]
    return _chained(column.tolist() if isinstance(column, np.ndarray) else column for column in columns)


def _filled(columns: Sequence[Any], parts: list[Columns], absent: Any) -> list[Any]:
    """The columns in one; where a request has none, what stands for it. Empty if no request has any."""
    if not any(columns):
        return []
    return _chained(column or [absent] * len(part) for column, part in zip(columns, parts, strict=True))
