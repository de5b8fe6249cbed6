"""Who may watch: decided before a connection becomes a WebSocket, and looked at again while it is one."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final

from sonde.access import Access
from sonde.api.auth import COOKIE, is_secret
from sonde.api.door import is_ours
from sonde.api.live.feed import LiveFeed
from sonde.api.live.viewer import RunCommand, Viewer
from sonde.clock import Clock
from sonde.errors import Forbidden, NotFound, Retry, SondeError, Unauthenticated
from sonde.message import PROTOCOL, TOKEN_PROTOCOL, Command
from sonde.metrics import Metrics
from sonde.ports import Credential, Feed, Guest, Knock
from sonde.token import Token

PATH: Final = "/ws"
_SCOPE: Final = "read"
_LOOK_SECONDS: Final = 10.0
_AT_ONCE: Final = 20  # clients looked at before others have a turn
_POLICY: Final = 1008  # of RFC 6455: it may not be here


async def no_commands(viewer: Viewer, message: Command) -> Mapping[str, Any]:
    """What happens to commands where nothing runs them."""
    raise NotFound(f"there is no command {message.command!r}")


class Entrance:
    """A :class:`sonde.ports.Live`. ``origin`` is another web origin whose pages may watch, with a token; ``names`` are those
    that this server may be called by on loopback, besides localhost."""

    def __init__(
        self,
        feed: Feed,
        access: Access,
        metrics: Metrics,
        clock: Clock,
        *,
        origin: str = "",
        names: Collection[str] = (),
        most: int = 1000,
        run_command: RunCommand = no_commands,
    ) -> None:
        self.feed = LiveFeed(feed, metrics, clock)
        self._access = access
        self._metrics = metrics
        self._origin = origin.rstrip("/").lower()
        self._names = frozenset(name.lower() for name in names)
        self._most = most
        self._run_command = run_command
        self._viewers: set[Viewer] = set()
        self._looking: asyncio.Task[None] | None = None

    @property
    def viewers(self) -> int:
        """How many there are."""
        return len(self._viewers)

    def admit(self, knock: Knock) -> Guest:
        """See :meth:`sonde.ports.Live.admit`."""
        if knock.path != PATH:
            raise NotFound(f"there is no WebSocket at {knock.path[:256]}; it is at {PATH}")
        if not is_ours(knock.server, knock.headers.get("host", ""), self._names):
            raise Forbidden(
                "this server is not called by that name", hint="Use localhost, or name it in [server] names"
            )
        foreign = self._is_foreign(knock)
        check = self._identify(knock, foreign)
        check()
        if len(self._viewers) >= self._most:
            raise Retry(f"{self._most} clients watch already", hint="Come back later", after=5)
        viewer = Viewer(
            self.feed, _chosen(knock), check, knock.address, run_command=self._run_command, left=self._forget
        )
        self._viewers.add(viewer)
        self._metrics.live_clients.set(len(self._viewers))
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._look())
        return viewer

    def _is_foreign(self, knock: Knock) -> bool:
        """Whether a page of the other origin asks; :class:`Forbidden` if it is of any third one."""
        origin = knock.headers.get("origin")
        if origin is None or origin.partition("://")[2].lower() == knock.headers.get("host", "").lower():
            return False
        if self._origin and origin.rstrip("/").lower() == self._origin:
            return True
        raise Forbidden(f"pages of {origin[:256]} may not watch", hint="Name their origin as [server] origin")

    def _identify(self, knock: Knock, foreign: bool) -> Callable[[], Credential]:
        """How to find out who asks, now and later."""
        access, address, certificate = self._access, knock.address, knock.certificate
        token = _token(knock)
        if token is not None:
            text = self._parsed(token)
            return lambda: access.check(text, _SCOPE, address, certificate)
        if foreign:
            raise Unauthenticated("a page of another origin needs a token", hint=f"Offer {TOKEN_PROTOCOL}<token> too")
        cookie = _cookie(knock.headers.get("cookie", ""))
        if not cookie:
            return lambda: access.check(None, _SCOPE, address, certificate)
        if not is_secret(cookie):
            self._metrics.wrong_tokens.inc()
            raise Unauthenticated("this browser's sign-in is not one of ours", hint="Sign in again")
        return lambda: access.check_cookie(cookie, _SCOPE, address)

    def _parsed(self, token: str) -> str:
        try:
            return Token.parse(token).text
        except Unauthenticated:
            self._metrics.wrong_tokens.inc()
            raise

    def _forget(self, viewer: Viewer) -> None:
        self._viewers.discard(viewer)
        self._metrics.live_clients.set(len(self._viewers))

    async def _look(self) -> None:
        """See again and again whether those who watch still may."""
        while self._viewers:
            await asyncio.sleep(_LOOK_SECONDS)
            for number, viewer in enumerate(list(self._viewers)):
                try:
                    viewer.check()
                except Retry:
                    continue
                except SondeError as error:
                    viewer.complain(error)
                    viewer.close(_POLICY, error.message[:100])
                if number % _AT_ONCE == 0:
                    await asyncio.sleep(0)
        self._looking = None


def _chosen(knock: Knock) -> str | None:
    if PROTOCOL in knock.subprotocols:
        return PROTOCOL
    return next((name for name in knock.subprotocols if name.startswith(TOKEN_PROTOCOL)), None)


def _token(knock: Knock) -> str | None:
    header = knock.headers.get("authorization")
    if header is not None:
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthenticated(
                "the header Authorization names no bearer", hint="Write Authorization: Bearer sonde_…"
            )
        return token.strip()
    offered = [name for name in knock.subprotocols if name.startswith(TOKEN_PROTOCOL)]
    return offered[0].removeprefix(TOKEN_PROTOCOL) if offered else None


def _cookie(header: str) -> str:
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found is not None else ""
