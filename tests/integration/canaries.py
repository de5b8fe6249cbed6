"""Canaries: secrets that a test knows, looked for wherever they must not be.

A secret of the configuration gets its canary in :data:`GIVEN`; one that is made while the program runs is added where the test
learns it; what is a file of its own (a key ring, a private key) is found in the data directory by :meth:`Canaries.add_files`.
"""

import base64
import contextlib
import re
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from sonde.keyring import KeyRing
from sonde.token import Token

GIVEN_KEY: Final = base64.urlsafe_b64encode(b"canary-key-of-the-configuration!").decode()
GIVEN: Final[Mapping[str, str]] = {
    "log.encryption_key": GIVEN_KEY,
    "node.encryption_key": base64.urlsafe_b64encode(b"canary-key-of-the-node's-outbox!").decode(),
    "node.token": Token.make().text,
    "store.password": "canary-password-of-the-database",
    "kafka.sasl_password": "canary-password-of-the-broker",
    "kafka.ssl_key": "-----BEGIN PRIVATE KEY-----canary-key-for-the-broker",
    "webhook.night.url": "http://127.0.0.1:9/canary-in-the-address-of-the-web-hook",
    "webhook.night.secret": "canary-that-signs-for-the-web-hook",
    "email.night.password": "canary-password-of-the-mail-server",
}
"""For every setting that is a secret, the one that the server is given. A new one needs a new line here; of an address it is
what stands behind the last slash."""
OPEN: Final[Mapping[str, str]] = {
    "kafka.sasl_username": "night",
    "kafka.ssl_cert": "-----BEGIN CERTIFICATE-----",
    "webhook.night.allow_private": "yes",
    "webhook.night.gather": "0s",
    "email.night.user": "night",
    "email.night.server": "127.0.0.1",
    "email.night.port": "9",
    "email.night.sender": "sonde@example.org",
    "email.night.to": "night@example.org",
    "email.night.gather": "0s",
    "rule.hot.metric": "heat",
    "rule.hot.threshold": "1",
}
"""What belongs to them and is no secret: nobody listens where the messages go, and so there is something to complain of."""
_PEM: Final = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\n(.*?)-----END", re.DOTALL)


class Canaries:
    """Secrets by name; what was said and answered is shown to it."""

    def __init__(self) -> None:
        self._secrets: dict[str, list[bytes]] = {}
        self._homes: dict[str, Path] = {}
        self.looked_at = 0

    def add(self, name: str, secret: bytes) -> None:
        """``secret`` in all the forms in which it might leak."""
        forms = {secret, secret.hex().encode(), base64.b64encode(secret), base64.urlsafe_b64encode(secret)}
        with contextlib.suppress(ValueError):
            forms.add(base64.urlsafe_b64decode(secret))
        self._secrets[name] = [form for form in forms if len(form) >= 16]

    def add_token(self, name: str, token: str) -> None:
        """What of it is secret: not its id, which everyone may see."""
        self.add(name, token.split("_")[2].encode())

    def add_given(self) -> None:
        """Those of the configuration."""
        for setting, secret in GIVEN.items():
            if secret.startswith("sonde_"):
                self.add_token(setting, secret)
            else:
                self.add(setting, secret.rpartition("/")[2].encode())

    def add_files(self, folder: Path) -> None:
        """The keys in every key ring and every PEM file of a folder: each may stand in that file and nowhere else."""
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            if file.name == "keys.json":
                for name, key in KeyRing.load(file).keys.items():
                    self._at_home(f"{name} of {file}", key, file)
            elif file.suffix in {".pem", ".key"}:
                for number, body in enumerate(_PEM.findall(file.read_bytes())):
                    self._at_home(f"private key {number} of {file}", body.splitlines()[1], file)

    def _at_home(self, name: str, secret: bytes, file: Path) -> None:
        self.add(name, secret)
        self._homes[name] = file

    def check(self, where: str, text: bytes) -> None:
        """None of them is in ``text``."""
        self.looked_at += 1
        for name, forms in self._secrets.items():
            if str(self._homes.get(name)) != where:
                assert not any(form in text for form in forms), f"{name} stands in {where}"

    def check_files(self, folder: Path) -> None:
        """None of them is in a file of ``folder``, but for those in their own; nobody else may read those that matter."""
        for file in folder.rglob("*"):
            if not file.is_file():
                continue
            self.check(str(file), file.read_bytes())
            if file.name in {"keys.json", "control.db", "server.json"} or _PEM.search(file.read_bytes()):
                assert not file.stat().st_mode & 0o077, f"others may read {file}"

    @contextlib.contextmanager
    def watch_arguments(self) -> Iterator[None]:
        """Look at the arguments of every process while this is open."""
        stop = threading.Event()
        found: list[str] = []

        def look() -> None:
            while not stop.wait(0.02):
                for file in Path("/proc").glob("[0-9]*/cmdline"):
                    with contextlib.suppress(OSError):
                        line = file.read_bytes()
                        found.extend(n for n, forms in self._secrets.items() for form in forms if form in line)

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        assert not found, f"{found[0]} is among the arguments of a process"
