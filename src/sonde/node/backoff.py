"""How long to wait before trying again."""

import random
from typing import Final

_DOUBLINGS: Final = 32


class Backoff:
    """Waits that grow twofold from ``initial`` up to ``longest`` seconds, each a random part of that ("full jitter"), so
    that many nodes do not come back at the same moment.
    """

    def __init__(self, initial: float = 0.25, longest: float = 10.0, chance: random.Random | None = None) -> None:
        self.failures = 0
        self._initial = initial
        self._longest = longest
        self._chance = chance or random.Random()  # noqa: S311 (not a secret)

    def next(self) -> float:
        """Seconds to wait after one more failure."""
        ceiling = min(self._longest, self._initial * 2 ** min(self.failures, _DOUBLINGS))
        self.failures += 1
        return self._chance.uniform(0, ceiling)

    def reset(self) -> None:
        """It worked: the next wait is short again."""
        self.failures = 0
