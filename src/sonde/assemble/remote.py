"""A server of Sonde as a command asks it, over HTTP."""

import http.client
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import msgspec

from sonde.errors import (
    Conflict,
    Forbidden,
    Hold,
    NotFound,
    Reject,
    Retry,
    SondeError,
    Throttled,
    TooLarge,
    Unauthenticated,
    Unsupported,
)

TIMEOUT: Final = 60.0
_ERRORS: Final[Mapping[int, type[SondeError]]] = {
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    415: Unsupported,
    429: Throttled,
    503: Retry,
}


@dataclass(frozen=True, slots=True)
class Remote:
    """A server at ``url``; ``headers`` say who asks."""

    url: str
    headers: Mapping[str, str] = field(repr=False)

    def post(self, path: str, body: bytes, accept: str) -> bytes:
        """The body of the answer; the error of Sonde that its status stands for, or :class:`Retry` if nobody answers."""
        parts = urlsplit(self.url)
        kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        if parts.scheme not in kinds or not parts.hostname:
            raise Hold(f"{self.url!r} is not the address of a server", hint="It looks like http://127.0.0.1:8000")
        connection = kinds[parts.scheme](parts.hostname, parts.port, timeout=TIMEOUT)
        try:
            headers = {"Content-Type": "application/json", "Accept": accept, **self.headers}
            connection.request("POST", parts.path.rstrip("/") + path, body, headers)
            answer = connection.getresponse()
            content: bytes = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Retry(f"{self.url} does not answer ({error})", hint="Is the server running?") from None
        finally:
            connection.close()
        if answer.status != 200:
            raise _error(answer.status, content)
        return content


class _Problem(msgspec.Struct):
    detail: str = ""


def _error(status: int, content: bytes) -> SondeError:
    try:
        detail = msgspec.json.decode(content, type=_Problem).detail
    except (msgspec.DecodeError, UnicodeDecodeError):
        detail = content[:200].decode(errors="replace")
    return _ERRORS.get(status, Reject)(detail or f"the server answered with status {status}")
