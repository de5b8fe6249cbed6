"""Certificates for tests: good ones, and ones that are wrong in one way each; and a small TLS server."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sonde.certificate import LEAF_LASTS, Authority, key_pem, new_key, request_pem
from sonde.clock import DAY, SECOND, Micros, SystemClock

LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass
class Authorities:
    """A private authority in a folder, and what it made."""

    folder: Path
    authority: Authority
    ca: Path

    @classmethod
    def make(cls, folder: Path, name: str = "authority") -> "Authorities":
        folder.mkdir(parents=True, exist_ok=True)
        made = Authority.make(now())
        ca = folder / f"{name}.pem"
        ca.write_bytes(made.pem())
        return cls(folder, made, ca)

    def server(self, name: str = "server", hosts: tuple[str, ...] = LOCAL, at: Micros | None = None) -> Path:
        """A certificate with its key in one file; as if it were made ``at``."""
        path = self.folder / f"{name}.pem"
        path.write_bytes(self.authority.server(hosts, at or now()))
        return path

    def node(self, name: str, credential: bytes, at: Micros | None = None) -> Path:
        key = new_key()
        made = self.authority.node(request_pem(key), name, credential, at or now())
        path = self.folder / f"{name}.identity.pem"
        path.write_bytes(key_pem(key) + made.encode())
        return path


def now() -> Micros:
    return SystemClock().now()


def long_ago() -> Micros:
    """When something was made that has ended by now."""
    return now() - LEAF_LASTS - DAY


def soon() -> Micros:
    """When something is made that is not valid yet."""
    return now() + 2 * 3600 * SECOND


def context_of(certificate: Path, client_ca: Path | None = None) -> ssl.SSLContext:
    """A bare server's context, with nothing of ours in it. Where it wants a certificate it speaks 1.2: in 1.3 a client is
    refused after its handshake, and may or may not hear why before the connection is gone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if client_ca is not None:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_ca)
    return context


@contextlib.contextmanager
def listening(context: ssl.SSLContext | None, answer: bytes) -> Iterator[int]:
    """A server that gives everyone the same answer, through TLS if there is a context; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_answer_all, args=(listener, context, answer))
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _answer_all(listener: socket.socket, context: ssl.SSLContext | None, answer: bytes) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        connection.settimeout(10)
        with contextlib.suppress(OSError), connection:
            _answer(context.wrap_socket(connection, server_side=True) if context else connection, answer)


def _answer(connection: socket.socket, answer: bytes) -> None:
    """Whoever speaks TLS to a plain server is answered at once, like by any other."""
    with connection:
        received = connection.recv(65536)
        while received and received[0] != 0x16 and b"\r\n\r\n" not in received:
            received += connection.recv(65536)
        connection.sendall(answer)
        connection.settimeout(0.2)
        while connection.recv(65536):
            pass


class Peeking(ssl.SSLSocket):
    """A TLS connection that tests can use like a plain one: it can be peeked into, and breaks with the same errors."""

    _ahead = b""

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        try:
            if not self._ahead:
                self._ahead = super().recv(max(buflen, 1 << 16))
        except ssl.SSLError as error:
            if isinstance(error, TimeoutError):
                raise
            raise ConnectionResetError(str(error)) from None
        found = self._ahead[:buflen]
        if not flags & socket.MSG_PEEK:
            self._ahead = self._ahead[buflen:]
        return found

    def send(self, data: Any, flags: int = 0) -> int:
        try:
            return super().send(data, flags)
        except ssl.SSLError as error:
            raise BrokenPipeError(str(error)) from None


def trusting(ca: Path) -> ssl.SSLContext:
    """A client's context whose connections are :class:`Peeking`."""
    context = ssl.create_default_context(cafile=ca)
    context.sslsocket_class = Peeking
    return context
