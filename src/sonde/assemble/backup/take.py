"""``sonde backup``: everything that makes an installation, as one moment had it, while it runs or not.

The order makes it consistent. A checkpoint comes first; then the identities, which know all that the checkpoint has; then the
log, which reaches beyond both; then the keys, which open all of that; and the control database last, because the log holds
anchors of its audit trail. A restored installation goes on at the checkpoint and reads the rest from the log.
"""

import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sonde import __version__
from sonde.assemble.acts import note_local
from sonde.assemble.backup.database_copy import copy_database
from sonde.assemble.backup.snapshot import FORMAT as SNAPSHOT_FORMAT
from sonde.assemble.backup.snapshot import Draft, Manifest, Progress, Snapshot, paths_in, readable
from sonde.assemble.keys.rings import configured
from sonde.assemble.places import log_path
from sonde.clock import SystemClock
from sonde.config import Loaded, Settings, without_place_of_log, without_secrets
from sonde.directory import FORMAT, DataDirectory, FileLock
from sonde.errors import Damaged, Hold, Invalid, NotFound, Problem
from sonde.keyring import KeyRing, name_of
from sonde.log.copying import Piece, lineage_of, look_at, pieces
from sonde.log.lineage import Lineage
from sonde.moment import format_time
from sonde.store.checkpoint import Checkpoint, checkpoints

_ATTEMPTS: Final = 10
_PRIVATE: Final = b"PRIVATE KEY"
Reached = Callable[[str], None]
"""Called at each marked point, so that tests can stop a process there."""


class _Gone(Exception):
    """A file was cut or merged away while it was to be copied: begin anew with what there is now."""


@dataclass(slots=True)
class _Work:
    """One attempt."""

    directory: DataDirectory
    settings: Settings
    loaded: Loaded
    draft: Draft
    with_keys: bool
    progress: Progress
    reached: Reached
    damage: list[str] = field(default_factory=list)
    ends: dict[int, tuple[int, int]] = field(default_factory=dict)
    needed: set[str] = field(default_factory=set)
    held: set[str] = field(default_factory=set)
    checkpoint: str = ""
    done: int = 0
    total: int = 0


def back_up(
    directory: DataDirectory,
    loaded: Loaded,
    folder: Path,
    *,
    with_keys: bool = True,
    keep: int = 0,
    progress: Progress = lambda done, total: None,
    reached: Reached = lambda point: None,
) -> Snapshot:
    """Make a backup in ``folder``, and if ``keep`` is not 0 remove all but the newest so many. :class:`Hold` if what is needed
    is not there any more; :class:`InUse` if another one is being made there."""
    settings = loaded.settled()
    _check_place(directory, folder)
    if not (log_path(directory, settings) / "id").exists():
        raise NotFound(f"there is no log in {directory.path}, so there is nothing to back up")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = FileLock(folder / "lock")
    try:
        note_local(directory, None, "backup", str(folder.absolute()), keys="yes" if with_keys else "no")
        draft = Draft(folder, _free_name(folder), readable(folder))
        draft.open()
        work = _Work(directory, settings, loaded, draft, with_keys, progress, reached)
        _copy_truth(work)
        _copy_keys(work)
        _copy_rest(work)
        reached("copied")
        made = draft.publish(_manifest(work))
        reached("published")
        for old in paths_in(folder)[:-keep] if keep else []:
            shutil.rmtree(old)
        return made
    finally:
        lock.release()


def _check_place(directory: DataDirectory, folder: Path) -> None:
    inside = folder.absolute().resolve()
    if inside == directory.path.resolve() or directory.path.resolve() in inside.parents:
        raise Invalid(
            Problem(
                None, "DIR", f"{folder} lies inside the data directory; name a folder elsewhere, best on another disk"
            )
        )


def _free_name(folder: Path) -> str:
    """The moment; if the clock was set back, a name that still comes after all others."""
    name = format_time(SystemClock().now())[:23].replace(":", "-") + "Z"
    last = max(
        (path.name.removeprefix(".").removesuffix(".partial") for path in folder.iterdir() if path.is_dir()), default=""
    )
    if name > last:
        return name
    stem, _, number = last.rpartition("Z")
    return f"{stem}Z-{int(number.removeprefix('-') or 1) + 1:03}" if stem else name


def _copy_truth(work: _Work) -> None:
    for _ in range(_ATTEMPTS):
        try:
            at = _copy_store(work)
            _copy_identities(work)
            _copy_imports(work)
            _copy_log(work)
        except (_Gone, FileNotFoundError):
            at = None
        else:
            if at is None or all(p in work.ends and work.ends[p][0] <= o <= work.ends[p][1] for p, o in at.items()):
                break
        work.draft.forget("log/")
        work.draft.forget("store/")
        work.ends.clear()
    else:
        raise Hold("the store and the log change faster than they can be copied", hint="Try again when it is quieter")
    if at is None and any(first for first, _ in work.ends.values()):
        raise Hold(
            "no checkpoint of the store is whole, and the log does not reach back to the beginning",
            hint="See sonde doctor; when the store is well again a checkpoint is made within minutes",
        )


def _copy_store(work: _Work) -> dict[int, int] | None:
    """The newest checkpoint that is whole, with its parts; its offsets, or none if there is no checkpoint."""
    log = lineage_of(log_path(work.directory, work.settings)).id
    for chosen in checkpoints(work.directory.store / "checkpoints"):
        if chosen.manifest.log != log:
            continue
        wrong = _copy_checkpoint(work, chosen)
        if not wrong:
            work.checkpoint = chosen.path.name
            return dict(chosen.offsets)
        work.damage += wrong
        work.draft.forget("store/")
    return None


def _copy_checkpoint(work: _Work, chosen: Checkpoint) -> list[str]:
    """Copy it; what of it is damaged."""
    try:
        wanted = chosen.pieces()
    except FileNotFoundError:
        raise _Gone from None
    wrong: list[str] = []
    for path, checksum in wanted:
        source = work.directory.store / path
        try:
            work.draft.copy(source, f"store/{path}", stays=True)
        except FileNotFoundError:
            if path.startswith("parts/") and chosen.path.exists():
                wrong.append(f"{source} is missing")
                continue
            raise _Gone from None
        if work.draft.files[f"store/{path}"].sha256 != checksum:
            wrong.append(f"{source} does not hold what was written to it")
        work.reached(path)
    return wrong


def _copy_identities(work: _Work) -> None:
    source = work.directory.store / "identities.db"
    if not source.exists():
        return
    target = work.draft.path / "store" / "identities.db"
    target.unlink(missing_ok=True)
    try:
        copy_database(source, target)
    except Damaged as error:  # the log tells them again, as far as it reaches
        work.damage.append(str(error))
        target.unlink(missing_ok=True)
    else:
        work.draft.took("store/identities.db")


def _copy_imports(work: _Work) -> None:
    """How far line logs were taken in: all of that is in the log."""
    for source in sorted((work.directory.path / "import").glob("*.json")):
        work.draft.copy(source, f"import/{source.name}")


def _copy_log(work: _Work) -> None:
    path = log_path(work.directory, work.settings)
    lineage = lineage_of(path)
    found = pieces(path)
    work.done, work.total = 0, sum(_size(path / piece.path) for piece in found)
    for piece in found:
        name = f"log/{piece.path}"
        stays = piece.bytes is None and (piece.is_segment or piece.path.endswith(".idx"))
        copied = work.draft.copy(path / piece.path, name, limit=piece.bytes, stays=stays)
        work.reached(name)
        if piece.is_segment:
            file = work.draft.files[name]
            if copied or not file.next:
                _look_at(work, piece, lineage)
            _note(work, piece)
        work.done += _size(path / piece.path)
        work.progress(min(work.done, work.total), work.total)


def _look_at(work: _Work, piece: Piece, lineage: Lineage) -> None:
    name = f"log/{piece.path}"
    held = look_at(work.draft.path / name, piece, lineage)
    work.damage += held.damage
    if piece.left_out:
        work.damage.append(f"{piece.path}: the last {piece.left_out:,} bytes are torn, and stay where they are")
    work.draft.know(name, sorted(held.keys), held.next)


def _note(work: _Work, piece: Piece) -> None:
    file = work.draft.files[f"log/{piece.path}"]
    first, _ = work.ends.get(piece.partition, (piece.first, 0))
    work.ends[piece.partition] = first, file.next
    work.needed |= set(file.keys)


def _copy_keys(work: _Work) -> None:
    """The key ring as it is in the data directory. Keys that come from elsewhere stay there."""
    if work.with_keys and work.directory.keys.exists():
        work.draft.copy(work.directory.keys, "keys.json")
        work.held |= set(KeyRing.load(work.draft.path / "keys.json").keys)


def _copy_rest(work: _Work) -> None:
    file = work.loaded.file
    if file is not None and file.exists():
        text = without_place_of_log(file.read_text("utf-8-sig"))  # a restored log lies in its own data directory
        work.draft.put("config.ini", (text if work.with_keys else without_secrets(text)).encode())
        if work.with_keys and work.loaded.origin("log", "encryption_key").startswith(f"{file}:"):
            with suppress(Hold):
                given = configured(work.settings.log.encryption_key, "[log] encryption_key")
                work.held |= {name_of(key) for key in given}
    for source in _certificates(work.directory.path / "tls"):
        if work.with_keys or _PRIVATE not in source.read_bytes():
            work.draft.copy(source, str(source.relative_to(work.directory.path)))
    if work.directory.control.exists():
        copy_database(work.directory.control, work.draft.path / "control.db")
        work.draft.took("control.db")
    work.reached("control.db")


def _certificates(folder: Path) -> Sequence[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")) if folder.is_dir() else ()


def _manifest(work: _Work) -> Manifest:
    lacking = sorted(work.needed - work.held)
    return Manifest(
        format=SNAPSHOT_FORMAT,
        sonde=__version__,
        made=SystemClock().now(),
        data_format=FORMAT,
        log=lineage_of(work.draft.path / "log").id,
        ends=work.ends,
        checkpoint=work.checkpoint,
        keys=sorted(work.needed),
        missing_keys=lacking,
        damage=work.damage,
        files=sorted(work.draft.files.values(), key=lambda file: file.path),
    )


def _size(path: Path) -> int:
    with suppress(FileNotFoundError):
        return path.stat().st_size
    return 0
