"""One open DuckDB database: its settings, its cursors, and its errors in Sonde's words."""

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NoReturn, cast

import duckdb
import pyarrow as pa

from sonde.errors import Damaged, Hold, Retry, SondeError

Connection = duckdb.DuckDBPyConnection
Parameters = Mapping[str, object] | Sequence[object] | None

_DISK: Final = re.compile(
    r"no space left|file too large|quota|too many open files|read-only file system|could not (write|fsync)", re.I
)
TROUBLE: Final = re.compile(r"parquet|thrift|tprotocol|zstd|decompress|corrupt|checksum|metadata block", re.I)
"""What DuckDB's errors speak of when a file does not hold what was written to it."""
_PATH: Final = re.compile(r"(/[^\s'\"/]+)+/(?=[^\s'\"/]+)")


class Engine:
    """A DuckDB file (or memory) that no query can lead out of: no file but the parts, no network, no extension.

    :class:`Damaged` if the file cannot be opened; :class:`Retry` if another program has it, or the disk is full.
    """

    def __init__(self, file: Path | None, parts: Path | None, memory_limit: str, *, read_only: bool = False) -> None:
        self.file, self._parts, self._memory_limit, self.read_only = file, parts, memory_limit, read_only
        self.prepare: str = ""  # what every new cursor runs first
        self._free: list[Connection] = []
        self._lent: set[Connection] = set()
        self._lock = threading.Condition()
        self._open = False
        self.open()

    def open(self) -> None:
        """Open the database; also again, after :meth:`close`."""
        settings: dict[str, str | bool | int | float | list[str]] = {
            "threads": 2,
            "memory_limit": self._memory_limit,
            "python_enable_replacements": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "preserve_insertion_order": False,
            "max_temp_directory_size": "4GB",
        }
        if self.file is not None:
            settings["temp_directory"] = str(self.file.with_suffix(".tmp"))
        try:
            self._root = duckdb.connect(str(self.file or ":memory:"), read_only=self.read_only, config=settings)
            self._root.execute("set global TimeZone = 'UTC'; set global parquet_metadata_cache = true")
            if self._parts is not None:
                self._root.execute(f"set global allowed_directories = ['{_quoted(self._parts)}']")
            self._root.execute("set global enable_external_access = false; set global lock_configuration = true")
        except duckdb.Error as error:
            raise self._refused_to_open(error) from None
        self._open = True

    def close(self) -> None:
        """Interrupt what runs, and close. DuckDB keeps a database open while one of its cursors is."""
        with self._lock:
            self._open = False
            for cursor in self._lent:
                cursor.interrupt()
            self._lock.wait_for(lambda: not self._lent, timeout=5.0)  # one may be idle, its user waiting for a lock
            for cursor in (*self._free, *self._lent):
                cursor.close()
            self._free.clear()
            self._lent.clear()
            self._root.close()

    def take(self) -> Connection:
        """A cursor of one's own, until :meth:`give_back`."""
        with self._lock:
            if not self._open:
                raise Retry("the store is being opened again", after=1.0)
            cursor = self._free.pop() if self._free else None
            if cursor is None:
                cursor = self._root.cursor()
                if self.prepare:
                    cursor.execute(self.prepare)
            self._lent.add(cursor)
            return cursor

    def give_back(self, cursor: Connection, *, spoiled: bool = False) -> None:
        """End the use of a cursor; a ``spoiled`` one (an error, a query interrupted) is not used again."""
        with self._lock:
            mine = cursor in self._lent
            self._lent.discard(cursor)
            if self._open and mine and not spoiled:
                self._free.append(cursor)
            else:
                cursor.close()
            self._lock.notify_all()

    @property
    def is_open(self) -> bool:
        return self._open

    def forget_free(self) -> None:
        """Close the cursors that nobody has, so that the next ones run :attr:`prepare`."""
        with self._lock:
            while self._free:
                self._free.pop().close()

    @contextmanager
    def raw_cursor(self) -> Iterator[Connection]:
        """A cursor for the time of a ``with``; driver errors stay as they are."""
        cursor = self.take()
        spoiled = True
        try:
            yield cursor
            spoiled = False
        finally:
            self.give_back(cursor, spoiled=spoiled)

    @contextmanager
    def cursor(self) -> Iterator[Connection]:
        """A cursor for the time of a ``with``; driver errors in it become Sonde's."""
        try:
            with self.raw_cursor() as cursor:
                yield cursor
        except duckdb.Error as error:
            self.refuse(error)

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A cursor that sees one moment and changes nothing."""
        with self.cursor() as cursor:
            cursor.execute("begin transaction read only")
            yield cursor
            cursor.execute("rollback")

    @contextmanager
    def transaction(self, cursor: Connection) -> Iterator[None]:
        """All that is done inside, or nothing."""
        cursor.execute("begin transaction")
        try:
            yield
            cursor.execute("commit")
        except BaseException:
            self._roll_back(cursor)
            raise

    def refuse(self, error: duckdb.Error) -> NoReturn:
        """Raise what ``error`` means to the caller."""
        raise self.meaning(error) from None

    def meaning(self, error: duckdb.Error) -> SondeError:
        """The error of Sonde's tree for one of DuckDB's."""
        text = without_paths(str(error))
        match error:
            case duckdb.InterruptException():
                meant: SondeError = Retry("the query was stopped", hint="Ask for a shorter span or fewer series")
            case duckdb.OutOfMemoryException():
                limit = self._memory_limit
                meant = Retry(f"the store's memory limit of {limit} was reached", hint="Ask for less at once")
            case duckdb.IOException() | duckdb.TransactionException() if _DISK.search(text):
                meant = Retry(
                    f"the store's disk is full or cannot be written ({text})", hint="Free some space", after=5.0
                )
            case duckdb.TransactionException() | duckdb.ConnectionException() | duckdb.ResourceInUseException():
                meant = Retry(f"the store is busy ({text})")
            case duckdb.IOException() | duckdb.SerializationException():
                meant = Damaged(f"the store cannot be read ({text})", file=str(self.file), offset=0)
            case duckdb.FatalException() | duckdb.InternalException():
                meant = Retry(f"the database gave up and is opened again ({text})", after=1.0)
            case _ if TROUBLE.search(text):
                meant = Damaged(f"the store cannot be read ({text})", file=str(self.file), offset=0)
            case _:
                meant = Hold(
                    f"the store's database refused what it should have done ({text})", hint="Rebuild the store"
                )
        return meant

    def _refused_to_open(self, error: duckdb.Error) -> SondeError:
        text = str(error)
        if isinstance(error, duckdb.ConnectionException) or "Could not set lock" in text or "Conflicting lock" in text:
            return Retry(f"another program has {self.file} open", hint="Ask its server, or stop it")
        if isinstance(error, duckdb.IOException) and _DISK.search(text):
            return Retry(f"the store cannot be opened ({text})", hint="Free some space", after=5.0)
        return Damaged(f"the store cannot be opened ({text.strip()})", file=str(self.file), offset=0)

    @staticmethod
    def _roll_back(cursor: Connection) -> None:
        try:
            cursor.execute("rollback")
        except duckdb.Error:
            return  # DuckDB has rolled back by itself, or the database has been given up; the first error says why


def fetch(cursor: Connection, sql: str, parameters: Parameters = None) -> pa.Table:
    """The rows of one select."""
    return cursor.sql(sql, params=parameters or None).to_arrow_table()


def fetch_one(cursor: Connection, sql: str, parameters: Parameters = None) -> tuple[object, ...]:
    """The only row of a select, without times (DuckDB gives those to Python through a module of its own)."""
    return cast(tuple[object, ...], cursor.execute(sql, parameters).fetchall()[0])


def without_paths(text: str) -> str:
    """``text`` with file names but no directories."""
    return _PATH.sub("", text.strip())


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
