"""The key ring: named master keys, of which one is active.

Its file is JSON, ``{"active": name, "keys": {name: base64}, "retired": [name]}``, readable by its owner alone.
"""

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from sonde.errors import Hold, KeyMissing, KeyRetired
from sonde.files import write_file

KEY_BYTES = 32
NAME_BYTES = 32


def name_of(key: bytes) -> str:
    """A key's name follows from the key, so that it is the same wherever the key comes from."""
    return f"key-{hashlib.sha256(b'name of ' + key).hexdigest()[:8]}"


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Master keys by name; new frames are sealed with the one named ``active``. ``retired`` are names of keys that were
    taken out on purpose though frames needed them: those frames are lost, and nobody waits for the key."""

    active: str
    keys: Mapping[str, bytes] = field(repr=False)
    retired: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name, key in self.keys.items():
            if not name.isprintable() or not 0 < len(name.encode()) <= NAME_BYTES:
                raise Hold(f"the key name {name!r} is not 1 to {NAME_BYTES} bytes of printable text")
            if len(key) != KEY_BYTES:
                raise Hold(f"the key {name!r} has {len(key)} bytes; a master key has {KEY_BYTES}")
        if self.active not in self.keys:
            raise KeyMissing(self.active)

    @classmethod
    def generate(cls, name: str = "key-1") -> "KeyRing":
        """A ring with one new random key."""
        return cls(name, {name: secrets.token_bytes(KEY_BYTES)})

    def key(self, name: str) -> bytes:
        """The master key called ``name``; :class:`KeyMissing` if it is not here, :class:`KeyRetired` if it never will be."""
        try:
            return self.keys[name]
        except KeyError:
            if name in self.retired:
                raise KeyRetired(name) from None
            raise KeyMissing(name) from None

    def to_json(self) -> bytes:
        keys = {n: base64.b64encode(k).decode() for n, k in self.keys.items()}
        return msgspec.json.encode(_File(self.active, keys, sorted(self.retired)))

    @classmethod
    def from_json(cls, data: bytes, where: str) -> "KeyRing":
        """The ring that ``data`` holds; :class:`Hold` naming ``where`` it came from if it holds none."""
        try:
            file = msgspec.json.decode(data, type=_File)
            keys = {name: base64.b64decode(key, validate=True) for name, key in file.keys.items()}
        except (msgspec.DecodeError, ValueError) as error:
            raise Hold(f"{where} is not a key ring ({error})", hint="Restore it from a backup") from None
        try:
            return cls(file.active, keys, frozenset(file.retired) - keys.keys())
        except Hold as error:
            raise Hold(f"{where}: {error.message}", hint="Restore it from a backup") from None

    @classmethod
    def load(cls, path: Path) -> "KeyRing":
        """The ring in the file at ``path``; :class:`Hold` if that cannot be read or holds none."""
        try:
            data = path.read_bytes()
        except OSError as error:
            raise Hold(
                f"the key ring {path} cannot be read ({error.strerror})", hint="Restore it from a backup"
            ) from None
        return cls.from_json(data, str(path))

    def save(self, path: Path) -> None:
        write_file(path, self.to_json(), mode=0o600)


class _File(msgspec.Struct, omit_defaults=True):
    active: str
    keys: dict[str, str]
    retired: list[str] = []


class LiveRing:
    """A key ring that may be exchanged while it is in use. Whoever seals looks at ``active`` before each frame, and begins
    a new session when it has changed. Any thread may use it."""

    def __init__(self, ring: KeyRing) -> None:
        self.now = ring

    @property
    def active(self) -> str:
        return self.now.active

    def key(self, name: str) -> bytes:
        """See :meth:`KeyRing.key`."""
        return self.now.key(name)


Keys = KeyRing | LiveRing
"""What seals and opens."""
