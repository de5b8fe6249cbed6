"""Setting a damaged outbox file aside. It is never deleted while there are few of them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sonde.clock import SECOND, Micros
from sonde.files import sync_directory

_KEPT: Final = 5


def set_aside(path: Path, now: Micros) -> str:
    """Rename the file at ``path``, and its WAL with it; its new name. Only the newest five are kept."""
    stamp = datetime.fromtimestamp(now // SECOND, UTC).strftime("%Y%m%dT%H%M%SZ")
    name = f"{path.name}.damaged-{stamp}"
    number = 1
    while path.with_name(name).exists():
        number += 1
        name = f"{path.name}.damaged-{stamp}-{number}"
    for suffix in ("", "-wal"):
        old = path.with_name(path.name + suffix)
        if old.exists():
            old.rename(path.with_name(name + suffix))
    path.with_name(path.name + "-shm").unlink(missing_ok=True)
    sync_directory(path.parent)
    _keep_newest(path)
    return name


def _keep_newest(path: Path) -> None:
    kept = [p for p in path.parent.glob(f"{path.name}.damaged-*") if not p.name.endswith(("-wal", "-shm"))]
    for old in sorted(kept, key=lambda p: (p.stat().st_mtime_ns, p.name))[:-_KEPT]:
        old.unlink()
        old.with_name(old.name + "-wal").unlink(missing_ok=True)
