"""Who was first: an index of identities outside the store, so that it is there before the store commits.

Keys are random, and a tree of random keys rewrites a page for each. So they are gathered as they come, and when there
are enough, written in order as a *run* that never changes. A filter in memory says which runs may hold a key; most
keys are new, and no run is read for them. To forget is to drop whole runs.
"""

# ruff: noqa: S608 - names of tables are Sonde's own; values go as parameters

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import apsw
import numpy as np
import numpy.typing as npt
import structlog

from sonde.clock import Micros
from sonde.errors import Damaged, Retry, SondeError
from sonde.files import sync_directory
from sonde.ports import Claim
from sonde.store.filter import RunFilter

_log = structlog.get_logger()
RUN: Final = 65_536  # keys in a run
_FILTER_BITS: Final = 16  # a key
_VERSION: Final = 1
_TABLES: Final = f"""
create table if not exists recent (id integer primary key, key blob, offset int, position int, digest blob, log_time int);
create table if not exists runs (number integer primary key, keys int, oldest int, newest int, filter blob);
pragma user_version = {_VERSION};
"""
_COLUMNS: Final = "key, offset, position, digest, log_time"


class _Place(NamedTuple):
    offset: int
    position: int
    digest: bytes
    log_time: Micros

    def is_before(self, claim: Claim) -> bool:
        """Whether this is the claim's own place, or an earlier one."""
        return (self.offset, self.position) <= (claim.offset, claim.position)


class _Run(NamedTuple):
    number: int
    keys: int
    oldest: Micros
    newest: Micros


class MemoryIdentities:
    """:class:`sonde.ports.Identities` for as long as the process lives."""

    def __init__(self) -> None:
        self._known: dict[bytes, _Place] = {}

    def first(self, partition: int, claims: Sequence[Claim], log_time: Micros) -> Sequence[Claim]:
        """See :meth:`sonde.ports.Identities.first`."""
        keys = _keys(partition, claims)
        for key, claim in zip(keys, claims, strict=True):
            known = self._known.get(key)
            if known is None or not known.is_before(claim):
                self._known[key] = _Place(claim.offset, claim.position, claim.digest, log_time)
        return [_claim(claim, self._known[key]) for key, claim in zip(keys, claims, strict=True)]

    def find(self, partition: int, keys: Sequence[bytes]) -> Sequence[Claim | None]:
        """See :meth:`sonde.ports.Identities.find`."""
        return [_found(key, self._known.get(key + _ending(partition))) for key in keys]

    def forget(self, before: Micros, keep: int, partition: int | None = None) -> Micros:
        """See :meth:`sonde.ports.Identities.forget`."""
        ending = b"" if partition is None else _ending(partition)
        theirs = {key: place for key, place in self._known.items() if key.endswith(ending)}
        newest = sorted(theirs.items(), key=lambda item: item[1].log_time, reverse=True)[:keep]
        kept = {key: place for key, place in newest if place.log_time >= before}
        self._known = {key: place for key, place in self._known.items() if key not in theirs or key in kept}
        return min((place.log_time for place in kept.values()), default=before)

    def close(self) -> None:
        return


class SqliteIdentities:
    """:class:`sonde.ports.Identities` in one SQLite file, safe from power cuts.

    A file that is not one, or does not hold what was written, is set aside under another name and :class:`Damaged` is
    raised; made again, it is empty, and reading the log once more fills it. ``run`` keys are dropped together, so
    :meth:`forget` may keep up to so many more than asked.
    """

    def __init__(self, path: Path, *, run: int = RUN) -> None:
        self._path, self._run_size = path, run
        self._lock = threading.Lock()
        self._recent: dict[bytes, _Place] = {}
        self._runs: list[_Run] = []  # oldest first
        self._filter = RunFilter((run * _FILTER_BITS - 1).bit_length())
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = apsw.Connection(str(path))
            self._load()
        except apsw.Error as error:
            raise self._meaning(error) from None

    def first(self, partition: int, claims: Sequence[Claim], log_time: Micros) -> Sequence[Claim]:
        """See :meth:`sonde.ports.Identities.first`."""
        with self._lock:
            try:
                return self._first(_keys(partition, claims), claims, log_time)
            except apsw.Error as error:
                raise self._meaning(error) from None

    def find(self, partition: int, keys: Sequence[bytes]) -> Sequence[Claim | None]:
        """See :meth:`sonde.ports.Identities.find`."""
        if not keys:
            return []
        ending = _ending(partition)
        with self._lock:
            try:
                known = self._known([key + ending for key in keys])
            except apsw.Error as error:
                raise self._meaning(error) from None
        return [_found(key, known.get(key + ending)) for key in keys]

    def forget(self, before: Micros, keep: int, partition: int | None = None) -> Micros:
        """See :meth:`sonde.ports.Identities.forget`."""
        with self._lock:
            try:
                self._forget(before, keep)
            except apsw.Error as error:
                raise self._meaning(error) from None
            since = [run.oldest for run in self._runs] + [place.log_time for place in self._recent.values()]
            return min(since, default=before)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _load(self) -> None:
        db = self._db
        db.execute("pragma journal_mode = wal; pragma synchronous = full; pragma cache_size = -16384")
        version = db.pragma("user_version")
        if version not in {0, _VERSION}:
            raise apsw.NotADBError(f"its version is {version}")
        if version == 0:
            with db:
                db.execute(_TABLES)
        for key, *place in db.execute(f"select {_COLUMNS} from recent order by id"):
            self._recent[key] = _Place(*place)  # a later row of one key has the earlier place
        for number, keys, oldest, newest, kept in db.execute("select * from runs order by number"):
            self._runs.append(_Run(number, keys, oldest, newest))
            self._filter.put(number, kept)

    def _first(self, keys: list[bytes], claims: Sequence[Claim], log_time: Micros) -> list[Claim]:
        known = self._known(keys)
        added: dict[bytes, _Place] = {}
        for key, claim in zip(keys, claims, strict=True):
            place = known.get(key)
            if place is None or not place.is_before(claim):
                known[key] = added[key] = _Place(claim.offset, claim.position, claim.digest, log_time)
        if added:
            self._keep(added)
        return [_claim(claim, known[key]) for key, claim in zip(keys, claims, strict=True)]

    def _known(self, keys: list[bytes]) -> dict[bytes, _Place]:
        """What is remembered of ``keys``."""
        recent = self._recent
        known = {key: recent[key] for key in keys if key in recent}
        asked = [key for key in keys if key not in known]
        if asked and self._runs:
            for number, hits in self._filter.candidates(self._filter.places(_halves(asked))):
                for key, place in self._look_up(number, [asked[i] for i in hits]):
                    other = known.get(key)
                    if other is None or place[:2] < other[:2]:
                        known[key] = place
        return known

    def _look_up(self, number: int, keys: Iterable[bytes]) -> Iterable[tuple[bytes, _Place]]:
        rows = self._db.executemany(f"select {_COLUMNS} from run_{number} where key = ?", ((key,) for key in keys))
        return ((key, _Place(*place)) for key, *place in rows)

    def _keep(self, added: dict[bytes, _Place]) -> None:
        """Make new places durable; when many have gathered, as a run."""
        full = len(self._recent) + len(added) >= self._run_size
        with self._db:
            if full:
                run = self._write_run({**self._recent, **added})
                self._db.execute("delete from recent")
            else:
                self._db.executemany(
                    f"insert into recent ({_COLUMNS}) values (?, ?, ?, ?, ?)",
                    ((key, *place) for key, place in added.items()),
                )
        if full:
            self._runs.append(run[0])
            self._filter.put(run[0].number, run[1])
            self._recent.clear()
        else:
            self._recent.update(added)

    def _write_run(self, places: dict[bytes, _Place]) -> tuple[_Run, bytes]:
        number = self._runs[-1].number + 1 if self._runs else 1
        times = [place.log_time for place in places.values()]
        run = _Run(number, len(places), min(times), max(times))
        kept = self._filter.pack(self._filter.places(_halves(list(places))))
        table = f"run_{number}"
        self._db.execute(
            f"create table {table} (key blob primary key, offset int, position int, digest blob, log_time int) without rowid"
        )
        rows = ((key, *places[key]) for key in sorted(places))
        self._db.executemany(f"insert into {table} values (?, ?, ?, ?, ?)", rows)
        self._db.execute("insert into runs values (?, ?, ?, ?, ?)", (*run, kept))
        return run, kept

    def _forget(self, before: Micros, keep: int) -> None:
        held = len(self._recent) + sum(run.keys for run in self._runs)
        gone = []
        for run in self._runs:
            if run.newest < before or held - run.keys >= keep:
                gone.append(run)
                held -= run.keys
        stale = bool(self._recent) and max(place.log_time for place in self._recent.values()) < before
        if not gone and not stale:
            return
        with self._db:
            for run in gone:
                self._db.execute(f"drop table run_{run.number}; delete from runs where number = {run.number}")
            if stale:
                self._db.execute("delete from recent")
        self._runs = [run for run in self._runs if run not in gone]
        for run in gone:
            self._filter.drop(run.number)
        if stale:
            self._recent.clear()

    def _meaning(self, error: apsw.Error) -> SondeError:
        if not isinstance(error, apsw.CorruptError | apsw.NotADBError):
            return Retry(
                f"the index of identities {self._path} cannot be used ({error})", hint="Look at its disk", after=1.0
            )
        self._db.close()
        number = 1 + len(list(self._path.parent.glob(f"{self._path.name}.aside-*")))
        aside = self._path.with_name(f"{self._path.name}.aside-{number}")
        for ending in ("", "-wal", "-shm"):
            file = self._path.with_name(self._path.name + ending)
            if file.exists():
                file.rename(aside.with_name(aside.name + ending))
        sync_directory(self._path.parent)
        _log.warning("identities_set_aside", file=str(aside), problem=str(error))
        return Damaged(
            f"the index of identities does not hold what was written ({error})",
            file=str(aside),
            offset=0,
            hint="It was set aside; a new one is filled from the log",
        )


def _keys(partition: int, claims: Sequence[Claim]) -> list[bytes]:
    ending = _ending(partition)
    return [claim.key + ending for claim in claims]


def _ending(partition: int) -> bytes:
    return partition.to_bytes(2, "big")


def _found(key: bytes, place: _Place | None) -> Claim | None:
    return None if place is None else Claim(key, place.offset, place.position, place.digest)


def _halves(keys: list[bytes]) -> npt.NDArray[np.uint64]:
    """The first 16 bytes of each key as two numbers; those of a partition share its runs' filters."""
    width = len(keys[0])
    raw = np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), width)[:, :16]
    return np.ascontiguousarray(raw).view(np.uint64)


def _claim(claim: Claim, place: _Place) -> Claim:
    if place.offset == claim.offset and place.position == claim.position:
        return claim
    return Claim(claim.key, place.offset, place.position, place.digest)
