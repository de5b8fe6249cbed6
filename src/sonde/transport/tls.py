"""TLS, both ends: what a server shows, what a client trusts, and what went wrong between them, in plain words.

1.2 and 1.3, with forward secrecy and authenticated ciphers. Whoever connects to a sink or an api takes the context of a
:class:`ClientTls` for each new connection: files that were renewed are read again.
"""

import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeAlias

from sonde.certificate import read_certificates
from sonde.clock import Clock, SystemClock
from sonde.errors import Hold, SondeError
from sonde.moment import format_time

Seen: TypeAlias = tuple[tuple[int, int, int] | None, ...]

_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of 1.2; all of 1.3 are such
_NOT_YET, _EXPIRED = 9, 10  # of OpenSSL's verification
_UNKNOWN_AUTHORITY: Final = frozenset({2, 18, 19, 20, 21})
_OTHER_NAME: Final = frozenset({62, 64})
_PLAIN_THERE: Final = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"})
_OLD_THERE: Final = frozenset({"UNSUPPORTED_PROTOCOL", "NO_SHARED_CIPHER", "NO_PROTOCOLS_AVAILABLE"})
_MINE_REFUSED: Final = {
    "CERTIFICATE_EXPIRED": "has expired, by the sink's clock",
    "CERTIFICATE_UNKNOWN": "is not one that the sink takes",
    "CERTIFICATE_REQUIRED": "is missing, and the sink wants one",
    "UNKNOWN_CA": "was made by another authority than the sink's",
    "BAD_CERTIFICATE": "is not one that the sink takes",
    "CERTIFICATE_REVOKED": "was revoked",
}


def server_context(certificate: Path, key: Path | None = None, client_ca: Path | None = None) -> ssl.SSLContext:
    """What a listener shows: ``certificate`` with the chain behind it, in PEM, and its ``key`` (None: in the same file).

    With ``client_ca``, clients may show certificates that this authority made. :class:`Hold` if a file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    _load_chain(context, certificate, key)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_OPTIONAL
        _load_authorities(context, client_ca)
    return context


class ClientTls:
    """What a client of a TLS server trusts and shows.

    ``ca`` holds the authorities to trust; None: those of the system. ``identity`` is a PEM file with the client's own
    certificate and key; it is shown while it is there and has not ended. With ``exact``, ``ca`` holds the very certificate
    that the server shows, whatever names it is for. :class:`Hold` if a file cannot be used.
    """

    def __init__(
        self, ca: Path | None = None, identity: Path | None = None, *, exact: bool = False, clock: Clock | None = None
    ) -> None:
        self._ca, self._identity, self._exact = ca, identity, exact
        self._clock = clock or SystemClock()
        self._seen = self._look()
        self._context = self._made()

    @classmethod
    def unverified(cls) -> "ClientTls":
        """For what can be verified by other means alone, and holds no secret: whoever answers is believed."""
        made = cls()
        made._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        made._context.check_hostname = False
        made._context.verify_mode = ssl.CERT_NONE
        return made

    def context(self) -> ssl.SSLContext:
        """For the next connection: another one than before if a file has changed since."""
        seen = self._look()
        if seen != self._seen:
            self._context = self._made()
            self._seen = seen
        return self._context

    def _look(self) -> Seen:
        return look(self._ca, self._identity)

    def _made(self) -> ssl.SSLContext:
        context = ssl.create_default_context() if self._ca is None else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(_CIPHERS)
        context.set_alpn_protocols(["http/1.1"])
        if self._ca is not None:
            _load_authorities(context, self._ca)
        if self._exact:
            context.check_hostname = False
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        if self._identity is not None and self._identity.exists() and not self._has_ended(self._identity):
            _load_chain(context, self._identity, None)
        return context

    def _has_ended(self, identity: Path) -> bool:
        return read_certificates(_read(identity), str(identity))[0].ends <= self._clock.now()


def look(*paths: Path | None) -> Seen:
    """What tells that a file was replaced; equal as long as none was."""
    return tuple(_stat(path) for path in paths)


def explain(error: BaseException, where: str, clock: Clock | None = None) -> SondeError | None:
    """What somebody has to do about a TLS error on the way to ``where``; None if trying again may help."""
    for found in _chain(error):
        if isinstance(found, ssl.SSLCertVerificationError):
            return _not_verified(found, where, clock or SystemClock())
        if isinstance(found, ssl.SSLError):
            explained = _refused(getattr(found, "reason", None) or "", where)
            if explained is not None:
                return explained
    return None


def _not_verified(error: ssl.SSLCertVerificationError, where: str, clock: Clock) -> Hold:
    code = getattr(error, "verify_code", 0)
    now = format_time(clock.now())[:19] + "Z"
    if code == _EXPIRED:
        return Hold(
            f"the certificate of {where} has ended, by this machine's clock ({now})",
            hint="Renew it beside the server: sonde cert renew; or set this clock right",
        )
    if code == _NOT_YET:
        return Hold(
            f"the certificate of {where} is not valid yet, by this machine's clock ({now})",
            hint="Set the clock of this machine right, or that of the server",
        )
    if code in _UNKNOWN_AUTHORITY:
        return Hold(
            f"the certificate of {where} was not made by an authority that is trusted here",
            hint="Name the file with its authority's certificate ([node] ca, or --ca), or join again: sonde node join",
        )
    if code in _OTHER_NAME:
        return Hold(
            f"the certificate of {where} is for other names ({error.verify_message})",
            hint="Call the server by a name in its certificate (sonde cert show), or renew it: sonde cert renew --host",
        )
    return Hold(f"the certificate of {where} is not valid ({error.verify_message or error})", hint="sonde cert show")


def _refused(reason: str, where: str) -> Hold | None:
    if reason in _PLAIN_THERE:
        return Hold(
            f"what listens at {where} speaks no TLS", hint="Write http:// if that is meant, or turn TLS on there"
        )
    if reason.endswith("ALERT_HANDSHAKE_FAILURE"):
        hint = "Both need TLS 1.2 or newer; a node whose certificate has ended joins again: sonde node join"
        return Hold(f"{where} broke the handshake off: nothing in common, or it wants a certificate", hint=hint)
    if reason in _OLD_THERE or reason.endswith("ALERT_PROTOCOL_VERSION"):
        return Hold(f"{where} and this machine have no version of TLS in common", hint="Both need TLS 1.2 or newer")
    for alert, what in _MINE_REFUSED.items():
        if reason.endswith(f"ALERT_{alert}"):
            return Hold(
                f"{where}: this node's certificate {what}", hint="Join again: sonde node invite, sonde node join"
            )
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those inside it, the innermost last; each once."""
    seen: list[BaseException] = []
    waiting = [error]
    while waiting:
        found = waiting.pop()
        if found in seen:
            continue
        seen.append(found)
        yield found
        inner = (*found.args, getattr(found, "reason", None), found.__cause__, found.__context__)
        waiting += [each for each in inner if isinstance(each, BaseException)]


def _load_chain(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    try:
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise Hold(f"the key in {key or certificate} is not that of {certificate}", hint="Name a pair") from None
        raise Hold(
            f"{certificate}{f' with {key}' if key else ''} is no certificate with its key ({error.reason or error})",
            hint="Both are PEM files; a key with a passphrase cannot be read",
        ) from None
    except OSError as error:
        raise _unreadable(error, key or certificate) from None


def _load_authorities(context: ssl.SSLContext, ca: Path) -> None:
    try:
        context.load_verify_locations(ca)
    except ssl.SSLError as error:
        raise Hold(f"{ca} holds no certificate in PEM ({error.reason or error})", hint="Name another file") from None
    except OSError as error:
        raise _unreadable(error, ca) from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(error, path) from None


def _unreadable(error: OSError, path: Path) -> Hold:
    return Hold(
        f"{error.filename or path} cannot be read ({error.strerror or error})", hint="Name a file that is there"
    )


def _stat(path: Path | None) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path) if path is not None else None
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_ino, found.st_size) if found is not None else None
