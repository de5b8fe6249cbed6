"""What people do with key rings: list, add, rotate, retire. A program that seals with the ring takes a change up by itself."""

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag

from sonde.assemble.acts import note_local
from sonde.assemble.keys.rings import configured
from sonde.assemble.keys.watch import sealing_key
from sonde.assemble.log.look import LogView
from sonde.assemble.places import log_path
from sonde.clock import Micros
from sonde.codec import unwrap
from sonde.config import Settings
from sonde.directory import DataDirectory, FileLock
from sonde.errors import Conflict, Hold, NotFound
from sonde.frame import Header
from sonde.keyring import KEY_BYTES, KeyRing, name_of
from sonde.moment import format_time
from sonde.node.outbox import sealed_with

_PATIENCE: Final = 20.0  # seconds for a running program to take a change up
_LOOK_SECONDS: Final = 0.05
_SETTING: Final = "[log] encryption_key"
_LOSS: Final = (
    "What the store has already stays there, but a rebuild would be without them, and so would a restored backup. "
    "If that is meant: --force"
)
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Need:
    """What is sealed with a key: frames, readings in them, in how many segments (0: not in a log), and since when until when
    they were sealed. ``sample`` is the header of one of them."""

    frames: int = 0
    readings: int = 0
    segments: int = 0
    first: Micros = 0
    last: Micros = 0
    sample: Header | None = None


@dataclass(frozen=True, slots=True)
class KeyLine:
    """A key: ``state`` is ``seals``, ``opens``, ``missing`` (frames need it and it is not here) or ``retired``; ``place`` is
    where it stands."""

    name: str
    state: str
    place: str
    need: Need


@dataclass(frozen=True, slots=True)
class Ring:
    """A key ring of a data directory and what it guards: that of the log, or of the outbox."""

    directory: DataDirectory
    settings: Settings
    path: Path
    setting: str
    given: Sequence[bytes]
    guarded: Path | None  # none: what is sealed with it is not here
    needs: Callable[[Progress | None], Mapping[str, Need]]

    @property
    def of_configuration(self) -> list[str]:
        """The names of the keys that the configuration gives."""
        return [name_of(key) for key in self.given]

    @property
    def is_lost(self) -> bool:
        """Whether there is something sealed, and no key at all."""
        return not self.path.exists() and not self.given and self.guarded is not None and self.guarded.exists()

    def load(self) -> KeyRing | None:
        """The ring in the file, if there is one."""
        return KeyRing.load(self.path) if self.path.exists() else None


def ring_of_log(directory: DataDirectory, settings: Settings) -> Ring:
    given = configured(settings.log.encryption_key, _SETTING)

    def needs(progress: Progress | None) -> Mapping[str, Need]:
        try:
            with closing(LogView(directory, settings)) as view:
                found = view.key_uses(progress)
        except NotFound:  # nothing was ever started here
            return {}
        return {n: Need(u.frames, u.readings, u.segments, u.first, u.last, u.sample) for n, u in found.items()}

    guarded = log_path(directory, settings) / "id" if settings.topic is None else None
    return Ring(directory, settings, directory.keys, _SETTING, given, guarded, needs)


def ring_of_outbox(directory: DataDirectory, settings: Settings) -> Ring:
    path = directory.node / "outbox.db"
    given = configured(settings.node.encryption_key, "[node] encryption_key")

    def needs(progress: Progress | None) -> Mapping[str, Need]:
        if not path.exists():
            return {}
        return {n: Need(count, rows, 0, first, last) for n, (count, rows, first, last) in sealed_with(path).items()}

    directory.node.mkdir(mode=0o700, exist_ok=True)
    return Ring(directory, settings, directory.node / "keys.json", "[node] encryption_key", given, path, needs)


def listed(ring: Ring, progress: Progress | None = None) -> list[KeyLine]:
    """Every key that is here, was retired, or is needed; the one that seals first."""
    kept, needs = ring.load(), ring.needs(progress)
    file = list(kept.keys) if kept else []
    configuration = ring.of_configuration
    active = configuration[0] if configuration else kept.active if kept else ""
    here = dict.fromkeys([*configuration, *file])
    gone = sorted((set(needs) | (kept.retired if kept else set())) - here.keys())
    lines = [
        KeyLine(
            name,
            "seals" if name == active else "opens",
            ring.setting if name in configuration else ring.path.name,
            needs.get(name, Need()),
        )
        for name in sorted(here, key=lambda n: n != active)
    ]
    retired = kept.retired if kept else frozenset()
    return lines + [
        KeyLine(name, "retired" if name in retired else "missing", "", needs.get(name, Need())) for name in gone
    ]


def add(ring: Ring, brought: Mapping[str, bytes] | None) -> list[str]:
    """Put keys into the ring's file, so that they open; a fresh one if none is brought. Their names. :class:`Hold` if one is
    not what its name says: it would take the place of another, or does not open what was sealed under that name."""
    if brought is None and ring.is_lost:
        raise _lost(ring)
    keys = brought if brought is not None else _fresh()
    with _changing(ring):
        kept, needs = ring.load(), ring.needs(None)
        for name, key in keys.items():
            _check_is(name, key, kept, needs.get(name))
        if kept is None:
            active = next((name for name in needs if name in keys), next(iter(keys)))
            changed = KeyRing(active, dict(keys))
        else:
            changed = replace(kept, keys={**kept.keys, **keys}, retired=kept.retired - keys.keys())
        note_local(ring.directory, ring.settings, "key.add", " ".join(keys), ring=ring.path.name)
        changed.save(ring.path)
    return list(keys)


@dataclass(frozen=True, slots=True)
class Rotated:
    """Which key seals now, which did, and whether a running program seals with it already (None: none runs)."""

    key: str
    before: str
    taken_up: bool | None


def rotate(ring: Ring, name: str | None = None) -> Rotated:
    """Let the key ``name`` of the ring seal from now on; a fresh one if none is named. :class:`Conflict` if the configuration
    says which key seals, :class:`NotFound`. Waits until a running program has taken it up."""
    _check_own(ring)
    if ring.given:
        raise Conflict(
            f"the key that seals comes from {ring.setting}",
            hint="Put the new key first there, a comma, then those that are there; a running Sonde takes it up by itself "
            "if it stands in a file",
        )
    if ring.is_lost:
        raise _lost(ring)
    with _changing(ring):
        kept = ring.load()
        fresh = _fresh() if name is None else {}
        key = name or next(iter(fresh))
        if kept is None:
            kept = KeyRing(key, fresh) if fresh else None
        if kept is None or (name is not None and name not in kept.keys):
            raise NotFound(f"there is no key {name!r} in {ring.path}", hint="sonde keys list shows them")
        before = kept.active
        note_local(ring.directory, ring.settings, "key.rotate", key, before=before, ring=ring.path.name)
        replace(kept, active=key, keys={**kept.keys, **fresh}).save(ring.path)
    return Rotated(key, before, _wait_until_sealing(ring.path, key))


def retire(ring: Ring, name: str, *, force: bool = False, progress: Progress | None = None) -> Need:
    """Take a key out of the ring; what was sealed with it, which is nothing without ``force``. :class:`Conflict` saying what
    would be lost, or who still seals with it; :class:`NotFound`."""
    with _changing(ring):
        kept, needs = ring.load(), ring.needs(progress)
        need = needs.get(name, Need())
        _check_not_sealing(ring, kept, name)
        if kept is None or (name not in kept.keys and not need.frames):
            raise NotFound(f"there is no key {name!r} in {ring.path}", hint="sonde keys list shows them")
        if need.frames and not force:
            raise Conflict(f"{said(need)} can be opened with {name!r} alone", hint=_LOSS)
        note_local(ring.directory, ring.settings, "key.retire", name, frames=str(need.frames), ring=ring.path.name)
        keys = {other: key for other, key in kept.keys.items() if other != name}
        active = kept.active if kept.active in keys else next(iter(keys), name)
        lost = {name} if need.frames else set()
        replace(kept, active=active, keys=keys, retired=kept.retired | lost).save(ring.path)
    return need


def said(need: Need) -> str:
    """A need in words."""
    where = f" in {need.segments:,} segment{'' if need.segments == 1 else 's'}" if need.segments else ""
    frames = f"{need.frames:,} frame{'' if need.frames == 1 else 's'}"
    span = f"sealed from {format_time(need.first)} to {format_time(need.last)}"
    return f"{frames} with {need.readings:,} readings{where}, {span},"


@contextmanager
def _changing(ring: Ring) -> Iterator[None]:
    """One program at a time changes a ring."""
    _check_own(ring)
    lock = FileLock(ring.path.with_suffix(".lock"))
    try:
        yield
    finally:
        lock.release()


def _check_own(ring: Ring) -> None:
    """:class:`Hold` if other programs need the same keys, which this one cannot give them."""
    if ring.settings.topic is not None and ring.setting == _SETTING:
        raise Hold(
            "a log in Kafka is sealed and opened by many programs, and all of them have to know a new key first",
            hint=f"Put it into {_SETTING} of all of them, behind the old one; when all have it, in front",
        )


def _fresh() -> Mapping[str, bytes]:
    key = secrets.token_bytes(KEY_BYTES)
    return {name_of(key): key}


def _lost(ring: Ring) -> Hold:
    return Hold(
        f"the key file {ring.path} is gone, and {ring.guarded} was sealed with a key in it",
        hint="Put it back from a backup, or add the key: sonde keys add --key file:PATH; nothing was changed",
    )


def _check_is(name: str, key: bytes, kept: KeyRing | None, need: Need | None) -> None:
    if kept is not None and kept.keys.get(name, key) != key:
        raise Hold(f"another key is called {name!r} already", hint="Nothing was changed")
    if need is None or need.sample is None:
        return
    try:
        unwrap(key, need.sample.wrapped, need.sample.session)
    except InvalidTag:
        raise Hold(
            f"this is not the key {name!r} that sealed {need.frames:,} frames of the log", hint="Nothing was changed"
        ) from None


def _check_not_sealing(ring: Ring, kept: KeyRing | None, name: str) -> None:
    if name in ring.of_configuration:
        raise Conflict(f"the key {name!r} stands in {ring.setting}", hint="Take it out there")
    if kept is not None and name == kept.active and not ring.given:
        raise Conflict(f"{name!r} is the key that seals", hint="Let another one take over first: sonde keys rotate")
    if kept is not None and [name] == list(kept.keys):
        raise Conflict(f"{name!r} is the only key in {ring.path}", hint="A ring has one at least")
    if sealing_key(ring.path) == name:
        raise Conflict(f"a running Sonde still seals with {name!r}", hint="What it says tells why it took up no other")


def _wait_until_sealing(path: Path, key: str) -> bool | None:
    deadline = time.monotonic() + _PATIENCE
    while (sealing := sealing_key(path)) is not None:
        if sealing == key:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_SECONDS)
    return None
