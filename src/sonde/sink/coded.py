"""Names as numbers, and a list that says what they mean.

They are made and joined without Arrow: it lets go of the interpreter's lock at every call, and to get it back costs more
than the work. So requests come together as these, and Arrow is asked once for each frame.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sonde.reading import numbers


@dataclass(frozen=True, slots=True)
class Coded:
    """A column of names. ``names`` may hold more than the column uses, and several columns may share it."""

    codes: npt.NDArray[np.int32]
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.codes)

    @classmethod
    def of(cls, names: Iterable[str]) -> "Coded":
        """Names as they were written."""
        column = list(names)
        places = {name: place for place, name in enumerate(dict.fromkeys(column))}
        return cls(np.array(list(map(places.__getitem__, column)), np.int32), list(places))

    @classmethod
    def joined(cls, columns: Sequence["Coded"]) -> "Coded":
        """``columns`` one after another."""
        names = columns[0].names
        if all(column.names is names for column in columns):
            return cls(side_by_side([column.codes for column in columns]), names)
        places: dict[str, int] = {}
        moved = []
        for column in columns:
            to = np.array([places.setdefault(name, len(places)) for name in column.names], np.int32)
            moved.append(to[column.codes])
        return cls(side_by_side(moved), list(places))

    def used(self) -> list[str]:
        """The names that the column uses, each once."""
        return [self.names[code] for code in set(self.codes.tolist())]

    def array(self) -> pa.DictionaryArray:
        return pa.DictionaryArray.from_arrays(numbers(self.codes, pa.int32()), pa.array(self.names, pa.string()))


def side_by_side(arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """``arrays`` of one type, one after another; numpy's own way would let go of the lock for each of them."""
    return np.frombuffer(b"".join([array.data for array in arrays]), arrays[0].dtype)
