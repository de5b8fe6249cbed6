"""Identities for those who read the log ahead of the processor, or read it again: they ask, and change nothing."""

import threading
from collections.abc import Callable, Sequence
from typing import Final

from sonde.clock import Micros
from sonde.ports import Claim, Identities

_OWN: Final = 100_000  # claims of its own, before those that the processor has recorded meanwhile are dropped


class Ahead:
    """A :class:`sonde.ports.Identities` that writes nothing.

    What the processor has not come to yet it remembers by itself. ``stored`` says up to which offset the processor has
    recorded everything; this one has to start there, and go on in the order of the log.
    """

    def __init__(self, identities: Identities, stored: Callable[[], int]) -> None:
        self._identities = identities
        self._stored = stored
        self._lock = threading.Lock()
        self._own: dict[bytes, Claim] = {}

    def first(self, partition: int, claims: Sequence[Claim], log_time: Micros) -> Sequence[Claim]:
        """See :meth:`sonde.ports.Identities.first`."""
        if not claims:
            return []
        known = self._identities.find(partition, [claim.key for claim in claims])
        with self._lock:
            if len(self._own) > _OWN:
                stored = self._stored()
                self._own = {key: claim for key, claim in self._own.items() if claim.offset >= stored}
            return [self._first(claim, found) for claim, found in zip(claims, known, strict=True)]

    def _first(self, claim: Claim, found: Claim | None) -> Claim:
        best = min((c for c in (found, self._own.get(claim.key), claim) if c is not None), key=_place)
        if best is claim:
            self._own[claim.key] = claim
        return best

    def find(self, partition: int, keys: Sequence[bytes]) -> Sequence[Claim | None]:
        """See :meth:`sonde.ports.Identities.find`."""
        known = self._identities.find(partition, keys)
        with self._lock:
            return [found or self._own.get(key) for key, found in zip(keys, known, strict=True)]

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


def _place(claim: Claim) -> tuple[int, int]:
    return claim.offset, claim.position
