"""Messages by ``POST`` of JSON to a URL, signed so that its receiver can tell them from anybody else's.

The header ``Sonde-Signature`` is ``t=SECONDS,v1=HEX``: HMAC-SHA256 of ``SECONDS.BODY`` with the shared secret. Redirects
are not followed. 2xx means taken; 408, 425, 429 and 5xx are tried again; everything else is final.
"""

import hashlib
import hmac
import ssl
from typing import Final

import msgspec
import urllib3

from sonde.clock import SECOND, Clock
from sonde.courier.address import addresses_of
from sonde.errors import Doubtful, Reject, Retry, SondeError
from sonde.notice import Message

_TIMEOUT: Final = urllib3.Timeout(connect=10.0, read=15.0)
_LATER: Final = frozenset({408, 425, 429, 503})
_SHOWN: Final = 200  # bytes of an answer
_MOST_AFTER: Final = 3600.0
_encode: Final = msgspec.json.Encoder().encode


class Webhook:
    """Port ``Courier`` to one URL. ``private`` lets it be one of this machine or its network."""

    def __init__(self, url: str, secret: bytes, clock: Clock, *, private: bool = False) -> None:
        parts = urllib3.util.parse_url(url)
        self._scheme, self._host, self._path = parts.scheme or "", parts.host or "", parts.request_uri
        self._port = parts.port or (443 if self._scheme == "https" else 80)
        self._netloc = parts.netloc or ""
        self._secret, self._clock, self._private = secret, clock, private

    def send(self, message: Message) -> None:
        body = _encode(message.body)
        headers = {
            "Host": self._netloc,
            "Content-Type": "application/json",
            "User-Agent": "Sonde",
            "Sonde-Message": message.id,
        }
        if self._secret:
            headers["Sonde-Signature"] = sign(self._secret, self._clock.now() // SECOND, body)
        failure: SondeError | None = None
        for address in addresses_of(self._host.strip("[]"), self._port, private=self._private):
            try:
                self._post(address, body, headers)
                return
            except Doubtful:
                raise
            except Retry as error:  # not reached there; perhaps at its next address
                failure = error
        raise failure or Retry(f"{self._host} has no address")

    def _post(self, address: str, body: bytes, headers: dict[str, str]) -> None:
        with self._pool(address) as pool:
            try:
                response = pool.urlopen(
                    "POST", self._path, body, headers, retries=False, redirect=False, preload_content=False
                )
                shown = response.read(_SHOWN, decode_content=False)
                response.release_conn()
            except (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError) as error:
                raise Retry(f"{self._host} cannot be reached ({_reason(error)})") from None
            except urllib3.exceptions.SSLError as error:
                raise Retry(f"no secure connection to {self._host} ({error})", hint="Check its certificate") from None
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise Doubtful(f"{self._host} did not answer ({_reason(error)})") from None
        self._judge(response, shown)

    def _pool(self, address: str) -> urllib3.HTTPConnectionPool:
        host = f"[{address}]" if ":" in address else address
        if self._scheme == "https":
            context = ssl.create_default_context()
            name = self._host.strip("[]")
            return urllib3.HTTPSConnectionPool(
                host, self._port, timeout=_TIMEOUT, ssl_context=context, server_hostname=name, assert_hostname=name
            )
        return urllib3.HTTPConnectionPool(host, self._port, timeout=_TIMEOUT)

    def _judge(self, response: urllib3.BaseHTTPResponse, shown: bytes) -> None:
        status = response.status
        if 200 <= status < 300:
            return
        said = f"{self._host} answered {status}: {shown.decode(errors='replace').strip()!r}"
        if status in _LATER:
            raise Retry(said, after=_after(response.headers.get("Retry-After", "")))
        if status >= 500:
            raise Doubtful(said)
        if 300 <= status < 400:
            raise Reject(said, hint="Redirects are not followed; give the address where it leads")
        raise Reject(said)


def sign(secret: bytes, seconds: int, body: bytes) -> str:
    """The value of ``Sonde-Signature``."""
    mac = hmac.new(secret, b"%d." % seconds + body, hashlib.sha256)
    return f"t={seconds},v1={mac.hexdigest()}"


def _after(header: str) -> float | None:
    return min(float(header), _MOST_AFTER) if header.isdecimal() else None


def _reason(error: Exception) -> str:
    return str(error).rpartition(": ")[2] or type(error).__name__
