"""A copy of a SQLite database that other programs are using, by SQLite's own backup."""

from pathlib import Path

import apsw

from sonde.errors import Damaged, Retry

_BUSY_MILLISECONDS = 10_000


def copy_database(source: Path, target: Path) -> None:
    """Copy the database at ``source`` into the new file ``target``, as one moment saw it, in one file. :class:`Damaged` if it
    is no whole database, :class:`Retry`."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    target.touch(mode=0o600)
    try:
        old = apsw.Connection(str(source), flags=apsw.SQLITE_OPEN_READWRITE)
        new = apsw.Connection(str(target))
        try:
            old.set_busy_timeout(_BUSY_MILLISECONDS)
            with new.backup("main", old, "main") as backup:
                while not backup.done:
                    backup.step(-1)
            new.execute("pragma journal_mode = delete")
            said = next(new.execute("pragma quick_check(1)"))[0]
        finally:
            new.close()
            old.close()
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise Damaged(f"SQLite reports damage ({error})", file=str(source), offset=0) from None
    except apsw.Error as error:
        raise Retry(f"{source} could not be copied ({error})", hint="Try again; is the disk full?") from None
    if said != "ok":
        raise Damaged(f"SQLite reports damage ({said})", file=str(source), offset=0)
