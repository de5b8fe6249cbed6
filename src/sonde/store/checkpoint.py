"""Checkpoints: a store's state as Parquet, the list of its parts, and its place in the log.

``checkpoints/<offset>/`` holds one file a table and ``checkpoint.json``, which names each with its checksum. It is
written under another name and renamed, so what has the name is whole.
"""

# ruff: noqa: S608 - names of tables and columns are Sonde's own; values go as parameters

import hashlib
import os
import shutil
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from sonde.changes import WINDOWS
from sonde.errors import Damaged
from sonde.files import sync_directory
from sonde.store.engine import Connection, fetch
from sonde.store.part import Part
from sonde.store.schema import STATE, TABLES, VERSION, columns_of, generation

KEPT: Final = 2
_MANIFEST: Final = "checkpoint.json"


class _Versioned(msgspec.Struct):
    version: int


class Manifest(msgspec.Struct, frozen=True):
    """What a checkpoint says about itself. ``generation`` is above every generation that its parts came from."""

    version: int
    log: str
    offsets: dict[str, int]  # partition → next offset, of ``log``
    generation: int
    parts: list[Part]
    files: dict[str, str]  # table → SHA-256


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint on disk that is whole."""

    path: Path
    manifest: Manifest

    @property
    def offsets(self) -> Mapping[int, int]:
        """Where to go on reading the log, by partition."""
        return {int(partition): offset for partition, offset in self.manifest.offsets.items()}

    def tables(self) -> Mapping[str, pa.Table]:
        """The tables it holds: those of :data:`STATE`, and ``windows``; :class:`Damaged` if one is not as written."""
        return {name: self._table(name, checksum) for name, checksum in self.manifest.files.items()}

    def pieces(self) -> list[tuple[str, str]]:
        """The files that make it, its parts among them: paths below the store's folder, and their SHA-256."""
        folder = f"{self.path.parent.name}/{self.path.name}"
        state = [(f"{folder}/{name}.parquet", checksum) for name, checksum in self.manifest.files.items()]
        parts = [(f"parts/{part.name}", part.checksum) for part in self.manifest.parts]
        return [
            *parts,
            *state,
            (f"{folder}/{_MANIFEST}", hashlib.sha256(self._manifest_file().read_bytes()).hexdigest()),
        ]

    def rename_log(self, before: str, after: str) -> None:
        """Let it go with the log ``after``, which holds all that ``before`` did. Not safe from a crash in the middle."""
        progress = self._table("progress", self.manifest.files["progress"])
        logs = [after if log == before else log for log in progress["log"].to_pylist()]
        at = progress.schema.get_field_index("log")
        renamed = progress.set_column(at, progress.schema.field(at), pa.array(logs, progress.schema.field(at).type))
        files = {**self.manifest.files, "progress": _write(self.path / "progress.parquet", renamed)}
        manifest = msgspec.structs.replace(self.manifest, log=after, files=files)
        _write_synced(self._manifest_file(), msgspec.json.encode(manifest))

    def _manifest_file(self) -> Path:
        return self.path / _MANIFEST

    def follows(self, log: str, ends: Mapping[int, tuple[int, int]] | None) -> bool:
        """Whether a store made from it can go on with ``log``: all that it needs is there, and it is not ahead of it."""
        if self.manifest.log != log:
            return False
        return ends is None or all(p in ends and ends[p][0] <= at <= ends[p][1] for p, at in self.offsets.items())

    def _table(self, name: str, checksum: str) -> pa.Table:
        path = self.path / f"{name}.parquet"
        data = path.read_bytes() if path.exists() else b""
        if hashlib.sha256(data).hexdigest() != checksum:
            raise Damaged(
                "a checkpoint does not hold what was written to it",
                file=str(path),
                offset=0,
                hint="An older one is used if there is one",
            )
        return pq.read_table(pa.BufferReader(data))


def snapshot_tables(cursor: Connection, windows: str) -> dict[str, pa.Table]:
    """The tables of a checkpoint, as ``cursor`` sees them; ``windows`` selects those that are in no part."""
    tables = {name: fetch(cursor, f"select {columns_of(TABLES[name])} from store.{name}") for name in STATE}
    tables["newest"] = _newest(cursor)
    return {**tables, "windows": fetch(cursor, f"select {columns_of(WINDOWS)} from ({windows})")}


def _newest(cursor: Connection) -> pa.Table:
    """The table ``newest`` as it will be when all generations of windows that ``cursor`` sees are sealed."""
    numbers = cursor.execute("select number from store.generations where content = 'windows'").fetchall()
    places = ["store.newest", *(generation("windows", number) for (number,) in numbers)]
    rows = " union all ".join(f"select series, width, start from {place}" for place in places)
    return fetch(cursor, f"select series, width, max(start) as start from ({rows}) group by series, width")


def publish(
    folder: Path, tables: Mapping[str, pa.Table], log: str, generation: int, parts: Iterable[Part]
) -> Checkpoint | None:
    """Write a checkpoint and drop all but the newest; None if there is one of that offset already."""
    progress = tables["progress"].select(["log", "partition", "next_offset"]).to_pylist()
    offsets = {str(row["partition"]): row["next_offset"] for row in progress if row["log"] == log}
    path = folder / f"{sum(offsets.values()):020d}"
    if not offsets or path.exists():
        return None
    temporary = folder / f".{path.name}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        files = {name: _write(temporary / f"{name}.parquet", table) for name, table in tables.items()}
        manifest = Manifest(VERSION, log, offsets, generation, list(parts), files)
        _write_synced(temporary / _MANIFEST, msgspec.json.encode(manifest))
        sync_directory(temporary)
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_directory(folder)
    for old in sorted(_folders(folder))[:-KEPT]:
        shutil.rmtree(old)
    return Checkpoint(path, manifest)


def forget(folder: Path, newest: Checkpoint, names: Collection[str]) -> None:
    """Drop the checkpoints before ``newest`` that need one of the parts ``names``, which should be gone."""
    for older in checkpoints(folder):
        if older.path != newest.path and any(part.name in names for part in older.manifest.parts):
            shutil.rmtree(older.path)


def checkpoints(folder: Path) -> list[Checkpoint]:
    """The checkpoints in ``folder`` that this version can read, newest first; one without a readable manifest is none."""
    found = []
    for path in sorted(_folders(folder), reverse=True):
        try:
            manifest = msgspec.json.decode((path / _MANIFEST).read_bytes(), type=Manifest)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            continue
        if manifest.version == VERSION:
            found.append(Checkpoint(path, manifest))
    return found


def versions(folder: Path) -> list[int]:
    """The versions of all checkpoints in ``folder``, also of those that this one cannot read."""
    found = []
    for path in _folders(folder):
        with suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
            found.append(msgspec.json.decode((path / _MANIFEST).read_bytes(), type=_Versioned).version)
    return found


def _folders(folder: Path) -> list[Path]:
    return [p for p in folder.iterdir() if p.name.isdigit()] if folder.exists() else []


def _write(path: Path, table: pa.Table) -> str:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return _write_synced(path, sink.getvalue())


def _write_synced(path: Path, data: bytes | pa.Buffer) -> str:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(data).hexdigest()
