"""Names seen before, each with its place in one list: what senders send again and again is checked and encoded by a look-up."""

from operator import itemgetter
from typing import Final

import numpy as np

from sonde.sink import names
from sonde.sink.coded import Coded

_MOST: Final = 1_024
"""More different names than this, and a list shared by all requests would cost each of them too much."""


class Known:
    """The names of one column. Any thread may use it: what it knows is replaced, never changed."""

    def __init__(self, *, may_be_empty: bool) -> None:
        self._may_be_empty = may_be_empty
        self._known: tuple[dict[str, int], list[str]] = ({}, [])

    def encode(self, column: list[str]) -> Coded | None:
        """``column`` (two names or more) as numbers, if all of its names are good."""
        codes, all_names = self._known
        try:
            found = itemgetter(*column)(codes)
        except KeyError:
            learnt = self._learn(column, codes)
            if learnt is None:
                return None
            codes, all_names = learnt
            found = itemgetter(*column)(codes)
        return Coded(np.array(found, np.int32), all_names)

    def _learn(self, column: list[str], codes: dict[str, int]) -> tuple[dict[str, int], list[str]] | None:
        """What is known with the names of ``column``; remembered, unless they alone are too many."""
        found = dict.fromkeys(column)
        if not names.all_good(found, may_be_empty=self._may_be_empty):
            return None
        both = {**codes, **found} if len(codes) + len(found) <= _MOST else found
        known = {name: code for code, name in enumerate(both)}, list(both)
        if len(both) <= _MOST:
            self._known = known
        return known
