"""A node joins a sink with a code, and keeps its certificate from ending."""

import hashlib
import ssl
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlsplit

import msgspec

from sonde.access import is_loopback
from sonde.assemble.remote import Remote, client_tls
from sonde.certificate import key_pem, new_key, request_pem
from sonde.directory import DataDirectory
from sonde.errors import Hold, NotFound
from sonde.files import write_file
from sonde.joining import parse_code
from sonde.transport.tls import ClientTls

_JSON: Final = "application/json"
_MOST_BYTES: Final = 64 << 10
T = TypeVar("T")


class Joined(msgspec.Struct, frozen=True):
    """What a node keeps of having joined: where its sink is, what it is called, and its token."""

    sink: str
    node: str
    token: str

    def __repr__(self) -> str:
        return f"Joined({self.sink!r}, {self.node!r})"


class _Answer(msgspec.Struct):
    node: str
    token: str
    certificate: str | None
    authority: str | None


class _Renewed(msgspec.Struct):
    certificate: str
    authority: str


def read_joined(directory: DataDirectory) -> Joined | None:
    """What joining brought, if this directory has joined. :class:`Hold` if it cannot be read."""
    try:
        return msgspec.json.decode(directory.joined.read_bytes(), type=Joined)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Hold(f"{directory.joined} cannot be read ({error})", hint="Join again: sonde node join") from None


def node_tls(directory: DataDirectory, ca: str = "", certificate: str = "") -> ClientTls:
    """What a node trusts and shows: the files of its configuration, else those that joining brought, else what the system
    trusts."""
    trusted = Path(ca) if ca else directory.node_authority
    return ClientTls(
        trusted if ca or trusted.exists() else None, Path(certificate) if certificate else directory.node_identity
    )


def join(directory: DataDirectory, url: str, code: str, ca: Path | None) -> Joined:
    """Use a code up at the sink at ``url``, and keep what it gives. The first thing that is sent there is a question whose
    answer the code vouches for; the code itself follows when the sink's certificate has been verified."""
    token, fingerprint = parse_code(code)
    address = url.strip().rstrip("/")
    _check_address(address, fingerprint)
    directory.node.mkdir(mode=0o700, exist_ok=True)
    pinned = _fetch_authority(directory, address, fingerprint) if fingerprint and ca is None else None
    key = new_key()
    asked = {"code": token, "request": request_pem(key)}
    tls = ClientTls(pinned) if pinned else client_tls(address, ca, directory.path)
    content = Remote(address, {}, tls).post("/nodes/join", msgspec.json.encode(asked), _JSON)
    answer = _decoded(content, _Answer, address)
    trusted = pinned or ca
    if address.startswith("https:") and trusted is not None:
        write_file(directory.node_authority, trusted.read_bytes())
    if answer.certificate:
        write_file(directory.node_identity, key_pem(key) + answer.certificate.encode(), mode=0o600)
    made = Joined(address, answer.node, answer.token)
    write_file(directory.joined, msgspec.json.encode(made), mode=0o600)
    if pinned is not None:
        pinned.unlink()
    return made


def renew_identity(identity: Path, sink: str, token: str, tls: ClientTls) -> None:
    """A new certificate for a new key, in place of the one that ends soon."""
    key = new_key()
    body = msgspec.json.encode({"request": request_pem(key)})
    content = Remote(sink, {"Authorization": f"Bearer {token}"}, tls).post("/nodes/renew", body, _JSON)
    answer = _decoded(content, _Renewed, sink)
    write_file(identity, key_pem(key) + answer.certificate.encode(), mode=0o600)


def _check_address(url: str, fingerprint: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise Hold(f"{url!r} is not the address of a sink", hint="It looks like https://sonde.example.org:8000")
    if parts.scheme == "https":
        return
    if fingerprint:
        raise Hold("the code is for a sink that speaks TLS", hint=f"Write https://{url.partition('://')[2]}")
    if parts.hostname != "localhost" and not is_loopback(parts.hostname):
        raise Hold(
            "over http:// everyone on the way would see the code and the token",
            hint="Turn TLS on at the sink (sonde init --tls) and write https://",
        )


def _fetch_authority(directory: DataDirectory, url: str, fingerprint: str) -> Path:
    """The sink's authority in a file. Whoever gave it, it is the right one: its fingerprint stands in the code."""
    try:
        content = Remote(url, {}, ClientTls.unverified()).get("/nodes/authority", _MOST_BYTES)
        found = hashlib.sha256(ssl.PEM_cert_to_DER_cert(content.decode())).hexdigest()
    except (ValueError, NotFound):
        found = ""
    if found != fingerprint:
        raise Hold(
            f"what answers at {url} is not the sink that the code is for",
            hint="Is the address right? If it is, somebody is between: nothing was sent. Or the authority was made anew: "
            "get another code",
        )
    path = directory.node / "authority.joining.pem"
    write_file(path, content)
    return path


def _decoded(content: bytes, shape: type[T], url: str) -> T:
    try:
        return msgspec.json.decode(content, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Hold(f"what answers at {url} is not a sink of this version", hint="Is the address right?") from None
