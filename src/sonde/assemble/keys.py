"""Key rings: from the configuration, from ``keys.json``, or drawn on the first start."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from sonde.errors import Hold
from sonde.keyring import KeyRing


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


def _name(key: bytes) -> str:
    """A key's name follows from the key, so that it is the same wherever the key comes from."""
    return f"key-{hashlib.sha256(b'name of ' + key).hexdigest()[:8]}"
