"""What the listener shows, kept up to date: files that were replaced are read again, our own certificate is renewed."""

import stat
from typing import Final

import structlog

from sonde.assemble.certificates.authority import ServerFiles, renew_server
from sonde.certificate import WARN_BEFORE, Certificate, read_certificates
from sonde.clock import DAY, SECOND, Clock
from sonde.directory import DataDirectory
from sonde.errors import SondeError
from sonde.metrics import Metrics
from sonde.moment import format_time
from sonde.people import Note
from sonde.transport.tls import look, server_context

_log = structlog.get_logger()
_RENEW_BEFORE: Final = WARN_BEFORE + 10 * DAY
_TRY_AGAIN: Final = 3600.0  # seconds, if a renewal failed


class ServerTls:
    """The certificate of a listener. ``context`` is what to show now; :meth:`look` every second keeps it so."""

    def __init__(
        self, directory: DataDirectory, files: ServerFiles, clock: Clock, metrics: Metrics, note: Note
    ) -> None:
        self._directory, self._files = directory, files
        self._clock, self._metrics, self._note = clock, metrics, note
        self._seen = self._look()
        self._trouble = ""
        self._renew_at = clock.monotonic()
        self.context = server_context(files.certificate, files.key, files.client_ca)
        self._shown = self._read()

    def look(self) -> bool:
        """Whether ``context`` is another one than before."""
        if self._files.own and self._left(self._shown["server"]) < _RENEW_BEFORE:
            self._renew()
        seen = self._look()
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            self.context = server_context(self._files.certificate, self._files.key, self._files.client_ca)
            self._shown = self._read()
        except SondeError as error:
            self._trouble = f"the new certificate cannot be used, the one before is shown: {error}"
            _log.error("certificate_refused", problem=str(error))
            return False
        self._trouble = ""
        _log.info("certificate_changed", ends=_day(self._shown["server"]))
        return True

    def problems(self) -> list[str]:
        """Why clients cannot come."""
        return [
            f"the certificate of the {role} ended on {_day(found)}: sonde cert show"
            for role, found in self._shown.items()
            if self._left(found) <= 0
        ]

    def warnings(self) -> list[str]:
        """What will be a problem one day."""
        soon = [
            f"the certificate of the {role} ends in {self._left(found) // DAY} days, on {_day(found)}: sonde cert renew"
            for role, found in self._shown.items()
            if 0 < self._left(found) <= WARN_BEFORE
        ]
        return [*([self._trouble] if self._trouble else []), *soon, *self._open_keys()]

    def _renew(self) -> None:
        now = self._clock.monotonic()
        if now < self._renew_at:
            return
        self._renew_at = now + _TRY_AGAIN
        try:
            renew_server(self._directory, (), self._note)
        except (SondeError, OSError) as error:
            _log.error("certificate_not_renewed", problem=str(error))

    def _read(self) -> dict[str, Certificate]:
        files = {"server": self._files.certificate, "authority": self._files.client_ca}
        found = {n: read_certificates(f.read_bytes(), str(f))[0] for n, f in files.items() if f is not None}
        for name, certificate in found.items():
            self._metrics.certificate_expires.labels(name).set(certificate.ends / SECOND)
        return found

    def _look(self) -> object:
        return look(self._files.certificate, self._files.key, self._files.client_ca)

    def _left(self, certificate: Certificate) -> int:
        return certificate.ends - self._clock.now()

    def _open_keys(self) -> list[str]:
        file = self._files.key or self._files.certificate
        try:
            mode = file.stat().st_mode
        except OSError:
            return []
        return [f"{file} holds a private key and can be read by everyone: chmod 600"] if mode & stat.S_IROTH else []


def _day(certificate: Certificate) -> str:
    return format_time(certificate.ends)[:10]
