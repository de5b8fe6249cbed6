"""Identities for those who read the log ahead of the processor, or read it again: they ask, and change nothing."""

import threading
from collections.abc import Sequence
from typing import Final

from sonde.clock import Micros
from sonde.ports import Claim, Identities

OWN: Final = 200_000


class Ahead:
    """A :class:`sonde.ports.Identities` that writes nothing, for those who read partitions in the order of the log.

    What processors have not come to yet it remembers by itself: of all partitions together at most ``most`` claims, and the
    newest half of that for certain. While the store is away or far behind that may be too few, and a repetition of what was
    forgotten counts as new.
    """

    def __init__(self, identities: Identities, most: int = OWN) -> None:
        self._identities = identities
        self._most = most
        self._lock = threading.Lock()
        self._own: dict[bytes, Claim] = {}
        self._older: dict[bytes, Claim] = {}  # what was its own before: forgotten at once, so that no claim costs more

    def first(self, partition: int, claims: Sequence[Claim], log_time: Micros) -> Sequence[Claim]:
        """See :meth:`sonde.ports.Identities.first`."""
        if not claims:
            return []
        known = self._identities.find(partition, [claim.key for claim in claims])
        keys = _own_keys(partition, [claim.key for claim in claims])
        with self._lock:
            return [self._first(key, claim, found) for key, claim, found in zip(keys, claims, known, strict=True)]

    def _first(self, key: bytes, claim: Claim, found: Claim | None) -> Claim:
        best = min((c for c in (found, self._remembered(key), claim) if c is not None), key=_place)
        if best is claim:
            if len(self._own) >= self._most // 2:
                self._older, self._own = self._own, {}
            self._own[key] = claim
        return best

    def _remembered(self, key: bytes) -> Claim | None:
        return self._own.get(key) or self._older.get(key)

    def find(self, partition: int, keys: Sequence[bytes]) -> Sequence[Claim | None]:
        """See :meth:`sonde.ports.Identities.find`."""
        known = self._identities.find(partition, keys)
        with self._lock:
            return [f or self._remembered(key) for key, f in zip(_own_keys(partition, keys), known, strict=True)]

    def forget(self, before: Micros, keep: int, partition: int | None = None) -> Micros:
        """Only the processor forgets."""
        return before

    def close(self) -> None:
        return


class Asked:
    """A :class:`sonde.ports.Identities` for what was read before: every claim that matters was made then."""

    def __init__(self, identities: Identities) -> None:
        self._identities = identities

    def first(self, partition: int, claims: Sequence[Claim], log_time: Micros) -> Sequence[Claim]:
        """See :meth:`sonde.ports.Identities.first`."""
        known = self._identities.find(partition, [claim.key for claim in claims])
        return [found or claim for found, claim in zip(known, claims, strict=True)]

    def find(self, partition: int, keys: Sequence[bytes]) -> Sequence[Claim | None]:
        """See :meth:`sonde.ports.Identities.find`."""
        return self._identities.find(partition, keys)

    def forget(self, before: Micros, keep: int, partition: int | None = None) -> Micros:
        """Only the processor forgets."""
        return before

    def close(self) -> None:
        return


def _own_keys(partition: int, keys: Sequence[bytes]) -> list[bytes]:
    ending = partition.to_bytes(4)
    return [key + ending for key in keys]


def _place(claim: Claim) -> tuple[int, int]:
    return claim.offset, claim.position
