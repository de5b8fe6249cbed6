"""When tokens and sessions were used last: worth knowing, and worth no waiting."""

from typing import Final

import apsw

from sonde.clock import SECOND, Clock, Micros
from sonde.control.file import BUSY_MILLISECONDS, ControlFile

_EVERY: Final = 60 * SECOND


class LastUsed:
    """Times of use that are written late and without a sync, with a statement that takes a moment, what else was noted, and
    a digest. Every call is made within :meth:`ControlFile.errors`."""

    def __init__(self, file: ControlFile, clock: Clock, statement: str) -> None:
        self._file = file
        self._clock = clock
        self._statement = statement
        self._noted: dict[bytes, tuple[Micros, *tuple[str, ...]]] = {}
        self._written = clock.now()

    def note(self, digest: bytes, moment: Micros, *more: str) -> None:
        """It was used; once a minute, all that was noted is written down."""
        self._noted[digest] = (moment, *more)
        if abs(self._clock.now() - self._written) >= _EVERY:
            self.write()

    def write(self) -> None:
        """Write all down; another time if a writer is at work just now."""
        if not self._noted:
            return
        self._written = self._clock.now()
        db = self._file.db
        db.set_busy_timeout(0)
        db.pragma("synchronous", 1)
        try:
            with self._file.transaction():
                db.executemany(self._statement, [(*noted, digest) for digest, noted in self._noted.items()])
            self._noted.clear()
        except (apsw.BusyError, apsw.FullError):
            return  # it stays in ``_noted``
        finally:
            db.pragma("synchronous", 2)
            db.set_busy_timeout(BUSY_MILLISECONDS)
