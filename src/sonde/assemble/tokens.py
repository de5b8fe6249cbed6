"""Tokens and sessions, in the control database; servers may be running on it or not."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from sonde.assemble.acts import note_in
from sonde.assemble.controls import open_controls
from sonde.clock import SystemClock
from sonde.config import Settings
from sonde.directory import DataDirectory
from sonde.people import People
from sonde.ports import Control


@contextmanager
def open_control(directory: DataDirectory, settings: Settings | None = None) -> Iterator[Control]:
    """The control database that the settings name, else that of the data directory; closed afterwards."""
    controls = open_controls(directory, settings)
    try:
        yield controls.control
    finally:
        controls.close()


@contextmanager
def open_people(directory: DataDirectory, settings: Settings | None = None) -> Iterator[People]:
    """Tokens and sessions as whoever runs this command may arrange them; all of it goes into the audit trail."""
    controls = open_controls(directory, settings)
    try:
        yield People(controls.control, SystemClock(), partial(note_in, controls.audit))
    finally:
        controls.close()
