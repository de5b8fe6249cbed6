"""Disks for the log that fail when told to, and one that remembers, so that a power cut can strike at every moment."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sonde.log.disk import Disk

SECTOR = 512
"""Bytes that a disk writes as one."""

Image = Mapping[Path, bytes]
"""What a disk holds, by path below its root."""


class FaultyDisk(Disk):
    """Fails the next call of a kind, once for each :meth:`fail`."""

    def __init__(self) -> None:
        self._faults: list[tuple[str, int, int, float]] = []
        self.struck = 0

    def fail(self, call: str, number: int, *, skip: int = 0, share: float = 0.0) -> None:
        """The next ``call`` after ``skip`` others raises ``OSError(number)``; a write does ``share`` of its work before."""
        self._faults.append((call, number, skip, share))

    def _strike(self, call: str) -> tuple[int, float] | None:
        for i, (name, number, skip, share) in enumerate(self._faults):
            if name == call:
                if skip:
                    self._faults[i] = (name, number, skip - 1, share)
                    return None
                del self._faults[i]
                self.struck += 1
                return number, share
        return None

    def _check(self, call: str) -> None:
        if fault := self._strike(call):
            raise OSError(fault[0], f"injected into {call}")

    def folder(self, path: Path) -> None:
        self._check("folder")
        super().folder(path)

    def create(self, path: Path, data: bytes) -> None:
        self._check("create")
        super().create(path, data)

    def write(self, handle: int, path: Path, data: bytes, position: int) -> None:
        if fault := self._strike("write"):
            super().write(handle, path, data[: int(len(data) * fault[1])], position)
            raise OSError(fault[0], "injected into write")
        super().write(handle, path, data, position)

    def sync(self, handle: int, path: Path) -> None:
        self._check("sync")
        super().sync(handle, path)

    def truncate(self, handle: int, path: Path, size: int) -> None:
        self._check("truncate")
        super().truncate(handle, path, size)

    def remove(self, paths: list[Path]) -> None:
        self._check("remove")
        super().remove(paths)


@dataclass(frozen=True, slots=True)
class Touch:
    """One thing that was done to a disk: create, write, sync, truncate, remove, or a note of the test."""

    call: str
    path: Path = Path()
    data: bytes = b""
    position: int = 0


class RecordedDisk(Disk):
    """Does everything for real and remembers it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.touches: list[Touch] = []

    def note(self, text: str) -> None:
        """Remember where in the record the test stands."""
        self.touches.append(Touch("note", data=text.encode()))

    def _remember(self, call: str, path: Path, data: bytes = b"", position: int = 0) -> None:
        self.touches.append(Touch(call, path.relative_to(self._root), data, position))

    def create(self, path: Path, data: bytes) -> None:
        super().create(path, data)
        self._remember("create", path, data)

    def write(self, handle: int, path: Path, data: bytes, position: int) -> None:
        self._remember("write", path, data, position)
        super().write(handle, path, data, position)

    def sync(self, handle: int, path: Path) -> None:
        super().sync(handle, path)
        self._remember("sync", path)

    def truncate(self, handle: int, path: Path, size: int) -> None:
        self._remember("truncate", path, position=size)
        super().truncate(handle, path, size)

    def remove(self, paths: list[Path]) -> None:
        for path in paths:
            self._remember("remove", path)
        super().remove(paths)


@dataclass(slots=True)
class _Platter:
    """What is surely on the disk, and what was written since without a sync."""

    durable: dict[Path, bytes]
    pending: list[Touch] = field(default_factory=list)

    def take(self, touch: Touch) -> None:
        if touch.call == "create":
            self.durable[touch.path] = touch.data
            self.pending = [t for t in self.pending if t.path != touch.path]
        elif touch.call == "remove":
            self.durable.pop(touch.path, None)
        elif touch.call == "sync":
            for earlier in [t for t in self.pending if t.path == touch.path]:
                self.durable[touch.path] = _applied(self.durable[touch.path], earlier)
            self.pending = [t for t in self.pending if t.path != touch.path]
        elif touch.call != "note":
            self.pending.append(touch)


def power_cuts(touches: Sequence[Touch], before: Image, *, seed: int, cuts: int) -> Iterator[tuple[int, Image]]:
    """What a disk that held ``before`` may hold after a power cut at each moment: how many touches were done, and an image.

    What was synced is there. Of what was not, there may be none, all, or with the last write torn at up to ``cuts`` bytes and
    in its sectors.
    """
    dice = random.Random(seed)  # noqa: S311 repeatable, not secret
    platter = _Platter(dict(before))
    for done, touch in enumerate(touches, start=1):
        platter.take(touch)
        yield done, dict(platter.durable)
        for count in range(len(platter.pending)):
            image = dict(platter.durable)
            for earlier in platter.pending[:count]:
                image[earlier.path] = _applied(image[earlier.path], earlier)
            last = platter.pending[count]
            for torn in _torn(image[last.path], last, dice, cuts):
                yield done, {**image, last.path: torn}


def _applied(content: bytes, touch: Touch) -> bytes:
    if touch.call == "truncate":
        return content[: touch.position].ljust(touch.position, b"\0")
    start = content[: touch.position].ljust(touch.position, b"\0")
    return start + touch.data + content[touch.position + len(touch.data) :]


def _torn(content: bytes, touch: Touch, dice: random.Random, cuts: int) -> Iterator[bytes]:
    """A write or truncation that came to the disk in part."""
    yield _applied(content, touch)
    if touch.call == "truncate":
        return
    size = len(touch.data)
    places = range(size) if size <= cuts else sorted({0, 1, size - 1, *(dice.randrange(size) for _ in range(cuts))})
    for place in places:
        yield _applied(content, Touch("write", touch.path, touch.data[:place], touch.position))
    for _ in range(min(cuts, 4)):
        yield _in_sectors(content, touch, dice)


def _in_sectors(content: bytes, touch: Touch, dice: random.Random) -> bytes:
    """Some sectors of a write came, others not: they hold what was there, or zeros; the file may have its full size."""
    whole = _applied(content, touch)
    old = content.ljust(len(whole), b"\0")
    starts = range(0, len(whole), SECTOR)
    return b"".join(dice.choice((whole, old))[start : start + SECTOR] for start in starts)


def put(image: Image, root: Path) -> None:
    """Make the files below ``root`` those of ``image``."""
    for path, data in image.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)


def taken(root: Path) -> dict[Path, bytes]:
    """The image of all files below ``root``."""
    return {path.relative_to(root): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
