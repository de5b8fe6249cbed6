"""Key rings: from the configuration, from ``keys.json``, or drawn on the first start."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import InvalidTag

from sonde.codec import Codec, unwrap
from sonde.errors import Damaged, Hold
from sonde.frame import read_header
from sonde.keyring import KeyRing
from sonde.ports import Log


def open_ring(path: Path, given: Sequence[bytes], guarded: Path | None = None) -> KeyRing:
    """The keys of the file at ``path``, and those ``given`` by the configuration, of which the first is the active one.

    Neither is there: a new key is drawn and saved. :class:`Hold` if ``guarded``, sealed with a key that is lost, is there.
    """
    kept = KeyRing.load(path) if path.exists() else None
    if given:
        named = {_name(key): key for key in given}
        return KeyRing(_name(given[0]), {**(dict(kept.keys) if kept else {}), **named})
    if kept is not None:
        return kept
    if guarded is not None and guarded.exists():
        raise Hold(
            f"the key file {path} is gone, and {guarded} was sealed with a key in it",
            hint="Put it back from a backup; nothing was changed",
        )
    drawn = next(iter(KeyRing.generate().keys.values()))
    ring = KeyRing(_name(drawn), {_name(drawn): drawn})
    ring.save(path)
    return ring


def check_ring(ring: KeyRing, log: Log, path: Path) -> None:
    """:class:`Hold` if the ring has another key under the name of the one that sealed the newest frame of ``log``: what it
    would seal could never be opened beside what is there. A frame that cannot be read says nothing."""
    for partition, (first, end) in log.ends().items():
        try:
            header = read_header(log.read(partition, end - 1, 1)[0].frame) if end > first else None
        except Damaged:
            continue
        if header is None or header.codec == Codec.PLAIN or header.key not in ring.keys:
            continue
        try:
            unwrap(ring.keys[header.key], header.wrapped, header.session)
        except InvalidTag:
            raise Hold(
                f"{path}: {header.key!r} is not the key of that name that sealed the log",
                hint="Put it back from a backup; nothing was changed",
            ) from None


def _name(key: bytes) -> str:
    """A key's name follows from the key, so that it is the same wherever the key comes from."""
    return f"key-{hashlib.sha256(b'name of ' + key).hexdigest()[:8]}"
