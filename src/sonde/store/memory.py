"""A store in memory: the embedded one without a file, and so without parts. It lives as long as the process."""

from sonde.clock import Clock
from sonde.store.duckdb import DuckStore


class MemoryStore(DuckStore):
    """:class:`sonde.ports.Store` in memory; ``log`` is the id of the log that is followed."""

    def __init__(self, log: str, *, clock: Clock | None = None) -> None:
        super().__init__(None, log, clock=clock)
