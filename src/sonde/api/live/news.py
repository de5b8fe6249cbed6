"""Entries of the log that are no readings and that clients are told of. An explicit table: a new kind is a new line."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sonde.clock import Micros
from sonde.command import command_result, read_step
from sonde.entry import Entry, EntryKind
from sonde.errors import Invalid


@dataclass(frozen=True, slots=True)
class News:
    """A message: its ``type``, one of :data:`sonde.message.KINDS`; the device that it is about; its members."""

    type: str
    device: str
    members: Mapping[str, Any]


def _command(entry: Entry, log_time: Micros) -> News | None:
    try:
        said = command_result(read_step(entry.payload), log_time)
    except Invalid:  # the processor marks it
        return None
    if said is None:
        return None
    return News(said.pop("type"), said["device"], said)


NEWS: Final[Mapping[int, Callable[[Entry, Micros], News | None]]] = {EntryKind.COMMAND: _command}
"""For each kind of entry what it says to clients, if anything; the second argument is the log time."""
