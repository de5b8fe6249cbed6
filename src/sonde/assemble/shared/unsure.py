"""What live charts need of a shared store. They go on though it is away, and whether it says so or hangs."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from sonde.assemble.impatience import Impatience
from sonde.assemble.shared.store import SharedStore
from sonde.changes import State
from sonde.clock import Micros
from sonde.errors import Retry
from sonde.ports import Claim
from sonde.question import Reached

_LOAD_SECONDS: Final = 10.0
_FIND_SECONDS: Final = 2.0


class UnsureStore:
    """Port ``Identities`` too. An identity that cannot be asked for now counts as new: a repetition may be drawn twice, and is
    stored once all the same."""

    def __init__(self, shared: SharedStore) -> None:
        self._shared = shared
        self._asks = Impatience("database")

    def load(self, partition: int) -> State:
        """See :meth:`sonde.ports.Store.load`; :class:`Retry` if the store is away."""
        return self._asks.ask(partial(self._shared.store().load, partition), _LOAD_SECONDS)

    def stored(self) -> Mapping[int, int]:
        """Up to where each partition is stored, by whichever process; :class:`Retry` if the store is away."""
        rows = self._asks.ask(partial(self._shared.store().ask, Reached()), _FIND_SECONDS).rows.to_pylist()
        return {row["partition"]: row["next_offset"] for row in rows}

    def first(self, partition: int, claims: Sequence[Claim], log_time: Micros) -> Sequence[Claim]:
        return self._shared.identities.first(partition, claims, log_time)

    def find(self, partition: int, keys: Sequence[bytes]) -> Sequence[Claim | None]:
        try:
            self._shared.store()
            return self._asks.ask(partial(self._shared.identities.find, partition, keys), _FIND_SECONDS)
        except Retry:
            return [None] * len(keys)

    def forget(self, before: Micros, keep: int, partition: int | None = None) -> Micros:
        return self._shared.identities.forget(before, keep, partition)

    def close(self) -> None:
        self._shared.identities.close()
