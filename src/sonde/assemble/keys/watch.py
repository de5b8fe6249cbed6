"""A key ring while a program seals with it: changes are taken up as they are made, and other programs see which key seals.

Beside ``keys.json`` lies ``keys.use``, locked by the program that seals, with the name of the key. A lock ends with its
process, however that ends.
"""

import fcntl
import os
import threading
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Final

import structlog

from sonde.errors import InUse, SondeError
from sonde.keyring import KeyRing, LiveRing

_log = structlog.get_logger()
_LOOK_SECONDS: Final = 0.5
_NAME_BYTES: Final = 256


class RingUse:
    """The mark of a program that seals with the ring at ``path``. :class:`InUse` if another one does."""

    def __init__(self, path: Path) -> None:
        self._handle = os.open(_use_file(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._handle)
            raise InUse(f"another program seals with the keys of {path}", hint="Stop that one first") from None

    def say(self, key: str) -> None:
        """From now on only this key seals."""
        os.truncate(self._handle, 0)
        os.pwrite(self._handle, key.encode(), 0)

    def release(self) -> None:
        os.close(self._handle)


def sealing_key(path: Path) -> str | None:
    """The name of the key of the ring at ``path`` that a running program seals with; none if no program does."""
    try:
        handle = os.open(_use_file(path), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return os.pread(handle, _NAME_BYTES, 0).decode(errors="replace")
    else:
        return None
    finally:
        os.close(handle)


class RingWatch:
    """Looks twice a second whether one of ``files`` has changed, reads the ring again, and lets it take over.

    What cannot be read, or would be wrong, changes nothing: the keys that were there go on, and ``problem`` says what is in
    the way. ``sealing`` gives the names of the keys that seal. ``start`` once, ``stop`` once.
    """

    def __init__(
        self,
        ring: LiveRing,
        path: Path,
        read: Callable[[], KeyRing],
        files: Sequence[Path],
        sealing: Callable[[], Collection[str]],
    ) -> None:
        self.problem = ""
        self._ring, self._path, self._read, self._sealing = ring, path, read, sealing
        self._files = [path, *files]
        self._seen = self._look_at_files()
        self._said = ""
        self._stopped = threading.Event()
        self._use = RingUse(path)
        self._thread = threading.Thread(target=self._run, name="keys", daemon=True)

    def start(self) -> None:
        self.look()
        self._thread.start()

    def stop(self) -> None:
        """Also if it was never started."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._use.release()

    def look(self) -> None:
        """Take up what has changed, and tell which key seals once no other one does."""
        seen = self._look_at_files()
        if seen != self._seen or self.problem:
            self._take_up(seen)
        active = self._ring.active
        if active != self._said and set(self._sealing()) <= {active}:
            self._use.say(active)
            if self._said:
                _log.info("key_seals", key=active)
            self._said = active

    def _take_up(self, seen: object) -> None:
        try:
            ring = self._read()
        except (SondeError, OSError) as error:
            if self.problem != str(error):
                _log.error("keys_not_taken_up", file=str(self._path), problem=str(error))
            self.problem = str(error)
        else:
            self.problem = ""
            self._ring.now = ring
            self._seen = seen
            _log.info("keys_taken_up", file=str(self._path), keys=len(ring.keys))

    def _look_at_files(self) -> object:
        return [_state_of(path) for path in self._files]

    def _run(self) -> None:
        while not self._stopped.wait(_LOOK_SECONDS):
            try:
                self.look()
            except (SondeError, OSError) as error:  # the outbox is just being replaced, the disk is full …
                _log.warning("keys_not_looked_at", problem=str(error))


def _state_of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _use_file(path: Path) -> Path:
    return path.with_suffix(".use")
