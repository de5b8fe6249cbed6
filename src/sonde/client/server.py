"""A server of Sonde as a client asks it, over HTTP."""

import re
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec
import urllib3

from sonde.errors import Hold, Reject, Retry
from sonde.problem import error_of

TIMEOUT: Final = 60.0
_FIRST_WAIT: Final = 0.2
_LAST_WAIT: Final = 10.0
_NEXT: Final = re.compile(r'<([^>]*)>; *rel="next"')


class Answer(NamedTuple):
    """What a server answered: the JSON, the cursor of its snapshot (empty if it has none), and the path of the next page."""

    data: Any
    cursor: str = ""
    next: str = ""


class Server:
    """A server at ``url``; ``headers`` say who asks. ``tls`` is what is trusted where the address is https."""

    def __init__(self, url: str, headers: Mapping[str, str], tls: ssl.SSLContext | None, patience: float) -> None:
        self.url = url.rstrip("/")
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise Hold(f"{url!r} is not the address of a server", hint="It looks like http://127.0.0.1:8000")
        self.headers = dict(headers)
        self.tls = tls
        self._path = parts.path
        self._patience = patience
        trusted: dict[str, Any] = {}
        if tls is not None:
            trusted = {"ssl_context": tls, "assert_hostname": None if tls.check_hostname else False}
        self._pool = urllib3.PoolManager(retries=False, timeout=TIMEOUT, maxsize=4, **trusted)

    def ask(
        self,
        method: str,
        path: str,
        *,
        fields: Mapping[str, str] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """The answer; the error of Sonde that its status stands for, :class:`Retry` if nobody answers."""
        asked = {"Accept": "application/json", **self.headers, **(headers or {})}
        try:
            answer = self._pool.request(
                method, self.url + path, fields=fields, body=body, headers=asked, redirect=False
            )
        except urllib3.exceptions.HTTPError as error:
            raise Retry(f"{self.url} does not answer ({error})", hint="Is the server running?") from None
        if answer.status >= 300:
            raise error_of(answer.status, answer.data, answer.headers.get("Retry-After"))
        following = _NEXT.search(answer.headers.get("Link", ""))
        try:
            data = msgspec.json.decode(answer.data) if answer.data else None
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Reject(f"{self.url}{path} did not answer in JSON", hint="Is this a server of Sonde?") from None
        return Answer(data, answer.headers.get("Sonde-Cursor", ""), following[1] if following else "")

    def insist(self, act: Callable[[], Answer]) -> Answer:
        """Do something, again and again while the server says later or nothing at all, for as long as there is patience."""
        end, wait = time.monotonic() + self._patience, _FIRST_WAIT
        while True:
            try:
                return act()
            except Retry as error:
                pause = max(wait, error.after or 0.0)
                if time.monotonic() + pause > end:
                    raise
            time.sleep(pause)
            wait = min(2 * wait, _LAST_WAIT)

    def close(self) -> None:
        self._pool.clear()
