"""The store of a data directory that no server has open: asked, or made again."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pyarrow as pa

from sonde.assemble.embedded.truth import open_store, try_store
from sonde.assemble.keys.rings import log_ring
from sonde.assemble.places import log_path
from sonde.config import Settings
from sonde.directory import DataDirectory
from sonde.errors import NotFound
from sonde.files import sync_directory
from sonde.frame import Opener
from sonde.log import walk
from sonde.log.segments import SegmentLog, read_id
from sonde.process.rebuild import Standing, forget_identities, rebuild, standing
from sonde.question import Sql
from sonde.store.duckdb import FILE, DuckStore
from sonde.store.identities import SqliteIdentities

REBUILT: Final = "rebuilt.duckdb"
_MAINTAIN_EVERY: Final = 20  # steps


def ask_store(directory: DataDirectory, settings: Settings, text: str) -> tuple[pa.Table, int]:
    """The rows that a select gives, and how many frames of the log are not in the store yet. :class:`NotFound` if nothing
    was ever stored here."""
    path = log_path(directory, settings)
    log = read_id(path) if path.is_dir() else None
    if log is None or not (directory.store / FILE).exists():
        raise NotFound(
            f"nothing was ever stored in {directory.path}", hint=f"Start it: sonde up --data {directory.path}"
        )
    store, need = try_store(directory, settings, log, tidies=False)
    if store is None:
        raise NotFound(
            f"the store cannot be used: {need.sentence if need else ''}", hint="sonde rebuild makes it again"
        )
    try:
        limits = settings.api
        answer = store.ask(Sql(text, seconds=limits.sql_time, rows=limits.sql_rows))
        ends = walk.ends(path)
        behind = sum(end - answer.cursor.offsets.get(partition, 0) for partition, (_, end) in ends.items())
        return answer.rows, max(0, behind)
    finally:
        store.close()


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What came of it: the next offset, in what the new store differs from the old one (None: there was none to compare
    with, and ``reason`` says why), and where the old one is kept if it is."""

    offset: int
    differences: list[str] | None
    reason: str = ""
    kept: Path | None = None
    readings: int = field(default=0)


def remake(directory: DataDirectory, settings: Settings, progress: Callable[[int, int], None]) -> Rebuilt:
    """Make the store again from its newest checkpoint and the log, into a new file that takes the old one's place when it
    is done. :class:`InUse` while a server runs."""
    lock = directory.lock()
    log = SegmentLog(log_path(directory, settings), segment_bytes=settings.log.segment)
    identities = SqliteIdentities(directory.store / "identities.db")
    try:
        opener = Opener(log_ring(directory, settings))
        old, need = try_store(directory, settings, log.id, tidies=False)
        reason = need.sentence if need else ""
        if old is not None and (found := standing(old.load(), log)) != Standing.OK:
            reason = found.sentence
            old.close()
            old = None
            if found in {Standing.AHEAD, Standing.OTHER}:
                forget_identities(identities)
        new = open_store(directory, settings, log.id, restore=log, file=REBUILT, tidies=False)
        offset = _fill(new, log, identities, opener, progress)
        if old is not None:
            _fill(old, log, identities, opener, lambda done, end: None)
        differences = old.equals(new) if old is not None else None
        for store in (old, new):
            if store is not None:
                store.close()
        kept = _take_place(directory.store, keep=bool(differences) or old is None)
        return Rebuilt(offset, differences, reason, kept)
    finally:
        identities.close()
        log.close()
        lock.release()


def _fill(
    store: DuckStore,
    log: SegmentLog,
    identities: SqliteIdentities,
    opener: Opener,
    progress: Callable[[int, int], None],
) -> int:
    steps = 0

    def report(done: int, end: int) -> None:
        nonlocal steps
        steps += 1
        if steps % _MAINTAIN_EVERY == 0:
            store.maintain()
        progress(done, end)

    return rebuild(log, store, identities, opener, report)


def _take_place(folder: Path, *, keep: bool) -> Path | None:
    """Put the rebuilt database where the old one is; where that is kept, if it is."""
    kept: Path | None = None
    if (folder / FILE).exists() and keep:
        number = 1 + len(list(folder.glob(f"{FILE}.aside-*")))
        kept = folder / f"{FILE}.aside-{number}"
        os.replace(folder / FILE, kept)
    (folder / f"{FILE}.wal").unlink(missing_ok=True)
    os.replace(folder / REBUILT, folder / FILE)
    sync_directory(folder)
    return kept
