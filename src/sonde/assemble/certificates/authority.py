"""The certificates of a data directory: made, renewed, listed.

``tls/authority.pem`` and ``authority.key`` are the private authority; ``tls/server.pem`` is what the listener shows, its key in
the same file so that both change together.
"""

import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sonde.certificate import Authority, Certificate, check_host, key_pem, new_key, read_certificates, request_pem
from sonde.clock import SystemClock
from sonde.config import Settings
from sonde.directory import DataDirectory
from sonde.errors import Conflict, Hold, Invalid
from sonde.files import write_file
from sonde.people import Note

LOCAL_NAMES: Final = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class ServerFiles:
    """What a listener shows: its certificate, its key (None: in the same file), the authority of its nodes (None: none).
    ``own`` says that the certificate is one of ours, in the data directory."""

    certificate: Path
    key: Path | None
    client_ca: Path | None
    own: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """A certificate and where it lies."""

    role: str
    file: Path
    certificate: Certificate


def server_files(directory: DataDirectory, settings: Settings) -> ServerFiles | None:
    """The files that ``[tls]`` names; None if it is not enabled. :class:`Hold` if the certificate is not there."""
    asked = settings.tls
    if not asked.enabled:
        return None
    certificate = Path(asked.certificate) if asked.certificate else directory.certificate
    if not certificate.exists():
        raise Hold(
            f"[tls] is enabled, and {certificate} is not there",
            hint="Make one: sonde init --tls --data DIR; or name yours: [tls] certificate",
        )
    ca = Path(asked.client_ca) if asked.client_ca else directory.authority
    return ServerFiles(
        certificate,
        Path(asked.certificate_key) if asked.certificate_key else None,
        ca if asked.client_ca or ca.exists() else None,
        own=not asked.certificate,
    )


def load_authority(directory: DataDirectory) -> Authority | None:
    """The private authority of a data directory, if it has one and its key is here."""
    if not directory.authority.exists() or not directory.authority_key.exists():
        return None
    try:
        found = directory.authority.read_bytes(), directory.authority_key.read_bytes()
    except OSError as error:
        raise Hold(f"{error.filename} cannot be read ({error.strerror})", hint="Check its owner and mode") from None
    return Authority.from_pem(*found, str(directory.authority))


def make_certificates(directory: DataDirectory, hosts: Sequence[str], note: Note) -> Certificate:
    """A private authority, if there is none, and a certificate of the server; what that says. Nothing is overwritten:
    :class:`Conflict` if there is one."""
    if directory.certificate.exists():
        raise Conflict(f"{directory.certificate} is there already", hint="Renew it: sonde cert renew")
    names = server_names(hosts)
    directory.tls.mkdir(mode=0o700, exist_ok=True)
    note("cert.create", "server", names=" ".join(names))
    authority = load_authority(directory)
    if authority is None:
        _check_no_half(directory)
        authority = Authority.make(SystemClock().now())
        write_file(directory.authority_key, authority.key_pem(), mode=0o600)
        write_file(directory.authority, authority.pem())
    return _write_server(directory, authority, names)


def renew_server(directory: DataDirectory, hosts: Sequence[str], note: Note) -> Certificate:
    """A new certificate of the server with a new key, for the same names unless ``hosts`` are given; what it says. A running
    server shows it to new connections within seconds."""
    authority = load_authority(directory)
    if authority is None:
        raise Hold(
            f"{directory.path} has no private authority that could renew a certificate",
            hint="Make one: sonde init --tls; a certificate from elsewhere is renewed there",
        )
    names = server_names(hosts) if hosts or not directory.certificate.exists() else _names_of(directory.certificate)
    note("cert.renew", "server", names=" ".join(names))
    return _write_server(directory, authority, names)


def write_identity(directory: DataDirectory, file: Path, name: str, credential: bytes) -> Path | None:
    """A certificate for a node of this machine, and its key, in ``file``; None if there is no private authority."""
    authority = load_authority(directory)
    if authority is None:
        return None
    key = new_key()
    made = authority.node(request_pem(key), name, credential, SystemClock().now())
    write_file(file, key_pem(key) + made.encode(), mode=0o600)
    return file


def server_names(hosts: Sequence[str]) -> list[str]:
    """The names and addresses that a server's certificate is for: those given, else this machine's; and those by which
    commands on the machine itself call it."""
    given = [check_host(host) for host in hosts] or list(_own_name())
    return list(dict.fromkeys([*given, *LOCAL_NAMES]))


def shown(directory: DataDirectory, settings: Settings) -> Iterator[Shown]:
    """Every certificate that this data directory or its settings name, and that is there."""
    asked = settings.tls
    named = {
        "server": Path(asked.certificate) if asked.certificate else directory.certificate,
        "authority": directory.authority,
        "client authority": Path(asked.client_ca) if asked.client_ca else directory.authority,
        "node": Path(settings.node.certificate) if settings.node.certificate else directory.node_identity,
        "sink's authority": Path(settings.node.ca) if settings.node.ca else directory.node_authority,
    }
    seen: set[Path] = set()
    for role, file in named.items():
        if file in seen or not file.exists():
            continue
        seen.add(file)
        yield Shown(role, file, read_certificates(file.read_bytes(), str(file))[0])


def _write_server(directory: DataDirectory, authority: Authority, names: Sequence[str]) -> Certificate:
    made = authority.server(names, SystemClock().now())
    write_file(directory.certificate, made, mode=0o600)
    return read_certificates(made, str(directory.certificate))[0]


def _names_of(file: Path) -> list[str]:
    return list(read_certificates(file.read_bytes(), str(file))[0].names)


def _own_name() -> Iterator[str]:
    try:
        yield check_host(socket.gethostname())
    except Invalid:  # what the machine is called is no name for a certificate
        return


def _check_no_half(directory: DataDirectory) -> None:
    for file in (directory.authority, directory.authority_key):
        if file.exists():
            raise Conflict(
                f"{file} is there, and what belongs to it is not",
                hint="Put the other back from a backup, or move this one away and let the nodes join again",
            )
