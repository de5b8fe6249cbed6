"""A Bloom filter over many runs of keys at once: which runs may hold a key, asked for thousands of keys together."""

from typing import Final

import numpy as np
import numpy.typing as npt

_RUNS: Final = 8  # in one block: a bit each
_HASHES: Final = 4
_ODD: Final = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], np.uint64)

Places = npt.NDArray[np.int64]


class RunFilter:
    """Filters of ``2**bits`` places; runs have numbers, which are given and taken back."""

    def __init__(self, bits: int) -> None:
        self._size = 1 << bits
        self._shift = np.uint64(64 - bits)
        self._blocks: list[npt.NDArray[np.uint8]] = []
        self._numbers: list[int | None] = []

    def places(self, keys: npt.NDArray[np.uint64]) -> Places:
        """Where each key (two 64-bit halves) has its bits: one row a hash."""
        first = (keys[:, 0] ^ (keys[:, 1] >> np.uint64(31))) * _ODD[0]
        second = ((keys[:, 1] ^ (keys[:, 0] >> np.uint64(29))) * _ODD[1]) | np.uint64(1)
        steps = np.arange(_HASHES, dtype=np.uint64)[:, None]
        places: Places = ((first + steps * second) >> self._shift).astype(np.int64)
        return places

    def pack(self, places: Places) -> bytes:
        """The filter of a run with keys at ``places``, to be kept and given to :meth:`put`."""
        marks = np.zeros(self._size, np.uint8)
        marks[places.ravel()] = 1
        return np.packbits(marks).tobytes()

    def put(self, number: int, kept: bytes) -> None:
        """Put a run in by its filter."""
        marks = np.unpackbits(np.frombuffer(kept, np.uint8))
        if None not in self._numbers:
            self._blocks.append(np.zeros(self._size, np.uint8))
            self._numbers += [None] * _RUNS
        at = self._numbers.index(None)
        self._numbers[at] = number
        self._blocks[at // _RUNS] |= marks << np.uint8(at % _RUNS)

    def drop(self, number: int) -> None:
        """Forget a run."""
        at = self._numbers.index(number)
        self._blocks[at // _RUNS] &= np.uint8(0xFF ^ (1 << at % _RUNS))
        self._numbers[at] = None

    def candidates(self, places: Places) -> list[tuple[int, Places]]:
        """For each run that may hold some of the keys, its number and their indices."""
        found: list[tuple[int, Places]] = []
        for block, marks in enumerate(self._blocks):
            bits = marks[places[0]]
            for row in places[1:]:
                bits &= marks[row]
            for run in range(_RUNS):
                number = self._numbers[block * _RUNS + run]
                hits = np.flatnonzero(bits & np.uint8(1 << run))
                if number is not None and len(hits):
                    found.append((number, hits))
        return found
