"""What every server stands on, whatever its role: directory, clock, metrics, keys, control database, and who may come in."""

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

from sonde.access import Access
from sonde.assemble.acts import note_in
from sonde.assemble.certificates.authority import server_files
from sonde.assemble.certificates.server import ServerTls
from sonde.assemble.controls import open_controls
from sonde.assemble.keys.rings import again, check_ring, log_ring
from sonde.clock import Micros, SystemClock
from sonde.config import Loaded, as_rows
from sonde.directory import DataDirectory
from sonde.keyring import KeyRing, LiveRing
from sonde.metrics import Metrics
from sonde.people import People
from sonde.ports import Log

_ADMIN: Final = "admin"


class Ground:
    """Opened first and closed last. What has to be closed again if a start fails half-way is pushed to ``undo``."""

    def __init__(self, path: Path, loaded: Loaded, undo: ExitStack) -> None:
        self.loaded = loaded
        self.settings = settings = loaded.settled()
        self.shown = _shown(loaded)
        self.clock, self.metrics = SystemClock(), Metrics()
        self.started: Micros = self.clock.now()
        self.directory = DataDirectory.create(path)
        self._lock = self.directory.lock()
        undo.callback(self._lock.release)
        self.ring = LiveRing(log_ring(self.directory, settings))
        self.controls = open_controls(self.directory, settings, self.clock)
        undo.callback(self.controls.close)
        self.access = Access(
            self.controls.control,
            self.clock,
            anonymous=frozenset(settings.auth.anonymous_scopes),
            certified=settings.tls.require_client,
            metrics=self.metrics,
        )
        self.files = server_files(self.directory, settings)
        note = partial(note_in, self.controls.audit)
        self.tls = ServerTls(self.directory, self.files, self.clock, self.metrics, note) if self.files else None

    def read_ring(self, log: Log) -> KeyRing:
        """The key ring as it is said now; :class:`Hold` if it cannot be used with ``log``."""
        ring = log_ring(self.directory, again(self.loaded))
        check_ring(ring, log, self.directory.keys)
        return ring

    def sign_in_secret(self) -> str:
        """The secret of a new one-time link for an administrator, whose token is made if there is none."""
        people = People(self.controls.control, self.clock, partial(note_in, self.controls.audit))
        admins = [credential.id for credential in people.valid_tokens() if _ADMIN in credential.scopes]
        return people.make_link(admins[0] if admins else people.create_token(_ADMIN, [_ADMIN])[1].id)

    def close(self) -> None:
        self.controls.close()
        self._lock.release()


def _shown(loaded: Loaded) -> dict[str, dict[str, str]]:
    """The settings in force as text, secrets masked."""
    shown: dict[str, dict[str, str]] = {}
    for row in as_rows(loaded):
        shown.setdefault(row.section, {})[row.key] = row.value
    return shown
