"""What a check of an installation finds, and what is looked at."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from sonde.config import Loaded, Settings
from sonde.directory import DataDirectory


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found: ``state`` ok, warning or wrong; ``mend`` says what to do."""

    check: str
    state: Literal["ok", "warning", "wrong"]
    text: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Patient:
    """What is looked at: a data directory, and its settings if they are sound."""

    directory: DataDirectory
    loaded: Loaded

    @property
    def settings(self) -> Settings:
        return self.loaded.settled()


Check = Callable[[Patient], Iterator[Finding]]
"""Yields what it finds; what it raises is a finding too."""
