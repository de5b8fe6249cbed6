"""What a store of several partitions does with numbers of series: each partition's processor gives its own, and a series that
two of them met is one."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import msgspec
import numpy as np
import pyarrow as pa

from sonde.changes import Changes, Purge, Series


class OwnNumbers:
    """The series of a store, and the numbers that they have in each partition."""

    def __init__(self) -> None:
        self.series: dict[int, Series] = {}
        self._ids: dict[tuple[str, ...], int] = {}
        self._numbers: dict[int, dict[int, int]] = {}  # partition → its number → id

    def of(self, partition: int) -> Mapping[int, int]:
        """The series that a partition has met: its number for it → its id in the store."""
        return self._numbers.get(partition, {})

    def learn(self, partition: int, series: Iterable[Series]) -> None:
        """Take in series that a partition has met for the first time."""
        numbers = self._numbers.setdefault(partition, {})
        for one in series:
            id_ = self._ids.get(one[1:])
            if id_ is None:
                id_ = one.id if one.id not in self.series else max(self.series) + 1
                self._ids[one[1:]] = id_
                self.series[id_] = one._replace(id=id_)
            numbers[one.id] = id_

    def translated(self, changes: Changes) -> Changes:
        """``changes`` with the store's ids in place of the partition's numbers."""
        ids = {-1: -1, **self.of(changes.progress.partition)}
        return replace(
            changes,
            readings=_translated(changes.readings, ids),
            windows=_translated(changes.windows, ids),
            latest=_translated(changes.latest, ids),
            alerts=[msgspec.structs.replace(a, series=ids[a.series]) for a in changes.alerts],
            settled=[msgspec.structs.replace(c, series=ids.get(c.series, -2)) for c in changes.settled],
            corrections=[msgspec.structs.replace(c, series=ids[c.series]) for c in changes.corrections],
            purges=[self._purge(purge, ids) for purge in changes.purges],
        )

    def _purge(self, purge: Purge, ids: Mapping[int, int]) -> Purge:
        """Everything is everything that the partition has."""
        theirs = ids if purge.series is None else purge.series
        return msgspec.structs.replace(purge, series=tuple(ids[number] for number in theirs))


def _translated(table: pa.Table, ids: Mapping[int, int]) -> pa.Table:
    if not len(table):
        return table
    at = table.schema.get_field_index("series")
    numbers = np.array([ids[number] for number in table["series"].to_pylist()], np.int32)
    return table.set_column(at, table.schema.field(at), pa.array(numbers, table.schema.field(at).type))
