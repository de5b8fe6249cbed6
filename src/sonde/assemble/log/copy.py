"""``sonde log copy``: the log of an embedded installation, brought into a log with more partitions.

Frames are opened and sealed anew, each for the partitions that its entries belong to, with the log time that it had. Every
frame that is written says from which place of the old log it is: so the target itself knows how far each of its partitions has
come, and a copy that was killed at any moment goes on without writing a thing twice. The file of its progress only spares it
from beginning at the front.
"""

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from sonde.assemble.log.copy_target import Target
from sonde.assemble.log.spread import Spread
from sonde.assemble.places import log_path
from sonde.clock import SECOND, Clock, Micros, SystemClock
from sonde.codec import Codec
from sonde.config import Settings
from sonde.directory import DataDirectory
from sonde.entry import EntryKind
from sonde.errors import Damaged, Hold, Retry
from sonde.files import write_file
from sonde.frame import Frame
from sonde.keyring import Keys
from sonde.log import walk
from sonde.ports import Log

Progress = Callable[[int, int], None]
_FLUSH_BYTES: Final = 16 << 20
_FLUSH_FRAMES: Final = 5_000
_PATIENCE: Final = 300.0
_BACKOFF: Final = 2.0
_HEARD: Final[Micros] = 5 * SECOND
"""While a rule waits for silence, no partition is further behind the log time of the source than this."""


@dataclass(slots=True)
class Copied:
    """What came of it: frames of the source and readings in them, this time; how many frames had been copied before; places
    in the source that could not be read; whether the source began later than at its first frame."""

    frames: int = 0
    readings: int = 0
    before: int = 0
    unread: list[str] = field(default_factory=list)


class _Done(msgspec.Struct):
    """How far a copy has come: all below ``offset`` is in the target. ``silent`` are the rules that waited
    for silence there, ``last`` the offset and log time of the last frame of the source."""

    source: str
    target: str
    offset: int
    silent: list[str] = []
    last: tuple[int, Micros] | None = None


def copy_log(
    directory: DataDirectory,
    settings: Settings,
    ring: Keys,
    target: Log,
    progress: Progress,
    *,
    partial: bool = False,
    clock: Clock | None = None,
) -> Copied:
    """Copy every frame of the log of ``directory``, which nobody else may use meanwhile, that ``target`` does not have yet.

    :class:`InUse` while a server runs there. :class:`Hold` if the target holds other things, or the source has lost its
    beginning, unless ``partial``. :class:`Retry` if the target was away for minutes; the next call goes on.
    """
    lock = directory.lock()
    try:
        spread = Spread(walk.log_id(source_path(directory, settings)), len(target.ends()))
        return _Copy(directory, settings, ring, target, spread, progress, clock or SystemClock()).run(partial=partial)
    finally:
        lock.release()


def source_path(directory: DataDirectory, settings: Settings) -> Path:
    """The log in files of an installation, whatever its settings say by now of the log to be."""
    return directory.log if settings.topic is not None else log_path(directory, settings)


class _Copy:
    def __init__(
        self,
        directory: DataDirectory,
        settings: Settings,
        ring: Keys,
        log: Log,
        spread: Spread,
        progress: Progress,
        clock: Clock,
    ) -> None:
        self._source = source_path(directory, settings)
        self._id = walk.log_id(self._source)
        self._ring, self._log, self._spread, self._progress, self._clock = ring, log, spread, progress, clock
        self._codec = Codec.named(settings.log.codec)
        self._record = _record_of(directory, self._id, log.id)
        self._silent: set[str] = set()
        self._last: tuple[int, Micros] | None = None  # offset and log time of the frame before
        self._counted = 0
        self._unread: dict[str, None] = {}
        self.made = Copied()

    def run(self, *, partial: bool) -> Copied:
        ends = walk.ends(self._source)
        if set(ends) - {0}:
            raise Hold(f"{self._source} has several partitions, and only a log with one can be copied")
        first, end = ends.get(0, (0, 0))
        if first and not partial:
            raise Hold(
                f"{self._source} begins at offset {first}: what came before was let go, and only the store has it",
                hint="To copy what there is, add --partial; the history before it stays in this installation",
            )
        waited, counted = 0.0, 0
        while True:
            try:
                self._copy(first, end)
            except Retry as error:
                seconds = error.after or _BACKOFF
                waited = waited + seconds if self._counted == counted else 0.0
                counted = self._counted
                if waited >= _PATIENCE:
                    raise
                self._clock.wait(threading.Event(), seconds)
            else:
                self.made.unread = list(self._unread)
                return self.made

    def _copy(self, first: int, end: int) -> None:
        """Copy from where the target stands."""
        target = Target(self._log, self._ring, self._codec, self._id)
        done = self._read_done(target, first)
        self._silent, self._last = set(done.silent), done.last
        if not self._counted:
            self._counted = done.offset
            self.made.before = done.offset - first
        for _, offset, frame in walk.frames(self._source, self._ring, {0: done.offset}, damaged=self._note_unread):
            if offset >= end:
                break
            self._put(target, offset, frame)
            if target.waiting_bytes >= _FLUSH_BYTES or target.waiting_frames >= _FLUSH_FRAMES:
                self._flush(target, offset + 1)
                self._progress(offset + 1 - first, end - first)
        if self._last is not None:
            target.end(end - 1, self._last[1])
        self._flush(target, end)
        self._progress(end - first, end - first)

    def _put(self, target: Target, offset: int, frame: Frame) -> None:
        log_time = frame.header.log_time
        if self._silent and self._last is not None and log_time - self._last[1] > _HEARD:
            target.tick(*self._last, older=self._last[1])  # a pause of the source is as long everywhere
        for partition, body in self._spread.bodies(offset, frame.body).items():
            target.put(partition, offset, body, log_time)
        if self._silent:
            target.tick(offset, log_time, older=log_time - _HEARD)
        self._note_rules(frame)
        self._last = offset, log_time
        if offset >= self._counted:
            self._counted = offset + 1
            self.made.frames, self.made.readings = self.made.frames + 1, self.made.readings + frame.body.readings

    def _note_rules(self, frame: Frame) -> None:
        """Which rules wait for silence."""
        for entry in frame.body.entries:
            if entry.kind == EntryKind.RULE and isinstance(entry.payload, dict):
                rule = entry.payload.get("rule")
                waits = isinstance(rule, dict) and rule.get("type") == "no_data"
                (self._silent.add if waits else self._silent.discard)(str(entry.payload.get("id")))

    def _note_unread(self, damage: Damaged) -> None:
        self._unread[str(damage)] = None

    def _flush(self, target: Target, offset: int) -> None:
        target.flush()
        done = _Done(self._id, self._log.id, offset, sorted(self._silent), self._last)
        write_file(self._record, msgspec.json.encode(done), mode=0o600)

    def _read_done(self, target: Target, first: int) -> _Done:
        """How far the copy has come; from the front if nothing is known."""
        try:
            done = msgspec.json.decode(self._record.read_bytes(), type=_Done)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            done = None
        if done is None or (done.source, done.target) != (self._id, self._log.id) or not target.began:
            return _Done(self._id, self._log.id, first)
        return done


def _record_of(directory: DataDirectory, source: str, target: str) -> Path:
    """Where the progress of a copy from one log to another is kept."""
    folder = directory.path / "copy"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / f"{hashlib.sha256(f'{source} {target}'.encode()).hexdigest()[:32]}.json"
