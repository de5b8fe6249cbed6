"""Opening the log and the store that follows it, and seeing whether the store has to be made again."""

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from sonde.assemble.places import log_path
from sonde.changes import State
from sonde.config import Settings
from sonde.directory import DataDirectory
from sonde.errors import Damaged, Hold, Retry
from sonde.log.segments import SegmentLog, read_id
from sonde.metrics import Metrics
from sonde.process.rebuild import Standing, standing
from sonde.store.duckdb import FILE, DuckStore

_log = structlog.get_logger()
_PATIENCE: Final = 5.0  # seconds for another program that just looks something up in the store


@dataclass(frozen=True, slots=True)
class Need:
    """Why a store has to be made again. ``word`` is for metrics. ``other_log``: what is known beside it, of readings that
    the log does not hold, is worth nothing either."""

    word: str
    sentence: str
    other_log: bool = False


@dataclass(frozen=True, slots=True)
class Truth:
    """The log, open for writing; the store if there is one, and why it has to be made again if it has."""

    log: SegmentLog
    store: DuckStore | None
    need: Need | None = None


def open_store(
    directory: DataDirectory,
    settings: Settings,
    log: str,
    *,
    restore: SegmentLog | None = None,
    file: str = FILE,
    tidies: bool = True,
    metrics: Metrics | None = None,
) -> DuckStore:
    """The store that follows ``log``; from its newest checkpoint if it is to be restored. :class:`Damaged`."""
    hot = settings.store
    memory = f"{hot.memory >> 20}MiB"
    if restore is not None:
        return DuckStore.restore(
            directory.store,
            log,
            ends=restore.ends(),
            file=file,
            tidies=tidies,
            memory_limit=memory,
            hot_rows=hot.hot_readings,
            hot_seconds=hot.hot_time,
            metrics=metrics,
        )
    return DuckStore(
        directory.store,
        log,
        file=file,
        tidies=tidies,
        memory_limit=memory,
        hot_rows=hot.hot_readings,
        hot_seconds=hot.hot_time,
        metrics=metrics,
    )


def try_store(
    directory: DataDirectory,
    settings: Settings,
    log: str,
    *,
    tidies: bool = True,
    metrics: Metrics | None = None,
) -> tuple[DuckStore | None, Need | None]:
    """The store, or why it has to be made again. :class:`Hold` if another program does not let go of it."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return open_store(directory, settings, log, tidies=tidies, metrics=metrics), None
        except Damaged as error:
            return None, Need("damaged", str(error))
        except Retry as error:
            if time.monotonic() > deadline:
                raise Hold(error.message, hint=error.hint) from None
            time.sleep(0.1)


def open_truth(directory: DataDirectory, settings: Settings, metrics: Metrics) -> Truth:
    """Open both. :class:`Damaged` if the log is damaged where no store knows better, :class:`InUse`, :class:`Retry`."""
    path = log_path(directory, settings)
    known = read_id(path) if path.is_dir() else None
    store, need = try_store(directory, settings, known, metrics=metrics) if known else (None, None)
    state = store.load() if store else None
    try:
        log = SegmentLog(path, stored=_stored(state, known), segment_bytes=settings.log.segment)
    except Damaged as error:
        if store is None:
            raise
        _log.error("log_ends_early", problem=str(error))
        store.close()
        return Truth(
            SegmentLog(path, segment_bytes=settings.log.segment), None, Need("ahead", Standing.AHEAD.sentence, True)
        )
    except BaseException:
        if store is not None:
            store.close()
        raise
    if need is None and store is None:  # the log is new
        store, need = try_store(directory, settings, log.id, metrics=metrics)
        state = store.load() if store else None
    if store is not None and state is not None:
        found = standing(state, log)
        if found != Standing.OK:
            store.close()
            other = found in {Standing.AHEAD, Standing.OTHER}
            return Truth(log, None, Need(found.name.lower(), found.sentence, other))
        if not state.progress and any(end for _, end in log.ends().values()):
            return Truth(log, store, Need("lost", "the store is empty, and the log is not"))
    return Truth(log, store, need)


def set_store_aside(directory: DataDirectory) -> Path:
    """Keep a whole store under another name before it is made again from a log that does not hold all that it knows.

    Its files are linked, not copied, so this costs no room; identities, which are written in place, stay behind.
    """
    number = 1
    while (aside := directory.path / f"store.aside-{number}").exists():
        number += 1
    shutil.copytree(directory.store, aside, copy_function=os.link, ignore=shutil.ignore_patterns("identities*"))
    _log.warning("store_set_aside", folder=str(aside))
    return aside


def _stored(state: State | None, log: str | None) -> dict[int, int]:
    return {p.partition: p.offset for p in state.progress if p.log == log} if state else {}
