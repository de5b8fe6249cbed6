"""A log in files, looked after: what of the disk is free, whether it still answers, what is let go of."""

from collections.abc import Callable
from contextlib import ExitStack

from sonde.assemble.embedded.canary import Canary
from sonde.assemble.embedded.reserve import ReservingLog
from sonde.assemble.embedded.retention import Retention
from sonde.assemble.embedded.storage import Storage
from sonde.assemble.ground import Ground
from sonde.assemble.places import log_path
from sonde.assemble.policy import policy_of
from sonde.process.judge import Record


class Disk:
    """``log`` takes nothing more while too little of the disk is free. ``start`` once, ``stop`` once."""

    def __init__(self, ground: Ground, storage: Storage, record: Callable[[], Record], undo: ExitStack) -> None:
        directory, settings = ground.directory, ground.settings
        self.log = ReservingLog(storage.log, directory.path, settings.log.reserve)
        self._retention = Retention(
            policy_of(settings),
            storage.held_store,
            storage.log,
            self.log,
            lambda entries: record()(entries, None),
            ground.controls.audit,
            ground.clock,
            ground.metrics,
        )
        undo.callback(self._retention.stop)
        self._disk_free = ground.metrics.disk_free
        self._canary = Canary(log_path(directory, settings), self.log, ground.clock, ground.metrics)

    def start(self) -> None:
        self._retention.start()
        self._canary.start()

    def stop(self) -> None:
        self._retention.stop()
        self._canary.stop()

    def look(self) -> None:
        """To be called every second."""
        self.log.look()
        self._disk_free.set(self.log.free)

    def problems(self) -> list[str]:
        """What keeps the log from being written."""
        return [problem for problem in (self.log.problem, self._canary.problem) if problem]

    def warnings(self) -> list[str]:
        """What will."""
        return self._retention.warnings()
