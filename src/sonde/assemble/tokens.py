"""Tokens and sessions, in the control database of a data directory; a server may be running on it or not."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from sonde.assemble.acts import note_local
from sonde.clock import SystemClock
from sonde.control.sqlite import SqliteControl
from sonde.directory import DataDirectory
from sonde.people import People
from sonde.ports import Control


@contextmanager
def open_control(directory: DataDirectory) -> Iterator[Control]:
    """The control database, closed afterwards."""
    control = SqliteControl(directory.control)
    try:
        yield control
    finally:
        control.close()


@contextmanager
def open_people(directory: DataDirectory) -> Iterator[People]:
    """Tokens and sessions as whoever runs this command may arrange them; all of it goes into the audit trail."""
    with open_control(directory) as control:
        yield People(control, SystemClock(), partial(note_local, directory))
