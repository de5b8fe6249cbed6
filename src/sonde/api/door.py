"""What every request and response passes: the name it was called by, the methods of a path, the security headers.

A page elsewhere can give its own name the address of this machine (DNS rebinding) and so read what a server on loopback
gives to callers without a token. Therefore who calls a loopback address must use a loopback name, or one in ``hosts``.
"""

import ipaddress
import re
from collections.abc import Collection, Iterable
from typing import Final
from urllib.parse import urlsplit

import structlog
from fastapi.routing import APIRoute
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sonde.api.responses import plain_problem

POLICY: Final = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'; "
    "script-src 'self'; style-src 'self'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
STRICT: Final = f"max-age={30 * 86_400}"
"""For names that are reached through TLS: browsers keep to it for 30 days, so that turning TLS off again locks nobody out for
long. Never for names of this machine, where other programs listen too."""
_log = structlog.get_logger()


class Methods:
    """Which methods each path has."""

    def __init__(self, routes: Iterable[APIRoute]) -> None:
        self._found: list[tuple[re.Pattern[str], set[str]]] = []
        self._plain: dict[str, set[str]] = {}  # paths without a parameter: a name such as /alerts/recent is no id
        for route in routes:
            self._found.append((route.path_regex, set(route.methods or ())))
            if "{" not in route.path:
                self._plain.setdefault(route.path, set()).update(route.methods or ())

    def of(self, path: str) -> str:
        """The header ``Allow`` for a path; empty if there is no such path."""
        methods = self._plain.get(path) or set[str]().union(*(m for pattern, m in self._found if pattern.match(path)))
        if not methods:
            return ""
        return ", ".join(sorted(methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())))


class Door:
    """Wraps the application; see the module."""

    def __init__(self, app: ASGIApp, *, methods: Methods, hosts: Collection[str], cors: bool) -> None:
        self._app = app
        self._methods = methods
        self._hosts = frozenset(host.lower() for host in hosts)
        self._cors = cors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        response = _Response(scope, send)
        headers = Headers(scope=scope)
        server = scope.get("server")
        if not is_ours(server[0] if server else "", headers.get("host", ""), self._hosts):
            refused = plain_problem(
                421, "this server is not called by that name; use localhost, or name it in the configuration"
            )
            await refused(scope, receive, response)
        elif scope["method"] == "OPTIONS" and not (self._cors and "access-control-request-method" in headers):
            await _options(self._methods.of(scope["path"]), response)
        else:
            await self._pass_on(scope, receive, response)

    async def _pass_on(self, scope: Scope, receive: Receive, response: "_Response") -> None:
        if scope["method"] == "HEAD" and "HEAD" in self._methods.of(scope["path"]):
            scope = {**scope, "method": "GET"}
        try:
            await self._app(scope, receive, response)
        except Exception as error:
            if response.started:
                raise
            _log.exception("request_failed", event_name="api.failed", path=scope["path"], error=type(error).__name__)
            failed = plain_problem(500, "something went wrong here that should not; the server's log says what")
            await failed(scope, receive, response)


def is_ours(server: str, host: str, hosts: Collection[str]) -> bool:
    """Whether one of our names was called: ``host`` as the header has it, at the address ``server``."""
    if not _is_loopback(server):
        return True
    name = _name(host)
    return _is_local(name) or name in hosts


class _Response:
    """Adds the headers; keeps the body back when only the head was asked for."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._head_only = scope["method"] == "HEAD"
        self._strict = scope["scheme"] == "https" and not _is_local(_name(Headers(scope=scope).get("host", "")))
        self._send = send
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            if self._strict:
                headers.setdefault("Strict-Transport-Security", STRICT)
        elif self._head_only and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await self._send(message)


async def _options(allow: str, send: Send) -> None:
    status = 204 if allow else 404
    headers = [(b"allow", allow.encode())] if allow else [(b"content-length", b"0")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _name(host: str) -> str:
    """The name in a header ``Host``, without port and brackets."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_local(name: str) -> bool:
    return name == "localhost" or name.endswith(".localhost") or _is_loopback(name)


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
