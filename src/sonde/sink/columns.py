"""The readings of one request in columns of Python values, on their way into one batch with those of its neighbours."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sonde.clock import Micros
from sonde.reading import TIME, Batch, Value
from sonde.routing import CONTROL, partition_of, split

Texts: TypeAlias = Sequence[str] | pa.Array
Moments: TypeAlias = list[Micros] | npt.NDArray[np.int64]

NO_LABELS: Final = "{}"
_FEW: Final = 1_000


@dataclass(slots=True)
class Columns:
    """Columns of one length, of Python values if they are to be joined with others.

    ``sites``, ``zones`` and ``labels`` are empty when no reading has any, ``ids`` when none has an ``event_id``,
    ``qualities`` when all are good.
    """

    devices: Texts
    metrics: Texts
    times: Moments
    values: Sequence[Value]
    sites: Texts = ()
    zones: Texts = ()
    labels: Sequence[str] = ()
    qualities: Sequence[int] = ()
    ids: Sequence[str | None] = ()

    def __len__(self) -> int:
        return len(self.values)

    def batch(self) -> Batch:
        """The columns as a batch."""
        rows = len(self)
        times = self.times if isinstance(self.times, np.ndarray) else np.array(self.times, np.int64)
        return Batch.build(
            device=_encoded(self.devices),
            metric=_encoded(self.metrics),
            site=_encoded(self.sites, rows),
            zone=_encoded(self.zones, rows),
            labels=_encoded(self.labels, rows, NO_LABELS),
            time=pa.array(times).view(TIME),
            value=self.values,
            quality=self.qualities or 0,
            event_id=self.ids or ([None] * rows if rows == 0 else None),
        )


def _encoded(names: Texts, rows: int = 0, absent: str = "") -> pa.Array:
    """Names as indices and a dictionary. Few of them are encoded here: Arrow's own way would let go of the interpreter's
    lock each time, and waiting to have it again costs more than the work."""
    if isinstance(names, pa.Array):
        return names
    if not len(names):
        indices, names = np.zeros(rows, np.int32), [absent]
        return pa.DictionaryArray.from_arrays(pa.array(indices), pa.array(names, pa.string()))
    if len(names) > _FEW:
        return pa.array(names, pa.string()).dictionary_encode()
    codes: dict[str, int] = {}
    indices = np.array([codes.setdefault(name, len(codes)) for name in names], np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(indices), pa.array(list(codes), pa.string()))


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
        column = self.readings.columns["device"] if isinstance(self.readings, Batch) else self.readings.devices
        if not isinstance(column, pa.Array):
            return set(column)
        used = np.zeros(len(column.dictionary), np.bool_)  # the dictionary may name devices of other senders too
        used[column.indices.to_numpy()] = True
        return [name for name, is_used in zip(column.dictionary.to_pylist(), used, strict=True) if is_used]

    def split(self, partitions: int) -> Mapping[int, Columns | Batch]:
        """The readings by the home of their device; all in one home, by far the most often: as they are."""
        if partitions == 1:
            return {CONTROL: self.readings}
        if isinstance(self.readings, Batch):
            return split(self.readings, partitions)
        homes = {partition_of(device, partitions) for device in self.devices()}
        return {homes.pop(): self.readings} if len(homes) == 1 else split(self.readings.batch(), partitions)


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
        devices=_chained([p.devices for p in parts]),
        metrics=_chained([p.metrics for p in parts]),
        times=_chained([p.times for p in parts]),
        values=_chained([p.values for p in parts]),
        sites=_filled([p.sites for p in parts], parts, ""),
        zones=_filled([p.zones for p in parts], parts, ""),
        labels=_filled([p.labels for p in parts], parts, NO_LABELS),
        qualities=_filled([p.qualities for p in parts], parts, 0),
        ids=_filled([p.ids for p in parts], parts, None),
    )


def _chained(columns: list[Any]) -> list[Any]:
    return list(chain.from_iterable(columns))


def _filled(columns: list[Any], parts: list[Columns], absent: Any) -> list[Any]:
    """The columns in one; where a request has none, what stands for it. Empty if no request has any."""
    if not any(columns):
        return []
    return _chained([column or [absent] * len(part) for column, part in zip(columns, parts, strict=True)])
