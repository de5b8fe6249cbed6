"""A node's own certificate, renewed before it ends."""

import threading
from pathlib import Path
from typing import Final

import structlog

from sonde.assemble.certificates.join import node_tls, renew_identity
from sonde.certificate import WARN_BEFORE, Certificate, read_certificates
from sonde.clock import DAY, SECOND, Clock
from sonde.config.sections import Node
from sonde.directory import DataDirectory
from sonde.errors import SondeError
from sonde.metrics import Metrics
from sonde.moment import format_time

_log = structlog.get_logger()
_LOOK_SECONDS: Final = 3600.0


class NodeIdentity:
    """Looks every hour whether the certificate ends within 30 days, and then asks the api for another. ``tls`` is what the
    node trusts and shows; None where TLS is not spoken. ``start`` once, ``stop`` once."""

    def __init__(
        self, directory: DataDirectory, asked: Node, sink: str, token: str, clock: Clock, metrics: Metrics
    ) -> None:
        self._api, self._token = asked.api or sink, token
        self._clock, self._metrics = clock, metrics
        self._file = Path(asked.certificate) if asked.certificate else directory.node_identity
        self.tls = (
            node_tls(directory, asked.ca, asked.certificate)
            if "https" in {sink.partition(":")[0], self._api.partition(":")[0]}
            else None
        )
        self._trouble = ""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="identity", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()

    def warnings(self) -> list[str]:
        """What will keep the node from sending one day."""
        return [self._trouble] if self._trouble else []

    def _run(self) -> None:
        while True:
            self._look()
            if self._stopped.wait(_LOOK_SECONDS):
                return

    def _look(self) -> None:
        try:
            found = self._read()
            if found is None or self.tls is None:
                return
            if found.ends - self._clock.now() <= WARN_BEFORE:
                renew_identity(self._file, self._api, self._token, self.tls)
                found = self._read() or found
                _log.info("certificate_renewed", ends=format_time(found.ends)[:10])
            self._trouble = ""
        except (SondeError, OSError) as error:
            self._trouble = f"the node's certificate could not be renewed{self._until()}: {error}"
            _log.warning("certificate_not_renewed", problem=str(error))

    def _read(self) -> Certificate | None:
        if not self._file.exists():
            return None
        found = read_certificates(self._file.read_bytes(), str(self._file))[0]
        self._metrics.certificate_expires.labels("node").set(found.ends / SECOND)
        return found

    def _until(self) -> str:
        try:
            found = self._read()
        except (SondeError, OSError):
            return ""
        return f", and ends in {max(0, (found.ends - self._clock.now()) // DAY)} days" if found else ""
