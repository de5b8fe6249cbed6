"""Keys that a person brings: from a file, the environment, or the output of a command; never from the arguments of a process,
which everybody on the machine can read."""

import base64
import binascii
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from sonde.assemble.keys.rings import said_by
from sonde.errors import Hold, Invalid, Problem
from sonde.keyring import KEY_BYTES, KeyRing, name_of

SOURCES: Final = "file:PATH, env:NAME, command:COMMAND or - for standard input"
_STANDARD: Final = str.maketrans("-_", "+/")


def keys_from(source: str) -> Mapping[str, bytes]:
    """The keys by name that ``source`` holds, at least one: a key ring, or keys in base64 separated by commas or spaces.
    :class:`Invalid` if it is not a source, :class:`Hold` if it cannot be read or holds no key."""
    text = _text(source)
    if text.lstrip().startswith("{"):
        return KeyRing.from_json(text.encode(), _shown(source)).keys
    found: dict[str, bytes] = {}
    for word in text.replace(",", " ").split():
        try:
            key = base64.b64decode(word.translate(_STANDARD), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != KEY_BYTES:
            raise Hold(
                f"{_shown(source)} does not hold a key", hint=f"One is {KEY_BYTES} bytes in base64: 44 characters"
            )
        found[name_of(key)] = key
    if not found:
        raise Hold(f"{_shown(source)} holds no key")
    return found


def _text(source: str) -> str:
    kind, colon, rest = source.partition(":")
    if source == "-":
        return sys.stdin.read()
    if colon and kind == "file":
        try:
            return Path(rest).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Hold(f"the key file {rest} cannot be read ({error})") from None
    if colon and kind == "env":
        if not os.environ.get(rest, "").strip():
            raise Hold(f"the variable {rest} is empty or not set")
        return os.environ[rest]
    if colon and kind == "command":
        return said_by(rest, "--key")
    raise Invalid(Problem(None, "--key", f"should be {SOURCES}; a key itself would be seen by everybody here"))


def _shown(source: str) -> str:
    return "standard input" if source == "-" else source if source.startswith(("file:", "env:")) else "the command"
