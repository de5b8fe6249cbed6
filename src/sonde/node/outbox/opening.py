"""Opening an outbox file, and what becomes of one that cannot be used."""

from pathlib import Path

import apsw
import structlog

from sonde.clock import Clock
from sonde.directory import FileLock
from sonde.errors import Damaged, Hold, KeyMissing, Retry
from sonde.keyring import Keys
from sonde.node.outbox import tombstone
from sonde.node.outbox.aside import set_aside
from sonde.node.outbox.file import GROUP, OutboxFile, connection_error

_log = structlog.get_logger()


class Opening:
    """Opens the file at a path, as often as it has to be; ``problems`` tells the newest of what went wrong, in plain words."""

    def __init__(self, path: Path, ring: Keys, limit_bytes: int, clock: Clock) -> None:
        self._path, self._ring, self._limit, self._clock = path, ring, limit_bytes, clock
        self.problems: list[str] = []

    def open(self, epoch: str = "") -> OutboxFile:
        """The file at the path; a damaged one is set aside first."""
        try:
            return self._made(epoch)
        except (apsw.CorruptError, apsw.NotADBError, apsw.SQLError, Damaged, KeyMissing) as error:
            self.set_aside(error)
            return self._made(epoch)

    def _made(self, epoch: str) -> OutboxFile:
        try:
            file = OutboxFile(self._path, self._ring, limit_bytes=self._limit, clock=self._clock, epoch=epoch)
            if file.unread:
                self._step_over(file)
            return file
        except (apsw.CantOpenError, apsw.PermissionsError, apsw.ReadOnlyError) as error:
            raise Hold(f"{self._path} cannot be opened: {error}", hint="May this user write there?") from None
        except OSError as error:
            raise _cannot_open(self._path, error) from None
        except (apsw.FullError, apsw.IOError, apsw.BusyError, apsw.LockedError) as error:
            raise connection_error(error) from None

    def _step_over(self, file: OutboxFile) -> None:
        """Seqs that the unread commits may have given out must not be given out again."""
        try:
            file.begin()
            file.book.renew()
            for lane in tombstone.LANES:
                file.step_over(lane, (file.unread + 1) * GROUP)
            file.commit()
        except BaseException:
            file.connection.close(True)
            raise
        self.problem(
            "outbox_end_unreadable",
            f"{self._path}: up to {file.unread} commits at its end could not be read; "
            f"they are kept in {self._path.name}.unread-wal",
        )

    def set_aside(self, error: Exception) -> None:
        """Keep what cannot be used under another name."""
        name = set_aside(self._path, self._clock.now())
        self.problem("outbox_set_aside", f"{self._path} cannot be used ({error}); it is kept as {name}")

    def problem(self, event: str, text: str) -> None:
        """Say it, and remember the newest ten."""
        self.problems = [*self.problems[-9:], text]
        _log.error(event, file=str(self._path), problem=text)


def lock(path: Path) -> FileLock:
    """The outbox at ``path``, for this program alone."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return FileLock(path.with_name(path.name + ".lock"))
    except OSError as error:
        raise _cannot_open(path, error) from None


def _cannot_open(path: Path, error: OSError) -> Retry:
    return Retry(f"{path} cannot be opened: {error.strerror}", hint="May this user write there?")
