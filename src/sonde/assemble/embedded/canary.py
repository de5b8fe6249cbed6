"""Is the log's disk still there when nothing comes in? A small file beside the log is written and synced to see."""

import threading
from pathlib import Path
from typing import Final

from sonde.assemble.embedded.reserve import ReservingLog
from sonde.clock import SECOND, Clock
from sonde.files import write_file
from sonde.metrics import Metrics

_EVERY_SECONDS: Final = 10.0
_PATIENCE: Final = 60.0
FILE: Final = "canary"


class Canary:
    """Tries every ten seconds, unless readings have just been written, from :meth:`start` to :meth:`stop`. A disk that hangs
    keeps its thread waiting and nobody else."""

    def __init__(self, folder: Path, log: ReservingLog, clock: Clock, metrics: Metrics) -> None:
        self._file, self._log, self._clock, self._metrics = folder / FILE, log, clock, metrics
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="canary", daemon=True)
        self._proved = clock.monotonic()
        self._failure = ""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    @property
    def problem(self) -> str:
        """Why nothing could be written, in plain words; empty if it can."""
        if self._failure:
            return self._failure
        silent = self._clock.monotonic() - max(self._proved, self._log.written)
        return f"the log's disk has not answered for {silent:.0f} s" if silent > _PATIENCE else ""

    def look(self) -> None:
        """Write, unless the log itself was just written."""
        if self._clock.monotonic() - self._log.written >= _EVERY_SECONDS:
            try:
                write_file(self._file, b"", mode=0o600)
            except OSError as error:
                self._failure = f"nothing can be written beside the log ({error.strerror or error})"
                return
        self._failure = ""
        self._proved = self._clock.monotonic()
        self._metrics.log_proved.set(self._clock.now() / SECOND)

    def _run(self) -> None:
        while not self._stop.wait(_EVERY_SECONDS):
            self.look()
