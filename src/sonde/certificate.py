"""Certificates: a private authority makes them, and everyone reads them. X.509, EC P-256; nothing here touches a file.

A node's certificate names its credential: the digest of the node's token stands in it as a URI. So what is revoked for
the token is revoked for the certificate too.
"""

import base64
import hashlib
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sonde.clock import DAY, SECOND, Micros
from sonde.errors import Hold, Invalid, Problem

AUTHORITY_LASTS: Final[Micros] = 3652 * DAY
LEAF_LASTS: Final[Micros] = 397 * DAY
WARN_BEFORE: Final[Micros] = 30 * DAY
"""How long before its end a certificate is spoken of, and a node asks for a new one."""

_BACKDATED: Final[Micros] = 3600 * SECOND  # clocks differ
_CREDENTIAL: Final = "urn:sonde:token:"
_REQUEST_BYTES: Final = 8 << 10
_LABEL: Final = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_DNS_NAME: Final = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*")


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says. ``names`` are host names and addresses, ``fingerprint`` is SHA-256 in hex, ``credential`` the
    digest of a node's token (empty for others)."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    begins: Micros
    ends: Micros
    fingerprint: str
    credential: bytes = b""


def read_certificates(pem: bytes, where: str) -> list[Certificate]:
    """The certificates in ``pem``, at least one, in their order; :class:`Hold` naming ``where`` if there is none."""
    return [_described(found) for found in _load(pem, where)]


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def request_pem(key: ec.EllipticCurvePrivateKey) -> str:
    """A request for a certificate of ``key``. It names nobody: the authority knows who asks."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def credential_in(names: Sequence[tuple[str, str]]) -> bytes:
    """The digest of a token in a certificate's alternative names, as ``ssl`` gives them; empty if there is none."""
    for kind, text in names:
        if kind == "URI" and text.startswith(_CREDENTIAL):
            try:
                return bytes.fromhex(text.removeprefix(_CREDENTIAL))
            except ValueError:
                return b""
    return b""


def fingerprint_text(fingerprint: str) -> str:
    """A fingerprint as it stands in a code: 43 characters that need no quoting."""
    return base64.urlsafe_b64encode(bytes.fromhex(fingerprint)).decode().rstrip("=")


def check_host(text: str) -> str:
    """A host name or address that a certificate can be for; :class:`Invalid` if it is neither."""
    name = text.strip().strip("[]").lower()
    if _address(name) is None and (len(name) > 253 or not _DNS_NAME.fullmatch(name)):
        raise Invalid(Problem(None, "--host", f"{text!r} is neither a host name nor an address"))
    return name


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate that makes others, and its key."""

    certificate: x509.Certificate
    _key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def make(cls, now: Micros) -> Self:
        """A new one, good for ten years. Its name tells it from others."""
        key = new_key()
        tail = hashlib.sha256(_public(key.public_key())).hexdigest()[:8]
        name = _name(f"Sonde authority {tail}")
        builder = _builder(name, name, key.public_key(), now, AUTHORITY_LASTS)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
        return cls(builder.sign(key, hashes.SHA256()), key)

    @classmethod
    def from_pem(cls, certificate: bytes, key: bytes, where: str) -> Self:
        """:class:`Hold` naming ``where`` if these are no authority."""
        found = _load(certificate, where)[0]
        try:
            loaded = serialization.load_pem_private_key(key, None)
        except (ValueError, TypeError) as error:
            raise Hold(f"the key of {where} cannot be read ({error})", hint="Restore it from a backup") from None
        if not isinstance(loaded, ec.EllipticCurvePrivateKey) or loaded.public_key() != found.public_key():
            raise Hold(f"the key beside {where} is not its key", hint="Restore both from one backup")
        return cls(found, loaded)

    @property
    def description(self) -> Certificate:
        return _described(self.certificate)

    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def key_pem(self) -> bytes:
        return key_pem(self._key)

    def made(self, certificate: bytes, where: str) -> bool:
        """Whether the first certificate in this PEM is signed by this authority."""
        try:
            _load(certificate, where)[0].verify_directly_issued_by(self.certificate)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True

    def server(self, hosts: Sequence[str], now: Micros) -> bytes:
        """A certificate for a server under these names and addresses, behind its new key: one PEM file."""
        key = new_key()
        names = [x509.IPAddress(a) if (a := _address(host)) else x509.DNSName(host) for host in hosts]
        made = self._leaf(hosts[0], key.public_key(), names, ExtendedKeyUsageOID.SERVER_AUTH, now)
        return key_pem(key) + made

    def node(self, request: str, name: str, credential: bytes, now: Micros) -> str:
        """The certificate of node ``name`` for the key in ``request``; :class:`Invalid` if that is no request."""
        key = _requested_key(request)
        names = [x509.UniformResourceIdentifier(_CREDENTIAL + credential.hex())]
        return self._leaf(name, key, names, ExtendedKeyUsageOID.CLIENT_AUTH, now).decode()

    def _leaf(
        self,
        name: str,
        key: ec.EllipticCurvePublicKey,
        names: Sequence[x509.GeneralName],
        purpose: x509.ObjectIdentifier,
        now: Micros,
    ) -> bytes:
        lasts = min(LEAF_LASTS, _micros(self.certificate.not_valid_after_utc) - now)
        if lasts <= 0:
            raise Hold("the authority's own certificate has ended", hint="Make a new one: docs/operations.md")
        mine = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        builder = _builder(_name(name), self.certificate.subject, key, now, lasts)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(mine), critical=False
        )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: Micros, lasts: Micros
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder(
        issuer, subject, key, x509.random_serial_number(), _moment(now - _BACKDATED), _moment(now + lasts)
    )
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _requested_key(request: str) -> ec.EllipticCurvePublicKey:
    try:
        if len(request) > _REQUEST_BYTES:
            raise ValueError(f"longer than {_REQUEST_BYTES} characters")
        found = x509.load_pem_x509_csr(request.encode())
        key = found.public_key()
        if not found.is_signature_valid:
            raise ValueError("its signature is not that of its key")
    except Exception as error:  # the library raises many kinds for bytes from anywhere
        raise Invalid(Problem(None, "request", f"no certificate request in PEM ({error})")) from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Invalid(Problem(None, "request", "its key is not of EC P-256"))
    return key


def _load(pem: bytes, where: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise Hold(f"{where} holds no certificate in PEM ({error})", hint="Restore it, or make a new one") from None


def _described(found: x509.Certificate) -> Certificate:
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    uris = [("URI", text) for text in names.get_values_for_type(x509.UniformResourceIdentifier)]
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    return Certificate(
        subject=_common_name(found.subject),
        issuer=_common_name(found.issuer),
        names=(*names.get_values_for_type(x509.DNSName), *addresses),
        begins=_micros(found.not_valid_before_utc),
        ends=_micros(found.not_valid_after_utc),
        fingerprint=found.fingerprint(hashes.SHA256()).hex(),
        credential=credential_in(uris),
    )


def _common_name(name: x509.Name) -> str:
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else name.rfc4514_string()


def _name(text: str) -> x509.Name:
    """64 bytes are all that a common name may have; it is for people only."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text.encode()[:64].decode(errors="ignore"))])


def _public(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _moment(at: Micros) -> datetime:
    return datetime.fromtimestamp(at // SECOND, UTC)


def _micros(at: datetime) -> Micros:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
