"""A part: one sealed Parquet file of history, and what it holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sonde.clock import Micros

Content = Literal["readings", "windows"]


@dataclass(frozen=True, slots=True)
class Part:
    """One sealed file: what it holds, and which part of the log that came from. Times are inclusive."""

    name: str
    content: Content
    rows: int
    bytes: int
    checksum: str
    min_time: Micros
    max_time: Micros
    min_series: int
    max_series: int
    first_offset: int
    next_offset: int
    supersedes: tuple[str, ...] = ()

    def meets(self, since: Micros | None, until: Micros | None, series: Sequence[int] | None) -> bool:
        """Whether it may hold rows of this span and of these series (sorted)."""
        if (since is not None and self.max_time < since) or (until is not None and self.min_time >= until):
            return False
        return series is None or any(self.min_series <= one <= self.max_series for one in series)

    def within(self, since: Micros | None, until: Micros | None) -> bool:
        """Whether all its rows are of this span."""
        return (since is None or since <= self.min_time) and (until is None or self.max_time < until)
