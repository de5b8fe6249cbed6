"""``sonde restore``: a backup as a data directory of its own.

The file ``RESTORING`` comes first and goes last, and nothing opens a directory that has it. What was interrupted goes on when
it is called again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from sonde.assemble.acts import note_local
from sonde.assemble.backup.snapshot import MANIFEST, Progress, Snapshot, checksum_of, copy_bytes, newest
from sonde.clock import Micros
from sonde.directory import FORMAT, RESTORING, DataDirectory, FileLock
from sonde.errors import Conflict, Damaged, NewerFormat
from sonde.files import sync_directory, write_file
from sonde.keyring import KeyRing
from sonde.log.copying import go_on_anew
from sonde.moment import format_time
from sonde.store.checkpoint import checkpoints

Reached = Callable[[str], None]


class _Mark(msgspec.Struct, frozen=True):
    """Which backup is being restored."""

    backup: str
    made: Micros


@dataclass(frozen=True, slots=True)
class Restored:
    """What came of it: ``log`` is the id of the log from now on; ``missing_keys`` are names of keys without which it cannot
    be read, and that have to be brought."""

    snapshot: Snapshot
    log: str
    missing_keys: list[str]


def restore(
    source: Path,
    target: Path,
    *,
    keys: Path | None = None,
    progress: Progress = lambda done, total: None,
    reached: Reached = lambda point: None,
) -> Restored:
    """Make ``target`` a data directory as the backup at ``source`` (or the newest in it) has it; ``keys`` is a key ring to
    use in place of its own. :class:`Conflict` if there is something at ``target``, :class:`Damaged` if the backup is,
    :class:`NewerFormat`, :class:`NotFound`."""
    snapshot = newest(source)
    manifest = snapshot.manifest
    if manifest.data_format > FORMAT:
        raise NewerFormat(
            f"{snapshot.path} holds a data directory of format {manifest.data_format}; this Sonde reads up to {FORMAT}",
            hint="Use the Sonde that made it, or a newer one",
        )
    brought = KeyRing.load(keys) if keys is not None else None
    _begin(target, _Mark(snapshot.path.name, manifest.made))
    lock = FileLock(target / "lock")
    try:
        _copy(snapshot, target, progress, reached)
        if brought is not None:
            brought.save(target / "keys.json")
        log = _go_on(target, reached)
        directory = DataDirectory(target)
        note_local(directory, None, "restore", snapshot.path.name, made=format_time(manifest.made), log=log)
        reached("noted")
        write_file(target / "FORMAT", msgspec.json.encode({"format": manifest.data_format}))
        reached("formatted")
        (target / RESTORING).unlink()
        sync_directory(target)
        held = set(KeyRing.load(directory.keys).keys) if directory.keys.exists() else set()
        here = held | (set(manifest.keys) - set(manifest.missing_keys) if (target / "config.ini").exists() else set())
        return Restored(snapshot, log, sorted(set(manifest.keys) - here))
    finally:
        lock.release()


def _begin(target: Path, mark: _Mark) -> None:
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = target / RESTORING
    there = {p.name for p in target.iterdir()} - {"lost+found"}
    if file.exists():
        try:
            begun = msgspec.json.decode(file.read_bytes(), type=_Mark)
        except (msgspec.DecodeError, UnicodeDecodeError):
            begun = None
        if begun not in {None, mark}:
            raise Conflict(
                f"another backup, {begun.backup if begun else ''}, was being restored into {target}",
                hint="Name that one to go on with it, or an empty directory",
            )
    elif there:
        raise Conflict(
            f"{target} is not empty: it holds {min(there)}",
            hint="Name an empty directory, or a new one; nothing was changed",
        )
    write_file(file, msgspec.json.encode(mark), mode=0o600)
    sync_directory(target.parent)


def _copy(snapshot: Snapshot, target: Path, progress: Progress, reached: Reached) -> None:
    """Every file of the backup, each checked as it is read. What an interrupted attempt left is kept if it is right."""
    wanted = {file.path: file for file in snapshot.manifest.files if file.path != MANIFEST}
    for path in [p for p in target.rglob("*") if p.is_file()]:
        name = str(path.relative_to(target))
        known = wanted.get(name)
        if name not in {RESTORING, "lock"} and (known is None or not _is(path, known.bytes, known.sha256)):
            path.unlink()
    done = 0
    for file in wanted.values():
        if not (target / file.path).exists():
            source = snapshot.path / file.path
            try:
                with source.open("rb") as opened:
                    _, checksum = copy_bytes(opened, target / file.path)
            except FileNotFoundError:
                raise Damaged("a file of the backup is missing", file=str(source), offset=0, hint=_OLDER) from None
            if checksum != file.sha256:
                (target / file.path).unlink()
                raise Damaged(
                    "a file of the backup does not hold what was written to it", file=str(source), offset=0, hint=_OLDER
                )
            reached(file.path)
        done += file.bytes
        progress(done, snapshot.bytes)
    for folder in [target, *(p for p in target.rglob("*") if p.is_dir())]:
        sync_directory(folder)


_OLDER = "Name an older backup; sonde backup --verify says which are whole"


def _is(path: Path, size: int, checksum: str) -> bool:
    return path.stat().st_size == size and checksum_of(path) == checksum


def _go_on(target: Path, reached: Reached) -> str:
    """Let the log go on under a new id, and the checkpoints with it; the id."""
    before, after = go_on_anew(target / "log")
    reached("log")
    for checkpoint in checkpoints(target / "store" / "checkpoints"):
        checkpoint.rename_log(before, after)
        reached("checkpoint")
    return after
