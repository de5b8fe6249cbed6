"""Names seen before, each with its place in one dictionary: what senders send again and again is checked and encoded by a
look-up, without letting go of the interpreter's lock."""

from operator import itemgetter
from typing import Final

import numpy as np
import pyarrow as pa

from sonde.sink import names

_MOST: Final = 1_024
"""More different names than this, and a dictionary shared by all requests would cost each of them too much."""


class Known:
    """The names of one column. Any thread may use it: what it knows is replaced, never changed."""

    def __init__(self, *, may_be_empty: bool) -> None:
        self._may_be_empty = may_be_empty
        self._known: tuple[dict[str, int], pa.Array] = ({}, pa.array([], pa.string()))

    def encode(self, column: list[str]) -> pa.DictionaryArray | None:
        """``column`` (two names or more) as indices and a dictionary, if all of its names are good."""
        codes, dictionary = self._known
        try:
            indices = itemgetter(*column)(codes)
        except KeyError:
            learnt = self._learn(column, codes)
            if learnt is None:
                return None
            codes, dictionary = learnt
            indices = itemgetter(*column)(codes)
        return pa.DictionaryArray.from_arrays(pa.array(np.array(indices, np.int32)), dictionary)

    def _learn(self, column: list[str], codes: dict[str, int]) -> tuple[dict[str, int], pa.Array] | None:
        """What is known with the names of ``column``; remembered, unless they alone are too many."""
        found = dict.fromkeys(column)
        if not names.all_good(found, may_be_empty=self._may_be_empty):
            return None
        both = {**codes, **found} if len(codes) + len(found) <= _MOST else found
        known = {name: code for code, name in enumerate(both)}, pa.array(list(both), pa.string())
        if len(both) <= _MOST:
            self._known = known
        return known
