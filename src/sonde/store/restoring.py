"""Making a store's tables: empty, or as a checkpoint holds them."""

# ruff: noqa: S608 - names of tables and columns are Sonde's own; values go as parameters

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import structlog

from sonde.errors import Damaged, Hold
from sonde.files import sync_directory
from sonde.store.checkpoint import Checkpoint, checkpoints, versions
from sonde.store.engine import Connection, Engine
from sonde.store.layout import Layout
from sonde.store.part import Part
from sonde.store.parts import check_content, check_size, list_parts
from sonde.store.schema import VERSION, create_all, create_generation, generation

_log = structlog.get_logger()
_HINT: Final = "Rebuild the store from its newest checkpoint and the log"


def prepare_folders(path: Path) -> Path:
    """Make the folders of a store; the one of its parts."""
    folder = path / "parts"
    for one in (folder, path / "checkpoints"):
        one.mkdir(parents=True, exist_ok=True)
    return folder


def refuse_lost(path: Path, file: str) -> None:
    """:class:`Damaged` if there is history but not the file that says what of it counts."""
    if not (path / file).exists() and (any((path / "parts").iterdir()) or checkpoints(path / "checkpoints")):
        raise Damaged("the store's database is missing", file=str(path / file), offset=0, hint=_HINT)


def prepare_tables(cursor: Connection, file: str) -> None:
    """Make the tables if there are none; :class:`Damaged` if they are of another version."""
    if _has_tables(cursor):
        check_version(cursor, file)
    else:
        _create(cursor, 1, 0)


def show(cursor: Connection, layout: Layout) -> None:
    """Make the views look where the parts are now. Writes nothing if they do: a store opens on a full disk too."""
    folder = str(layout.folder or "memory")
    if cursor.execute("select folder from store.meta").fetchall() != [(folder,)]:
        cursor.execute(layout.views())
        cursor.execute("update store.meta set folder = $folder", {"folder": folder})


def check_version(cursor: Connection, file: str) -> None:
    """:class:`Damaged` unless the tables are those of this version."""
    found = cursor.execute("select version from store.meta").fetchall() if _has_tables(cursor) else []
    if found != [(VERSION,)]:
        version = found[0][0] if found else "none"
        raise Damaged(
            f"the store's version is {version}, and this Sonde's is {VERSION},", file=file, offset=0, hint=_HINT
        )


def restore(path: Path, log: str, file: str, ends: Mapping[int, tuple[int, int]] | None) -> Checkpoint | None:
    """Make the database ``file`` from the newest checkpoint that is whole and goes with ``log``; that one, or None: it is
    empty. What had the name is set aside. :class:`Hold` if there is no such checkpoint and the log has been cut: parts have
    what it has no more, and an empty store would let go of them."""
    folder = prepare_folders(path)
    cut = ends is not None and any(first for first, _ in ends.values())
    whole = ends is not None and not cut
    usable = [chosen for chosen in checkpoints(path / "checkpoints") if chosen.follows(log, ends)]
    if cut and not usable:
        raise _cannot_remake(path)
    set_aside(path / file)
    made = path / f".{file}.new"
    for chosen in [*usable, None]:
        if chosen is None and cut:
            raise _cannot_remake(path)
        for old in (made, made.with_name(made.name + ".wal")):
            old.unlink(missing_ok=True)
        engine = Engine(made, None, "1GB")
        try:
            if chosen is not None:
                _restore_from(engine, folder, chosen, check_content if whole else check_size)
        except Damaged as error:
            _log.warning("checkpoint_damaged", file=error.file, problem=str(error))
            continue
        finally:
            engine.close()
        made.rename(path / file)
        sync_directory(path)
        _log.info("store_restored", offsets={} if chosen is None else chosen.offsets)
        return chosen
    return None


def _cannot_remake(path: Path) -> Hold:
    others = sorted({version for version in versions(path / "checkpoints") if version != VERSION})
    if others:
        return Hold(
            f"the store in {path} was made by another Sonde (version {others[-1]}; this one's is {VERSION}), and the log no "
            "longer reaches back to its beginning: made again from it, the store would lose what came before",
            hint="Nothing was changed. Go on with the Sonde that made it, or restore a backup",
        )
    return Hold(
        f"no checkpoint in {path} is whole and goes with the log, and that no longer reaches back to the beginning",
        hint="Nothing was deleted. Restore a backup: sonde restore",
    )


def set_aside(file: Path) -> Path | None:
    """Give a database that cannot be used another name; the name."""
    if not file.exists():
        file.with_name(file.name + ".wal").unlink(missing_ok=True)
        return None
    number = 1 + len(list(file.parent.glob(f"{file.name}.aside-*")))
    aside = file.with_name(f"{file.name}.aside-{number}")
    file.rename(aside)
    wal = file.with_name(file.name + ".wal")
    if wal.exists():
        wal.rename(aside.with_name(aside.name + ".wal"))
    shutil.rmtree(file.with_suffix(".tmp"), ignore_errors=True)
    sync_directory(file.parent)
    _log.warning("store_set_aside", file=str(aside))
    return aside


def _has_tables(cursor: Connection) -> bool:
    sql = "select count(*) from duckdb_tables() where schema_name = 'store' and table_name = 'meta'"
    return bool(cursor.execute(sql).fetchall()[0][0])


def _create(cursor: Connection, first: int, offset: int) -> None:
    cursor.execute(create_all())
    for content in ("readings", "windows"):
        cursor.execute(create_generation(content, first, offset))


def _restore_from(engine: Engine, folder: Path, chosen: Checkpoint, check: Callable[[Path, Part], None]) -> None:
    manifest = chosen.manifest
    for part in manifest.parts:
        check(folder, part)
    tables = dict(chosen.tables())
    windows = tables.pop("windows")
    with engine.cursor() as cursor:
        with engine.transaction(cursor):
            _create(cursor, manifest.generation, sum(manifest.offsets.values()))
            targets = {f"store.{name}": table for name, table in tables.items()}
            for name, table in {**targets, generation("windows", manifest.generation): windows}.items():
                cursor.register("kept", table)
                cursor.execute(f"insert into {name} select * from kept")
                cursor.unregister("kept")
            list_parts(cursor, manifest.parts)
        cursor.execute("checkpoint")
