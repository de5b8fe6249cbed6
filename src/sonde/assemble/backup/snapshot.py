"""Backups on disk: a folder with one folder a backup, each whole in itself.

::

    DIR/
      lock
      2026-08-01T03-00-00.000Z/     a backup: everything of a data directory, and manifest.json, which is written last
      .2026-08-02T03-00-00.000Z.partial/    one that is not done, or was interrupted; never taken for a backup

What does not change any more (segments, parts) is one file in all backups that have it, by hard links.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from sonde.clock import Micros
from sonde.errors import Damaged, Hold, NewerFormat, NotFound
from sonde.files import sync_directory, write_file

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
_BLOCK: Final = 1 << 20
Progress = Callable[[int, int], None]


class File(msgspec.Struct, frozen=True):
    """A file of a backup: its path there, its bytes and SHA-256. ``changed`` is the time of the last change of what it was
    copied from, in nanoseconds; 0 if that may change. ``keys`` are those that the frames of a segment need, ``next`` the
    offset after its last frame."""

    path: str
    bytes: int
    sha256: str
    changed: int = 0
    keys: list[str] = []
    next: int = 0


class Manifest(msgspec.Struct, frozen=True):
    """What a backup says of itself. ``ends`` are first and next offset by partition; ``checkpoint`` is the folder of the
    store's; ``keys`` are the names of those that open the log, ``missing_keys`` those of them that are not in the backup;
    ``damage`` is what was damaged when it was made."""

    format: int
    sonde: str
    made: Micros
    data_format: int
    log: str
    ends: dict[int, tuple[int, int]]
    checkpoint: str
    keys: list[str]
    missing_keys: list[str]
    damage: list[str]
    files: list[File]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A backup that is whole, as far as its manifest says."""

    path: Path
    manifest: Manifest

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.manifest.files)


class _Version(msgspec.Struct):
    format: int


def paths_in(folder: Path) -> list[Path]:
    """The backups in ``folder``, oldest first."""
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in found if not path.name.startswith(".") and (path / MANIFEST).is_file()]


def readable(folder: Path) -> list[Snapshot]:
    """Those of the backups in ``folder`` whose manifest can be read, oldest first."""
    found: list[Snapshot] = []
    for path in paths_in(folder):
        with suppress(Damaged, NewerFormat):  # whoever wants that one is told
            found.append(read_snapshot(path))
    return found


def newest(path: Path) -> Snapshot:
    """The backup at ``path``, or the newest one in it. :class:`NotFound`, :class:`NewerFormat`, :class:`Damaged`."""
    if (path / MANIFEST).is_file():
        return read_snapshot(path)
    found = paths_in(path)
    if not found:
        begun = path.is_dir() and any(path.glob(".*.partial"))
        more = "; one that was interrupted is there, and is none" if begun else ""
        raise NotFound(f"there is no backup in {path}{more}", hint=f"Make one: sonde backup {path}")
    return read_snapshot(found[-1])


def read_snapshot(path: Path) -> Snapshot:
    """The backup at ``path``. :class:`NewerFormat`, :class:`Damaged`."""
    file = path / MANIFEST
    try:
        data = file.read_bytes()
        version = msgspec.json.decode(data, type=_Version).format
        if version > FORMAT:
            raise NewerFormat(
                f"the backup {path} has format {version}, and this Sonde reads up to {FORMAT}",
                hint="Use the Sonde that made it, or a newer one",
            )
        return Snapshot(path, msgspec.json.decode(data, type=Manifest))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Damaged(f"the manifest of a backup cannot be read ({error})", file=str(file), offset=0) from None


def faults(snapshot: Snapshot, progress: Progress | None = None) -> list[str]:
    """What of a backup is not as it was written; every byte is read."""
    wrong: list[str] = []
    done = 0
    for file in snapshot.manifest.files:
        path = snapshot.path / file.path
        try:
            if checksum_of(path) != file.sha256:
                wrong.append(f"{path} does not hold what was written to it")
        except FileNotFoundError:
            wrong.append(f"{path} is missing")
        except OSError as error:
            wrong.append(f"{path} cannot be read ({error.strerror})")
        done += file.bytes
        if progress is not None:
            progress(done, snapshot.bytes)
    return wrong


def checksum_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copy_bytes(source: BinaryIO, target: Path, limit: int | None = None) -> tuple[int, str]:
    """Copy up to ``limit`` bytes into a new file, durable when this returns; how many, and their SHA-256. :class:`Hold` if
    they cannot be read or written."""
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        copied = _copy_bytes(source, temporary, limit)
        temporary.rename(target)
    except OSError as error:
        raise Hold(
            f"{source.name} cannot be copied to {target} ({error.strerror})",
            hint="Mend that, and run it again: what was copied is used",
        ) from None
    return copied


def _copy_bytes(source: BinaryIO, target: Path, limit: int | None) -> tuple[int, str]:
    digest, done = hashlib.sha256(), 0
    with open(target, "wb", opener=_private) as out:
        while block := source.read(_BLOCK if limit is None else min(_BLOCK, limit - done)):
            out.write(block)
            digest.update(block)
            done += len(block)
        out.flush()
        os.fsync(out.fileno())
    return done, digest.hexdigest()


@dataclass(slots=True)
class Draft:
    """A backup that is being made in ``path``, beside those ``before`` it. ``publish`` makes it one; until then it is none,
    and the next one takes over what it has."""

    folder: Path
    name: str
    before: Sequence[Snapshot]
    files: dict[str, File] = field(default_factory=dict)
    _known: dict[tuple[str, int, int], tuple[Path, File | None]] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return self.folder / f".{self.name}.partial"

    def open(self) -> None:
        """Begin. What was left by those that were interrupted is kept until :meth:`publish`, to be linked."""
        for left in sorted(self.folder.glob(".*.partial")):
            for path in (p for p in left.rglob("*") if p.is_file() and not p.name.startswith(".")):
                found = path.stat()
                self._known[str(path.relative_to(left)), found.st_size, found.st_mtime_ns] = (path, None)
        for snapshot in self.before:
            for file in snapshot.manifest.files:
                if file.changed:
                    self._known[file.path, file.bytes, file.changed] = (snapshot.path / file.path, file)
        self.path.mkdir(mode=0o700)

    def copy(self, source: Path, path: str, *, limit: int | None = None, stays: bool = False) -> bool:
        """Take in a file; whether it had to be copied. ``stays``: it never changes, so a copy of it in an earlier backup, or
        in one that was interrupted, is linked. ``FileNotFoundError`` if it is gone."""
        with source.open("rb") as opened:
            found = os.fstat(opened.fileno())
            if stays and self._link(path, found.st_size, found.st_mtime_ns):
                return False
            size, checksum = copy_bytes(opened, self.path / path, limit)
        changed = found.st_mtime_ns if stays else 0
        if stays:
            os.utime(self.path / path, ns=(found.st_mtime_ns, found.st_mtime_ns))
        self.files[path] = File(path, size, checksum, changed)
        return True

    def put(self, path: str, data: bytes) -> None:
        """Take in a small file."""
        target = self.path / path
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_file(target, data, mode=0o600)
        self.files[path] = File(path, len(data), hashlib.sha256(data).hexdigest())

    def took(self, path: str) -> None:
        """Take in a file that somebody has written at ``path`` of the draft."""
        target = self.path / path
        with target.open("rb") as file:
            os.fsync(file.fileno())
        self.files[path] = File(path, target.stat().st_size, checksum_of(target))

    def know(self, path: str, keys: Sequence[str], following: int) -> None:
        """Remember what a segment holds."""
        self.files[path] = msgspec.structs.replace(self.files[path], keys=sorted(keys), next=following)

    def forget(self, start: str) -> None:
        """Leave out again what begins with ``start``: it belongs to another state than the rest."""
        for path in [path for path in self.files if path.startswith(start)]:
            (self.path / path).unlink(missing_ok=True)
            del self.files[path]

    def publish(self, manifest: Manifest) -> Snapshot:
        """Make it a backup: manifest, then its name."""
        self.put(MANIFEST, msgspec.json.encode(manifest))
        for folder in [self.path, *(p for p in self.path.rglob("*") if p.is_dir())]:
            sync_directory(folder)
        final = self.folder / self.name
        self.path.rename(final)
        sync_directory(self.folder)
        self.clear()
        return Snapshot(final, manifest)

    def clear(self) -> None:
        """Remove what was not published."""
        for left in self.folder.glob(".*.partial"):
            shutil.rmtree(left, ignore_errors=True)

    def _link(self, path: str, size: int, changed: int) -> bool:
        found, file = self._known.get((path, size, changed), (None, None))
        if found is None:
            return False
        target = self.path / path
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            os.link(found, target)
        except OSError:  # gone meanwhile, or a file system without links
            return False
        self.files[path] = file or File(path, size, checksum_of(target), changed)
        return True


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
