"""Which partition of the log a thing goes to. What belongs together, and in order, goes to one.

Part of the log's format: what is remembered of a stream or an identity is remembered in its partition. So the number of
partitions of a log that is in use never changes.
"""

import zlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sonde.changes import Definition
from sonde.entry import EntryKind, Lane
from sonde.errors import Hold
from sonde.reading import Batch

_REMEMBERED: Final = 1 << 16  # names, most of which come again and again
CONTROL: Final = 0
"""The partition of all that concerns commands, of every control lane, and of what owners of rules find: it has one order."""


@lru_cache(maxsize=_REMEMBERED)
def partition_of(name: str, partitions: int) -> int:
    """The home of a node, or of a device whose readings come without a node."""
    return zlib.crc32(name.encode()) % partitions


def partition_of_lane(node: str, lane: int, partitions: int) -> int:
    """Where the entries of a node's lane go."""
    return CONTROL if lane == Lane.CONTROL else partition_of(node, partitions)


def home_too(kind: int, lane: int) -> bool:
    """Whether an entry of a control lane is needed in its node's home as well: a profile, by which readings are marked."""
    return kind == EntryKind.PROFILE and lane == Lane.CONTROL


def check_partitions(definitions: Iterable[Definition], partitions: int) -> None:
    """:class:`Hold` unless a log has as many partitions as when it came into use, which its settings say
    (:class:`sonde.entry.EntryKind`), if they do."""
    for definition in definitions:
        if definition.kind == "settings" and definition.body is not None:
            known = definition.body.get("partitions")
            if known is not None and known != partitions:
                raise Hold(
                    f"the log has {partitions} partitions now; it had {known} when it came into use, and nodes and devices "
                    "have their homes by that number",
                    hint=f"A topic cannot lose partitions again: say [kafka] use_partitions = {known} for every process, and "
                    "the others stay empty. To use more, begin anew: another topic in [log] url, and a database of its own "
                    "in [store] url. Nothing was taken or stored under the new number",
                )


def homes_of(batch: Batch, partitions: int) -> npt.NDArray[np.int32]:
    """The home of each reading's device."""
    column = batch.columns.column("device")
    codes, used = _used(column)
    homes = np.zeros(len(used), np.int32)
    names = column.dictionary.take(np.flatnonzero(used)).to_pylist()
    homes[used] = [partition_of(name, partitions) for name in names]
    found: npt.NDArray[np.int32] = homes[codes]
    return found


def split(batch: Batch, homes: npt.NDArray[np.int32]) -> Mapping[int, Batch]:
    """The readings of ``batch`` by home (:func:`homes_of`), each part in the order of the rows, with the names of its own
    devices only. All in one home: ``batch`` itself."""
    found = np.unique(homes).tolist()
    if len(found) <= 1:
        return dict.fromkeys(found, batch)
    column = batch.columns.column("device")
    codes, used = _used(column)
    home_of = np.zeros(len(used), np.int32)
    home_of[codes] = homes
    names = np.flatnonzero(used)
    names = names[np.argsort(home_of[names], kind="stable")]
    place = np.zeros(len(used), np.int32)  # of each name among those that are used, home by home
    place[names] = np.arange(len(names), dtype=np.int32)
    order = np.argsort(homes, kind="stable")
    rows, places, devices = batch.columns.take(order), place[codes][order], column.dictionary.take(names)
    ends = [*found, found[-1] + 1]
    of_names = np.searchsorted(home_of[names], ends).tolist()
    of_rows = np.searchsorted(homes[order], ends).tolist()
    return {
        number: _part(rows, places, devices, slice(*of_rows[i : i + 2]), slice(*of_names[i : i + 2]))
        for i, number in enumerate(found)
    }


def _used(column: pa.DictionaryArray) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """The code of each row; and of each name, whether a row has it: a dictionary may name devices of others too."""
    codes = column.indices.to_numpy()
    used = np.zeros(len(column.dictionary), np.bool_)
    used[codes] = True
    return codes, used


def _part(rows: pa.RecordBatch, places: npt.NDArray[np.int32], devices: pa.Array, part: slice, names: slice) -> Batch:
    indices = pa.array(places[part] - np.int32(names.start))
    device = pa.DictionaryArray.from_arrays(indices, devices[names])
    columns = rows[part]
    return Batch(columns.set_column(columns.schema.get_field_index("device"), columns.schema.field("device"), device))
