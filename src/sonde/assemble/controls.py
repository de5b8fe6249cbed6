"""The control database: tokens and sessions, the audit trail, notices. A file of the data directory, or in PostgreSQL."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sonde.assemble.extras import load
from sonde.clock import Clock, SystemClock
from sonde.config import Settings
from sonde.control.audit import SqliteAuditTrail
from sonde.control.notices import SqliteNotices
from sonde.control.sqlite import SqliteControl
from sonde.directory import DataDirectory
from sonde.ports import AuditTrail, Control, Notices


@dataclass(frozen=True, slots=True)
class Controls:
    """The three of them; ``close`` closes all."""

    control: Control
    audit: AuditTrail
    notices: Notices
    close: Callable[[], None]


def open_controls(directory: DataDirectory, settings: Settings | None = None, clock: Clock | None = None) -> Controls:
    """Those that the settings name, else those of the data directory; servers may be running on them or not."""
    if settings is None or settings.database is None:
        return _local_controls(directory)
    opened: Controls = load("sonde.assemble.shared.database").open_controls(settings.database, clock or SystemClock())
    return opened


@contextmanager
def open_notices(directory: DataDirectory, settings: Settings | None = None) -> Iterator[Notices]:
    """What people were told, closed afterwards."""
    controls = open_controls(directory, settings)
    try:
        yield controls.notices
    finally:
        controls.close()


def _local_controls(directory: DataDirectory) -> Controls:
    control = SqliteControl(directory.control)
    try:
        audit, notices = SqliteAuditTrail(directory.control), SqliteNotices(directory.control)
    except BaseException:
        control.close()
        raise

    def close() -> None:
        notices.close()
        audit.close()
        control.close()

    return Controls(control, audit, notices, close)
