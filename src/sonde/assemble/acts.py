"""What people do with commands on the machine itself goes into the audit trail, before it happens."""

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager

from sonde.assemble.controls import open_controls
from sonde.audit import act
from sonde.clock import SystemClock
from sonde.config import Settings
from sonde.directory import DataDirectory
from sonde.ports import AuditTrail

LOCAL = "local"


@contextmanager
def open_trail(directory: DataDirectory, settings: Settings | None = None) -> Iterator[AuditTrail]:
    """The audit trail that the settings name, else that of the data directory, closed afterwards; servers may be running on it
    or not."""
    controls = open_controls(directory, settings)
    try:
        yield controls.audit
    finally:
        controls.close()


def note_local(directory: DataDirectory, settings: Settings | None, what: str, on: str = "", /, **detail: str) -> None:
    """Write down that whoever runs this command does ``what`` to ``on``, in the database that ``settings`` name, else in the
    data directory. Call it when all has been checked and nothing has been done yet; no secret in ``detail``.
    :class:`sonde.errors.Retry` if it cannot be written: then nothing may be done."""
    with open_trail(directory, settings) as trail:
        note_in(trail, what, on, **detail)


def note_in(trail: AuditTrail, what: str, on: str = "", /, **detail: str) -> None:
    """The same, in a trail that is open already. ``detail`` says which user of the machine it is."""
    trail.write(act(SystemClock().now(), LOCAL, what, on, user=_user(), **detail))


def _user() -> str:
    """The user of this process, by what the kernel says; who became that user with sudo is told too, if sudo says so."""
    number = os.getuid()
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:
        name = str(number)
    before = os.environ.get("SUDO_USER", "")
    return f"{name} (sudo by {before})" if before and before != name else name
