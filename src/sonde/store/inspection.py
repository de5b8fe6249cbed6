"""Looking after parts: each is read now and then, because a question would believe a flipped bit."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sonde.clock import DAY, SECOND, Clock
from sonde.store.part import Part
from sonde.store.parts import check_content

_EVERY: Final = DAY / SECOND


class Inspection:
    """Checks one part at a time, each once a day and soon after the start."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder, self._clock = folder, clock
        self._due: dict[str, float] = {}
        self._damaged: set[str] = set()

    def step(self, parts: Sequence[Part]) -> None:
        """Check the next of ``parts`` that is due. :class:`Damaged` if it is, and again as long as one is."""
        now = self._clock.monotonic()
        names = {part.name for part in parts}
        self._due = {name: due for name, due in self._due.items() if name in names}
        self._damaged &= names
        for part in parts:
            if self._due.get(part.name, now) <= now:
                self._due[part.name] = now + _EVERY
                self._damaged.add(part.name)
                break
        for part in parts:
            if part.name in self._damaged:
                check_content(self._folder, part)  # or it was put back from a backup
                self._damaged.remove(part.name)
