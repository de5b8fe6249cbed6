"""The listening end of a server: the door for requests, what it shows there, and the beat that everything else goes by."""

import threading
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from sonde.assemble.ground import Ground
from sonde.assemble.listening import Listening
from sonde.assemble.server import announce, withdraw
from sonde.ports import Live
from sonde.transport.forwarded import Forwarded, ForwardedLive, Proxies
from sonde.transport.http import App

_log = structlog.get_logger()
_LOOK_SECONDS: Final = 1.0


class Front:
    """Listens from the beginning, answers from :meth:`start` to :meth:`stop`; ``loop`` is where requests run. Once a second
    each of ``looks`` is called."""

    def __init__(self, ground: Ground, app: App, live: Live | None = None) -> None:
        settings = ground.settings.server
        proxies = Proxies(settings.trusted_proxies)
        self._ground = ground
        self._listening = Listening(
            Forwarded(app, proxies),
            settings,
            ForwardedLive(live, proxies) if live is not None else None,
            tls=ground.tls.context if ground.tls else None,
            handshake_seconds=ground.settings.tls.handshake_timeout,
            metrics=ground.metrics,
        )
        self.loop = self._listening.loop
        self._looks: Sequence[Callable[[], None]] = ()
        self._announced = self._begun = False
        self._stop_watching = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="watch", daemon=True)

    @property
    def url(self) -> str:
        return self._listening.url

    @property
    def connections(self) -> int:
        return self._listening.connections

    @property
    def failure(self) -> BaseException | None:
        """What ended it, if something did."""
        return self._listening.failure

    def start(self) -> None:
        """Returns when requests are answered."""
        self._listening.start()
        self._try_to_announce()
        self._begun = True

    def watch(self, looks: Sequence[Callable[[], None]]) -> None:
        """Begin to call ``looks``."""
        self._looks = looks
        self._watcher.start()

    def rest(self) -> None:
        """Call nobody any more."""
        self._stop_watching.set()

    def stop(self, seconds: float) -> bool:
        """Take no more connections and answer what is under way; whether that was done in time."""
        return self._listening.stop(seconds)

    def withdraw(self) -> None:
        """Nobody is to be sent here any more."""
        withdraw(self._ground.directory)

    def problems(self) -> list[str]:
        return self._ground.tls.problems() if self._ground.tls else []

    def warnings(self) -> list[str]:
        return list(self._ground.tls.warnings()) if self._ground.tls else []

    def _try_to_announce(self) -> None:
        directory, files = self._ground.directory, self._ground.files
        try:
            shared = self._ground.settings.topic is not None
            announce(directory, self.url, files.certificate if files else None, shared=shared)
            self._announced = True
        except OSError as error:  # where readings cannot be written this cannot either; commands find us later
            if not self._begun:
                _log.warning("server_not_announced", file=str(directory.server), problem=str(error))

    def _watch(self) -> None:
        tls, metrics = self._ground.tls, self._ground.metrics
        while not self._stop_watching.wait(_LOOK_SECONDS):
            for look in self._looks:
                look()
            if tls is not None and tls.look():
                self._listening.show(tls.context)
            if not self._announced:
                self._try_to_announce()
            metrics.connections.set(self.connections)
