"""What a subscription wants."""

import fnmatch
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from sonde.changes import Series
from sonde.message import KINDS, Patterns, Subscribe

_SPECIAL: Final = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Wanted:
    """The words of a subscription. Two clients with the same words get the same messages.

    ``plain`` is the form of clients that know no subprotocol: a message a reading. Patterns are sorted; none: everything.
    """

    id: str = ""
    plain: bool = False
    device: tuple[str, ...] = ()
    metric: tuple[str, ...] = ()
    site: tuple[str, ...] = ()
    zone: tuple[str, ...] = ()
    rate: float = 0.0
    kinds: frozenset[str] = frozenset(KINDS)

    @classmethod
    def of(cls, asked: Subscribe) -> "Wanted":
        """What a message asks for."""
        return cls(
            id=asked.id,
            device=_patterns(asked.device),
            metric=_patterns(asked.metric),
            site=_patterns(asked.site),
            zone=_patterns(asked.zone),
            rate=asked.rate or 0.0,
            kinds=frozenset(asked.kinds or KINDS),
        )

    @property
    def only_devices(self) -> tuple[str, ...] | None:
        """The devices that it is about, if it names them; none if it has patterns."""
        exact = self.device and not any(_SPECIAL.search(pattern) for pattern in self.device)
        return self.device if exact else None

    def matches(self, series: Series) -> bool:
        """Whether it is about ``series``."""
        return all(
            bool(_matcher(patterns)(name))
            for patterns, name in (
                (self.device, series.device),
                (self.metric, series.metric),
                (self.site, series.site),
                (self.zone, series.zone),
            )
            if patterns
        )

    def matches_device(self, device: str) -> bool:
        """Whether it is about ``device``, as far as that can be said without a series."""
        return not self.device or bool(_matcher(self.device)(device))


PLAIN: Final = Wanted(plain=True, kinds=frozenset(KINDS) - {"corrected"})


def _patterns(given: Patterns | None) -> tuple[str, ...]:
    if given is None:
        return ()
    return tuple(sorted({given} if isinstance(given, str) else set(given)))


@lru_cache(maxsize=4096)
def _matcher(patterns: tuple[str, ...]) -> Callable[[str], object]:
    exact = frozenset(pattern for pattern in patterns if not _SPECIAL.search(pattern))
    if len(exact) == len(patterns):
        return exact.__contains__
    return re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns)).match
