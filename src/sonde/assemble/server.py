"""Where the running server of a data directory listens: its ``server.json``."""

import os
from pathlib import Path
from typing import Final

import msgspec

from sonde.directory import DataDirectory
from sonde.errors import Hold
from sonde.files import write_file
from sonde.transport.tls import ClientTls

SIGN_IN: Final = "/sign-in"
COOKIE: Final = "sonde_session"


class Running(msgspec.Struct, frozen=True):
    """A server that runs: where it listens, its process, the file with the certificate that it shows, if it does, and whether
    log and store are not its own: then who may come in stands in a database."""

    url: str
    pid: int
    certificate: str = ""
    shared: bool = False

    def tls(self, identity: Path | None = None) -> ClientTls | None:
        """What commands on the same machine trust: exactly that certificate, whatever names it is for."""
        return ClientTls(Path(self.certificate), identity, exact=True) if self.certificate else None

    def sign_in_url(self, secret: str) -> str:
        """The address that signs a browser in, once."""
        return f"{self.url}{SIGN_IN}?link={secret}"


def announce(directory: DataDirectory, url: str, certificate: Path | None = None, *, shared: bool = False) -> Running:
    """Write down that this process listens at ``url``, and shows ``certificate``; and whether log and store are ``shared``."""
    here = Running(url, os.getpid(), str(certificate.absolute()) if certificate else "", shared)
    write_file(directory.server, msgspec.json.encode(here), mode=0o600)
    return here


def withdraw(directory: DataDirectory) -> None:
    directory.server.unlink(missing_ok=True)


def find_running(directory: DataDirectory) -> Running | None:
    """The server that runs on a data directory, if one does."""
    try:
        found = msgspec.json.decode(directory.server.read_bytes(), type=Running)
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    try:
        os.kill(found.pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass  # it lives, and belongs to another user
    return found


def running(directory: DataDirectory, *, shared: bool = False) -> Running:
    """The server that runs on a data directory; :class:`Hold` if none does. ``shared`` says that it may run elsewhere too."""
    found = find_running(directory)
    if found is None:
        way = "Name the directory of one that does with --data, or the address of an api with --url"
        raise Hold(
            f"no server runs on {directory.path}",
            hint=way if shared else f"Start one: sonde up --data {directory.path}",
        )
    return found
