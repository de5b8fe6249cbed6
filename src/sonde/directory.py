"""A data directory: what lies where, which format it has, and who may use it.

::

    FORMAT              {"format": 1}
    RESTORING           only while a backup is being restored into it
    lock                held by the program that runs here
    config.ini          optional, read when no other is named
    keys.json           the key ring of the log
    control.db          tokens, sign-in sessions
    log/                segments, a folder a partition
    store/              sonde.duckdb, parts/, checkpoints/, identities.db
    tls/                authority.pem and its key, server.pem
    node/               outbox.db and its key ring; what joining a sink brought
    import/             how far line logs of an older sink were taken in
    copy/               how far the log was copied into topics of Kafka
    server.json         where the running server listens
"""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec

from sonde.errors import Hold, InUse, NewerFormat
from sonde.files import write_file

FORMAT = 1
RESTORING = "RESTORING"


class _Format(msgspec.Struct):
    format: int


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """The paths inside one data directory."""

    path: Path

    @classmethod
    def create(cls, path: Path) -> Self:
        """The directory at ``path``, made if it is not there or empty. :class:`NewerFormat`, or :class:`Hold` if something
        else lives there."""
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        _refuse_unfinished(path)
        if not (path / "FORMAT").exists():
            ours = {"lock", "config.ini", "lost+found", "tls"}
            strangers = sorted(p.name for p in path.iterdir() if p.name not in ours)
            if strangers:
                raise Hold(
                    f"{path} is not a data directory of Sonde: it holds {strangers[0]} and no FORMAT",
                    hint="Name an empty directory, or a new one",
                )
            write_file(path / "FORMAT", msgspec.json.encode(_Format(FORMAT)))
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> Self:
        """The directory at ``path``; :class:`Hold` if there is none."""
        _refuse_unfinished(path)
        try:
            found = msgspec.json.decode((path / "FORMAT").read_bytes(), type=_Format).format
        except FileNotFoundError:
            raise Hold(
                f"{path} is not a data directory of Sonde", hint="Name another with --data, or start one: sonde up"
            ) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Hold(f"{path / 'FORMAT'} cannot be read ({error})", hint='It should hold {"format": 1}') from None
        if found > FORMAT:
            raise NewerFormat(
                f"{path} has format {found}, and this Sonde reads up to {FORMAT}",
                hint="Start it with the Sonde that wrote it, or a newer one",
            )
        return cls(path)

    @property
    def config(self) -> Path:
        return self.path / "config.ini"

    @property
    def keys(self) -> Path:
        return self.path / "keys.json"

    @property
    def control(self) -> Path:
        return self.path / "control.db"

    @property
    def log(self) -> Path:
        return self.path / "log"

    @property
    def store(self) -> Path:
        return self.path / "store"

    @property
    def node(self) -> Path:
        return self.path / "node"

    @property
    def tls(self) -> Path:
        return self.path / "tls"

    @property
    def authority(self) -> Path:
        """The certificate of the private authority."""
        return self.tls / "authority.pem"

    @property
    def authority_key(self) -> Path:
        return self.tls / "authority.key"

    @property
    def certificate(self) -> Path:
        """What the listener shows, and its key."""
        return self.tls / "server.pem"

    @property
    def joined(self) -> Path:
        """The sink that a node belongs to, and the node's token."""
        return self.node / "joined.json"

    @property
    def node_authority(self) -> Path:
        """The authority of the sink that a node belongs to."""
        return self.node / "authority.pem"

    @property
    def node_identity(self) -> Path:
        """A node's own certificate and key."""
        return self.node / "identity.pem"

    @property
    def server(self) -> Path:
        return self.path / "server.json"

    def lock(self) -> "FileLock":
        """Hold the whole directory; :class:`InUse` if another program does."""
        return FileLock(self.path / "lock")


def _refuse_unfinished(path: Path) -> None:
    if (path / RESTORING).exists():
        raise Hold(
            f"a backup was being restored into {path}, and that was interrupted",
            hint="Run the same sonde restore again: it goes on where it was",
        )


class FileLock:
    """Held from creation until :meth:`release` or the end of the process."""

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(self._handle, 20).decode(errors="replace").strip()
            os.close(self._handle)
            raise InUse(
                f"{path.parent} is in use by process {holder or 'unknown'}",
                hint="Stop that one first, or name another directory",
            ) from None
        os.truncate(self._handle, 0)
        os.pwrite(self._handle, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        os.close(self._handle)
