"""Entries of the log that are no readings and that clients are told of. An explicit table: a new kind is a new line."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sonde.clock import Micros
from sonde.entry import Entry


@dataclass(frozen=True, slots=True)
class News:
    """A message: its ``type``, one of :data:`sonde.message.KINDS`; the device that it is about; its members."""

    type: str
    device: str
    members: Mapping[str, Any]


NEWS: Final[Mapping[int, Callable[[Entry, Micros], News | None]]] = {}
"""For each kind of entry what it says to clients, if anything; the second argument is the log time."""
