"""A server of Sonde as a command asks it, over HTTP."""

import http.client
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from sonde.directory import DataDirectory
from sonde.errors import Hold, Retry
from sonde.problem import error_of
from sonde.transport.tls import ClientTls, explain

_FINE: Final = frozenset({200, 201})
__all__ = ["ClientTls", "Remote", "client_tls"]

TIMEOUT: Final = 60.0


@dataclass(frozen=True, slots=True)
class Remote:
    """A server at ``url``; ``headers`` say who asks. ``tls`` is what is trusted where the address is https; None: the
    authorities of the system."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    tls: ClientTls | None = None

    def post(self, path: str, body: bytes, accept: str) -> bytes:
        """The body of the answer; the error of Sonde that its status stands for, or :class:`Retry` if nobody answers."""
        return self._ask("POST", path, body, {"Content-Type": "application/json", "Accept": accept})

    def get(self, path: str, most: int) -> bytes:
        """The same without a body to send, and at most so many bytes of the answer."""
        return self._ask("GET", path, None, {}, most)

    def _ask(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], most: int | None = None
    ) -> bytes:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise Hold(f"{self.url!r} is not the address of a server", hint="It looks like http://127.0.0.1:8000")
        connection = self._connection(parts.scheme, parts.hostname, parts.port)
        try:
            connection.request(method, parts.path.rstrip("/") + path, body, {**headers, **self.headers})
            answer = connection.getresponse()
            content: bytes = answer.read(most)
        except (OSError, http.client.HTTPException) as error:
            explained = explain(error, self.url) if parts.scheme == "https" else None
            raise explained or Retry(f"{self.url} does not answer ({error})", hint="Is the server running?") from None
        finally:
            connection.close()
        if answer.status not in _FINE:
            raise error_of(answer.status, content, answer.headers.get("Retry-After"))
        return content

    def _connection(self, scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
        if scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=TIMEOUT)
        context = (self.tls or ClientTls()).context()
        return http.client.HTTPSConnection(host, port, timeout=TIMEOUT, context=context)


def client_tls(url: str, ca: Path | None, data: Path) -> ClientTls | None:
    """What to trust for a server at ``url``: ``ca``, else the private authority of the data directory; None if neither is
    there, or TLS is not spoken. :class:`Hold` if the file cannot be used."""
    own = DataDirectory(data).authority
    named = ca or (own if own.exists() else None)
    return ClientTls(named) if url.startswith("https:") and named else None
