"""Key rings: from the configuration, from ``keys.json``, or drawn on the first start."""

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from pydantic import SecretStr

from sonde.assemble.places import log_path
from sonde.codec import Codec, unwrap
from sonde.config import Loaded, Settings, key_command, master_keys
from sonde.directory import DataDirectory
from sonde.errors import Damaged, Hold, KeyMissing
from sonde.frame import read_header
from sonde.keyring import KeyRing, name_of
from sonde.ports import Log

_COMMAND_SECONDS: Final = 30.0
_KEY: Final = "encryption_key"


def log_ring(directory: DataDirectory, settings: Settings) -> KeyRing:
    """The key ring of the log; see :func:`open_ring`. :class:`Hold` if there is no key for a log that several programs share:
    each would draw one of its own."""
    given = configured(settings.log.encryption_key, "[log] encryption_key")
    if settings.topic is None:
        return open_ring(directory.keys, given, log_path(directory, settings) / "id")
    if not given and not directory.keys.exists():
        raise Hold(
            "a log in Kafka is shared, and this program has no key for it",
            hint="Give all the same: [log] encryption_key, or SONDE_LOG_ENCRYPTION_KEY_FILE; sonde init writes a fresh one",
        )
    return open_ring(directory.keys, given)


def has_keys(directory: DataDirectory, settings: Settings) -> bool:
    """Whether there are keys for the log, in the settings or in their file."""
    return bool(settings.log.encryption_key.get_secret_value()) or directory.keys.exists()


def opening_ring(directory: DataDirectory, settings: Settings) -> KeyRing:
    """The keys that open the log. :class:`KeyMissing` if there are none: none is drawn."""
    if not has_keys(directory, settings):
        raise KeyMissing(str(directory.keys))
    return log_ring(directory, settings)


def again(loaded: Loaded) -> Settings:
    """The settings as file, environment and secrets say them now. :class:`Hold` if a key is wrong; what else may be wrong by
    now is for the next start, and the settings stay those of before."""
    if loaded.again is None:
        return loaded.settled()
    try:
        return loaded.again().settled()
    except Hold as error:
        if _KEY in str(error):
            raise
        return loaded.settled()


def configured(secret: SecretStr, spoken: str) -> Sequence[bytes]:
    """The keys that a setting gives, of which the first seals; none if it is empty. A command is run to ask for them:
    :class:`Hold` if it fails. What it says on standard error goes to ours."""
    command = key_command(secret)
    if not command:
        return master_keys(secret)
    text = said_by(command, spoken)
    try:
        return master_keys(SecretStr(text))
    except ValueError as error:
        raise Hold(f"what the command of {spoken} prints is no key: it {error}") from None


def open_ring(path: Path, given: Sequence[bytes], guarded: Path | None = None) -> KeyRing:
    """The keys of the file at ``path``, and those ``given`` by the configuration, of which the first is the active one.

    Neither is there: a new key is drawn and saved. :class:`Hold` if ``guarded``, sealed with a key that is lost, is there.
    """
    kept = KeyRing.load(path) if path.exists() else None
    if given:
        named = {name_of(key): key for key in given}
        retired = kept.retired - named.keys() if kept else frozenset()
        return KeyRing(name_of(given[0]), {**(dict(kept.keys) if kept else {}), **named}, retired)
    if kept is not None:
        return kept
    if guarded is not None and guarded.exists():
        raise Hold(
            f"the key file {path} is gone, and {guarded} was sealed with a key in it",
            hint="Put it back from a backup; nothing was changed",
        )
    drawn = next(iter(KeyRing.generate().keys.values()))
    ring = KeyRing(name_of(drawn), {name_of(drawn): drawn})
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


def said_by(command: str, spoken: str) -> str:
    """What a command prints, run without a shell. :class:`Hold` naming ``spoken`` if it fails or prints nothing."""
    try:
        words = shlex.split(command)
        done = subprocess.run(  # noqa: S603  # the operator's own command, without a shell
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=_COMMAND_SECONDS, check=False
        )
        said = done.stdout.decode()
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        reason = (
            f"it took more than {_COMMAND_SECONDS:.0f} s" if isinstance(error, subprocess.TimeoutExpired) else error
        )
        raise Hold(f"the command of {spoken} cannot be run ({reason})", hint="Nothing was changed") from None
    if done.returncode or not said.strip():
        what = f"ended with {done.returncode}" if done.returncode else "printed nothing"
        raise Hold(
            f"the command {words[0]!r} of {spoken} {what}", hint="Nothing was changed; see what it says"
        ) from None
    return said
