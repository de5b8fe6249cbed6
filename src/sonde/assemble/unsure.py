"""Identities for live charts, which go on though the database is away."""

from collections.abc import Sequence

from sonde.clock import Micros
from sonde.errors import Retry
from sonde.ports import Claim, Identities


class UnsureIdentities:
    """Port ``Identities`` in front of another one. What cannot be asked now counts as new: a repeat may be drawn twice, and is
    stored once all the same."""

    def __init__(self, identities: Identities) -> None:
        self._identities = identities

    def first(self, partition: int, claims: Sequence[Claim], log_time: Micros) -> Sequence[Claim]:
        return self._identities.first(partition, claims, log_time)

    def find(self, partition: int, keys: Sequence[bytes]) -> Sequence[Claim | None]:
        try:
            return self._identities.find(partition, keys)
        except Retry:
            return [None] * len(keys)

    def forget(self, before: Micros, keep: int, partition: int | None = None) -> Micros:
        return self._identities.forget(before, keep, partition)

    def close(self) -> None:
        self._identities.close()
