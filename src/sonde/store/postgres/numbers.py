"""What the processors of partitions call series, and what the database does: one that two partitions know is one."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sonde.changes import Series
from sonde.store.postgres.connections import Connection
from sonde.store.postgres.putting import put

Ids = npt.NDArray[np.int32]

# Ids are given in the order of numbers, so that those of a log of one partition are its numbers; rows go in by their digests,
# so that two partitions that bring the same series do not wait for each other in a circle.
_ADD: Final = """insert into store.series (id, device, metric, site, zone, labels, digest)
select id, device, metric, site, zone, labels, digest from (
  select nextval('store.series_id_seq')::integer as id, ordered.* from (
    select * from {changed} order by number) ordered offset 0) named
order by digest on conflict (digest) do nothing"""
_NUMBER: Final = """insert into store.numbers (partition, number, series)
select %(partition)s, number, s.id from {changed} join store.series s using (digest) returning number, series"""


class Numbers:
    """The ids of one partition's series, by number; as far as this process knows."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self._ids: Ids | None = None

    def ids(self, connection: Connection, new: Sequence[Series]) -> Ids:
        """All of them, with those of ``new`` series, which are added inside the transaction of ``connection``. Call
        :meth:`keep` with them when it has been committed."""
        ids = self._ids if self._ids is not None else self._read(connection)
        if not new:
            return ids
        for number, id_ in _add(connection, self.partition, new):
            if number >= len(ids):
                ids = np.concatenate([ids, np.full(max(number + 1 - len(ids), len(ids)), -1, np.int32)])
            ids[number] = id_
        return ids

    def keep(self, ids: Ids) -> None:
        self._ids = ids

    def forget(self) -> None:
        """Read them again before they are needed next."""
        self._ids = None

    def _read(self, connection: Connection) -> Ids:
        rows = connection.execute(
            "select number, series from store.numbers where partition = %s", (self.partition,), binary=True
        ).fetchall()
        found = np.array(rows, np.int32).reshape(-1, 2)
        ids = np.full(int(found[:, 0].max()) + 1 if len(found) else 0, -1, np.int32)
        ids[found[:, 0]] = found[:, 1]
        return ids


def translated(ids: Ids, numbers: pa.ChunkedArray | pa.Array) -> pa.Array:
    """The ids of series by their numbers; −1, which is none, stays."""
    plain = numbers.to_numpy()
    return pa.array(np.where(plain < 0, -1, ids[plain]) if len(plain) else plain, pa.int32())


def _add(connection: Connection, partition: int, new: Iterable[Series]) -> Sequence[tuple[int, int]]:
    rows = [(*series, _digest(series)) for series in new]
    names = ("number", "device", "metric", "site", "zone", "labels", "digest")
    types = (pa.int32(), *[pa.string()] * 5, pa.binary())
    columns = zip(*rows, strict=True)
    table = pa.table({n: pa.array(c, t) for n, c, t in zip(names, columns, types, strict=True)})
    put(connection, _ADD, table)
    return [(number, id_) for number, id_ in put(connection, _NUMBER, table, partition=partition)]


def _digest(series: Series) -> bytes:
    return hashlib.sha256("\0".join(series[1:]).encode()).digest()
