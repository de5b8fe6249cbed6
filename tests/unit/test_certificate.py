"""Certificates of a private authority: what stands in them, and what is refused."""

import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from sonde.certificate import (
    AUTHORITY_LASTS,
    LEAF_LASTS,
    Authority,
    check_host,
    fingerprint_text,
    new_key,
    read_certificates,
    request_pem,
)
from sonde.clock import DAY, SECOND
from sonde.errors import Hold, Invalid
from tests.certificates import Authorities, now

NOW = 1_790_000_000 * SECOND
DIGEST = bytes(range(32))


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.make(NOW)


def test_an_authority_says_what_it_is(authority: Authority) -> None:
    said = authority.description
    assert (said.subject, said.names) == (said.issuer, ())
    assert said.subject.startswith("Sonde authority ")
    assert said.ends - NOW == AUTHORITY_LASTS
    assert said.begins < NOW, "clocks differ"
    found = authority.certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert found.critical
    assert (found.value.ca, found.value.path_length) == (True, 0)


def test_a_server_is_known_by_its_names_and_addresses(authority: Authority) -> None:
    pem = authority.server(["sonde.example.org", "10.0.0.7", "::1"], NOW)
    (said,) = read_certificates(pem, "server")
    assert said.names == ("sonde.example.org", "10.0.0.7", "::1")
    assert said.ends - NOW == LEAF_LASTS
    assert said.issuer == authority.description.subject
    assert authority.made(pem, "server")
    assert not Authority.make(NOW).made(pem, "server")
    assert isinstance(x509.load_pem_x509_certificate(pem).public_key(), ec.EllipticCurvePublicKey)
    assert pem.startswith(b"-----BEGIN PRIVATE KEY-----")


def test_nothing_outlives_its_authority(authority: Authority) -> None:
    later = NOW + AUTHORITY_LASTS - DAY
    assert read_certificates(authority.server(["a"], later), "server")[0].ends == NOW + AUTHORITY_LASTS
    with pytest.raises(Hold, match="ended"):
        authority.server(["a"], later + 2 * DAY)


def test_a_node_is_known_by_its_credential(authority: Authority) -> None:
    pem = authority.node(request_pem(new_key()), "attic", DIGEST, NOW)
    (said,) = read_certificates(pem.encode(), "node")
    assert (said.subject, said.credential, said.names) == ("attic", DIGEST, ())
    usage = x509.load_pem_x509_certificate(pem.encode()).extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert list(usage.value) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert len(read_certificates(authority.node(request_pem(new_key()), "ü" * 200, DIGEST, NOW).encode(), "x")) == 1


def rsa_request() -> str:
    key = rsa.generate_private_key(65537, 2048)
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def forged_request() -> str:
    """One whose signature belongs to another."""
    der = bytearray(x509.load_pem_x509_csr(request_pem(new_key()).encode()).public_bytes(Encoding.DER))
    der[-1] ^= 1
    return x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM).decode()


@pytest.mark.parametrize("request_", ["", "nonsense", "x" * 100_000, "\ud800", rsa_request(), forged_request()])
def test_what_is_no_request_is_invalid(authority: Authority, request_: str) -> None:
    with pytest.raises(Invalid, match="request"):
        authority.node(request_, "attic", DIGEST, NOW)


def test_an_authority_comes_back_from_its_files(authority: Authority) -> None:
    again = Authority.from_pem(authority.pem(), authority.key_pem(), "authority.pem")
    assert again.description == authority.description
    assert again.made(again.server(["a"], NOW), "server")
    other = Authority.make(NOW)
    for key in (other.key_pem(), b"", b"nonsense"):
        with pytest.raises(Hold, match=r"authority\.pem"):
            Authority.from_pem(authority.pem(), key, "authority.pem")
    with pytest.raises(Hold, match="no certificate"):
        Authority.from_pem(b"nonsense", authority.key_pem(), "authority.pem")
    assert "PRIVATE" not in repr(authority)
    assert "_key" not in repr(authority)


@pytest.mark.parametrize(
    ("text", "name"),
    [("Sonde.Example.org", "sonde.example.org"), ("[::1]", "::1"), ("10.0.0.1", "10.0.0.1"), ("*.a.org", "*.a.org")],
)
def test_hosts(text: str, name: str) -> None:
    assert check_host(text) == name


@pytest.mark.parametrize("text", ["", "a b", "http://a", "a:80", "-a", "a..b", "é.org", "*", "a" * 64, "a/b", "x\ny"])
def test_what_is_no_host(text: str) -> None:
    with pytest.raises(Invalid, match="--host"):
        check_host(text)


def test_a_fingerprint_needs_no_quoting(authority: Authority) -> None:
    text = fingerprint_text(authority.description.fingerprint)
    assert len(text) == 43
    assert text.replace("-", "").replace("_", "").isalnum()


def test_what_is_made_is_taken_by_the_strictest_reader(tmp_path: Path) -> None:
    world = Authorities.make(tmp_path)
    client = ssl.create_default_context(cafile=world.ca)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(world.server())
    server.verify_mode = ssl.CERT_REQUIRED
    server.verify_flags |= ssl.VERIFY_X509_STRICT
    server.load_verify_locations(world.ca)
    client.load_cert_chain(world.node("attic", DIGEST))
    assert ("URI", f"urn:sonde:token:{DIGEST.hex()}") in shake_hands(client, server)
    assert read_certificates(world.ca.read_bytes(), "ca")[0].ends > now()


def shake_hands(client: ssl.SSLContext, server: ssl.SSLContext) -> list[tuple[str, str]]:
    """A handshake in memory; the alternative names of the client, as the server sees them."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    waiting = [ours, theirs, ours, theirs]
    for side in waiting:
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    found = theirs.getpeercert()
    assert found is not None
    return list(found["subjectAltName"])  # type: ignore[arg-type]
