"""The file of the control database: its tables, and how it is opened, locked and shared.

Several programs may have it open at once (the server, and ``sonde token`` beside it), and each part of one program has a
connection of its own. WAL with full syncs: what was committed is there after a power cut.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import apsw

from sonde.errors import Conflict, Damaged, Hold, NewerFormat, Retry, SondeError

BUSY_MILLISECONDS: Final = 5_000

STEPS: Final = (
    """
create table tokens (
    digest blob primary key, id text not null unique, name text not null, scopes text not null, devices text not null,
    node text not null, expires integer, created integer not null, last_used integer, revoked integer not null
) without rowid;
create table sessions (
    digest blob primary key, kind text not null, credential_id text not null, expires integer not null
) without rowid;
create index sessions_expire on sessions (expires);
""",
    """
create table audit (number integer primary key, act blob not null, hash blob not null);
create table audit_ends (start integer not null, start_hash blob not null, head integer not null, head_hash blob not null);
insert into audit_ends values (0, zeroblob(32), 0, zeroblob(32));
""",
    """
alter table sessions add column created integer not null default 0;
alter table sessions add column last_used integer;
alter table sessions add column address text not null default '';
alter table sessions add column last_address text not null default '';
alter table sessions add column agent text not null default '';
""",
    """
create table notices (
    number integer primary key, id text not null unique, target text not null, fate text not null, notice blob not null
);
create index notices_wait on notices (target, fate, number);
create table notice_places (
    target text not null, log text not null, "partition" integer not null, "offset" integer not null,
    primary key (target, log, "partition")
) without rowid;
""",
)
"""What each version of the file adds to the one before. A new version is a new step at the end; steps never change."""


class ControlFile:
    """One connection to the file at ``path``, made with mode 0600 if it is not there. Any thread may use it, one at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        with self.errors():
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            self.db = _connect(path)
            self._prepare()

    def _prepare(self) -> None:
        with self.transaction():  # two programs may start at once: the first makes the tables
            (version,) = next(self.db.execute("pragma user_version"))
            if version > len(STEPS):
                raise NewerFormat(
                    f"{self.path} was written by a newer Sonde (version {version}, and this one reads up to {len(STEPS)})",
                    hint="Go on with the Sonde that wrote it, or a newer one",
                )
            for step in STEPS[version:]:
                self.db.execute(step)
            if version < len(STEPS):  # else nothing is written: it opens on a full disk too
                self.db.execute(f"pragma user_version = {len(STEPS)}")

    def close(self) -> None:
        with self.errors():
            self.db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One transaction. Not the driver's own ``with``: that waits for locks and syncs with the GIL held."""
        self.db.execute("begin immediate")
        try:
            yield
            self.db.execute("commit")
        except BaseException:
            if self.db.in_transaction:
                self.db.execute("rollback")
            raise

    @contextmanager
    def errors(self) -> Iterator[None]:
        """One caller at a time, and SQLite's errors in our names."""
        with self._lock:
            try:
                yield
            except SondeError:
                raise
            except (apsw.CorruptError, apsw.NotADBError) as error:
                raise Damaged(
                    f"SQLite reports damage ({error})", file=str(self.path), offset=0, hint="Restore it from a backup"
                ) from None
            except apsw.ConstraintError:
                raise Conflict("a token or session with this id is there already", hint="Make another") from None
            except (apsw.CantOpenError, apsw.PermissionsError, apsw.ReadOnlyError, PermissionError) as error:
                raise Hold(
                    f"{self.path} cannot be opened for writing ({error})", hint="Check its owner and mode"
                ) from None
            except apsw.ConnectionClosedError:
                raise Retry(f"{self.path} is closed: the program is stopping") from None
            except (apsw.Error, OSError) as error:
                raise Retry(f"{self.path} could not be used ({error})", hint="Is the disk full?", after=5.0) from None


def _connect(path: Path) -> apsw.Connection:
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    db.set_busy_timeout(BUSY_MILLISECONDS)
    db.pragma("journal_mode", "wal")
    db.pragma("synchronous", 2)
    db.pragma("trusted_schema", 0)
    return db
