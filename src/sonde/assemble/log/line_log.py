"""The encrypted line log of an older sink: one Fernet token a line, each with a reading or an array of readings in JSON."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec
from cryptography.fernet import Fernet, InvalidToken

from sonde.clock import SECOND, Micros
from sonde.errors import Hold, SondeError
from sonde.files import write_file
from sonde.ports import Telemetry
from sonde.reading import Batch
from sonde.sink import forms
from sonde.sink.columns import Columns, merge
from sonde.sink.limits import Limits

_LINE_BYTES: Final = 64 << 20
_LIMITS: Final = Limits()
_FIRST: Final = 20  # lines of which one has to open, or the key is taken for a wrong one


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the file: its number, the byte it starts at and the one after it, and what it holds, without the end of the
    line. Not ``ended``: the file stops there, and the line may go on later."""

    number: int
    start: int
    end: int
    text: bytes
    ended: bool = True


@dataclass(frozen=True, slots=True)
class Bad:
    """A line that could not be taken, and why."""

    number: int
    start: int
    why: str


class Done(msgspec.Struct, frozen=True):
    """How far a file was taken in: so many bytes and lines from its start, with this SHA-256; how many lines were ``taken``;
    those among them, by number and byte, that could not be."""

    bytes: int = 0
    lines: int = 0
    taken: int = 0
    sha256: str = ""
    bad: list[tuple[int, int]] = []


class Opened:
    """Opens lines with any of ``keys``."""

    def __init__(self, keys: Sequence[Fernet]) -> None:
        self._keys = keys

    def readings(self, line: Line) -> Batch:
        """The readings of a line; each has a time and an ``event_id``, from the line if it has none of its own. ``ValueError``
        with the reason if the line cannot be taken."""
        body, sealed = self._open(line.text)
        try:
            received, _ = forms.read(Telemetry(body), sealed, replace(_LIMITS, future=1 << 62))
        except SondeError as error:
            raise ValueError(error.message) from None
        columns = received.readings
        assert isinstance(columns, Columns)
        name = hashlib.sha256(line.text).hexdigest()[:32]
        given = columns.ids or [None] * len(columns)
        columns.ids = [own or f"line-{name}-{i}" for i, own in enumerate(given)]
        return columns.batch()

    def opens(self, line: Line) -> bool:
        """Whether a key opens the line."""
        try:
            self._open(line.text)
        except ValueError:
            return False
        return True

    def _open(self, token: bytes) -> tuple[bytes, Micros]:
        """What a token holds, and when it was sealed."""
        for key in self._keys:
            try:
                return key.decrypt(token), key.extract_timestamp(token) * SECOND
            except InvalidToken:
                continue
        raise ValueError("no key opens it")


def lines(path: Path, start: int = 0, number: int = 1) -> Iterator[Line]:
    """The lines of a file from byte ``start`` on, of which the first has ``number``. Empty ones are left out."""
    with path.open("rb") as file:
        file.seek(max(0, start - 1))
        if start and file.read(1) != b"\n":
            number -= 1  # what is left of the line before
        while text := file.readline(_LINE_BYTES):
            end = start + len(text)
            if text.strip():
                yield Line(number, start, end, text.strip(), text.endswith(b"\n") or len(text) == _LINE_BYTES)
            start = end
            number += 1


def line_at(path: Path, number: int, start: int) -> Line | None:
    """The line that starts at byte ``start``, if there is one."""
    return next(iter(lines(path, start, number)), None)


def check_key(path: Path, opened: Opened) -> None:
    """:class:`Hold` if none of the first lines can be opened: then it is the key that is wrong, or the file."""
    first = [line for line, _ in zip(lines(path), range(_FIRST), strict=False)]
    if first and not any(opened.opens(line) for line in first):
        raise Hold(
            f"none of the first {len(first)} lines of {path} can be opened with this key",
            hint="Is it the key that this log was written with? Nothing was imported",
        )


def record_of(folder: Path, path: Path) -> Path:
    """Where it is written down how far a file was taken in. A file is known by its first line, whatever it is called."""
    first = next(lines(path), None)
    return folder / f"{hashlib.sha256(first.text if first else b'').hexdigest()[:32]}.json"


def read_done(record: Path, path: Path) -> Done:
    """How far ``path`` was taken in; nothing if what was taken in is not what is there now."""
    try:
        done = msgspec.json.decode(record.read_bytes(), type=Done)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return Done()
    return (
        done if done.bytes <= path.stat().st_size and digest_of(path, done.bytes).hexdigest() == done.sha256 else Done()
    )


def write_done(record: Path, done: Done) -> None:
    write_file(record, msgspec.json.encode(done), mode=0o600)


def digest_of(path: Path, size: int) -> "hashlib._Hash":
    """The SHA-256 of the first ``size`` bytes, to be carried on."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while size and (block := file.read(min(size, 1 << 20))):
            digest.update(block)
            size -= len(block)
    return digest


def together(batches: Sequence[Batch]) -> Batch:
    """Several lines' readings in one batch."""
    return merge(batches)
