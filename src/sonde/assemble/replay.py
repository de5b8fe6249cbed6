"""``sonde replay``: files sent as telemetry, to the server of a data directory or to another sink."""

import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sonde.assemble.certificates.authority import write_identity
from sonde.assemble.keys.rings import open_ring
from sonde.assemble.server import running
from sonde.assemble.tokens import open_people
from sonde.clock import DAY, SystemClock
from sonde.config import Settings
from sonde.directory import DataDirectory
from sonde.errors import Conflict
from sonde.node.outbox import SqliteOutbox
from sonde.node.replay_run import Progress, Summary
from sonde.node.replay_run import replay as run_replay
from sonde.node.sensors.replay import ReplayOptions, ReplaySource
from sonde.people import People
from sonde.token import Token
from sonde.transport.tls import ClientTls
from sonde.transport.uplink_wire import HttpWire

__all__ = ["Progress", "ReplayOptions", "Sink", "Summary", "local_sink", "replay_files"]

NODE: Final = "replay"
_TOKEN_LASTS: Final = 7 * DAY


@dataclass(frozen=True, slots=True)
class Sink:
    """Where a replay goes: the address, a node's token, and the folder in which its outbox waits."""

    url: str
    token: str
    folder: Path | None = None
    tls: ClientTls | None = None


@contextmanager
def local_sink(directory: DataDirectory, settings: Settings | None, node: str = NODE) -> Iterator[Sink]:
    """The server that runs on a data directory, with a token of the node ``node`` that ends when this does, in the database
    that the settings name or in the directory."""
    server = running(directory, shared=settings is not None and settings.topic is not None)
    folder = directory.path / node
    with open_people(directory, settings) as people:
        token = _token(people, node)
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            identity = write_identity(directory, folder / "identity.pem", node, token.digest)
            yield Sink(server.url, token.text, folder, server.tls(identity))
        finally:
            people.revoke_token(token.id)


def replay_files(
    files: Sequence[Path],
    options: ReplayOptions,
    sink: Sink,
    on_progress: Callable[[Progress], None],
    stop: threading.Event,
) -> Summary:
    """Send all of ``files``; what was interrupted before goes on where it was."""
    source = ReplaySource(files, options)
    with tempfile.TemporaryDirectory(prefix="sonde-replay-") as temporary:
        folder = sink.folder or Path(temporary)
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / f"{source.epoch}.db"
        outbox = SqliteOutbox(path, open_ring(folder / "keys.json", ()), epoch=source.epoch)
        wire = open_wire(sink)
        try:
            summary = run_replay(source, outbox, wire, speed=options.speed, on_progress=on_progress, stop=stop)
        finally:
            wire.close()
            outbox.close()
        if summary.complete and not summary.rejected:
            for left in folder.glob(f"{path.name}*"):
                left.unlink()
        return summary


def open_wire(sink: Sink) -> HttpWire:
    """The way to a sink."""
    return HttpWire(sink.url, sink.token, tls=sink.tls)


def _token(people: People, node: str) -> Token:
    ends = SystemClock().now() + _TOKEN_LASTS
    try:
        return people.create_token(node, ["ingest"], node=node, expires=ends)[0]
    except Conflict:  # left behind by some that were killed
        people.revoke_token(node)
        return people.create_token(node, ["ingest"], node=node, expires=ends)[0]
