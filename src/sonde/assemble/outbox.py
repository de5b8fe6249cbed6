"""The outbox of a data directory, from another program than its node."""

from collections.abc import Sequence

from sonde.assemble.keys.rings import configured, open_ring
from sonde.config import Settings
from sonde.directory import DataDirectory
from sonde.errors import InUse
from sonde.keyring import KeyRing
from sonde.node.outbox import Letter, SqliteOutbox, ask_again, dead_letters, what_waits
from sonde.node.outbox.tombstone import LANES
from sonde.ports import Waiting

__all__ = ["LANES", "listed", "put_back"]


def node_ring(directory: DataDirectory, settings: Settings) -> KeyRing:
    """The key ring of the outbox. A lost key costs the outbox, which is then set aside, not the start."""
    directory.node.mkdir(mode=0o700, exist_ok=True)
    return open_ring(directory.node / "keys.json", configured(settings.node.encryption_key, "[node] encryption_key"))


def listed(directory: DataDirectory) -> tuple[Sequence[Waiting], Sequence[Letter]]:
    """What waits in each lane, and the dead letters."""
    path = directory.node / "outbox.db"
    return what_waits(path), dead_letters(path)


def put_back(directory: DataDirectory, settings: Settings) -> int:
    """Put dead letters back into their lanes; how many. A node that runs is asked to do it."""
    path = directory.node / "outbox.db"
    waiting = ask_again(path)
    if not waiting:
        return 0
    try:
        outbox = SqliteOutbox(path, node_ring(directory, settings), limit_bytes=settings.node.outbox)
    except InUse:
        return waiting  # its node does it within seconds
    try:
        outbox.retry()
    finally:
        outbox.close()
    return waiting
