"""The node: sensors in, outbox, uplink out."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import structlog

from sonde.clock import Clock, SystemClock
from sonde.metrics import Metrics
from sonde.node.backoff import Backoff
from sonde.node.gather import CAPACITY, Gatherer
from sonde.node.listener import Listener
from sonde.node.performing import Performing
from sonde.node.runner import SensorRunner, SensorSpec
from sonde.node.uplink import Uplink
from sonde.ports import CommandBook, Downlink, Outbox, Wire

__all__ = ["Node", "SensorSpec"]
_log = structlog.get_logger()


class OutboxWithBook(Outbox, CommandBook, Protocol):
    """An outbox and the command book beside it."""


class Node:
    """Reads sensors, each at its rate, commits what they give to an outbox, and sends it from there.

    ``flush`` is how long readings may wait for company before a commit, in seconds; ``capacity`` how many readings may
    wait for the disk; ``patience`` after how many seconds a sensor's call counts as hung (and at least five intervals).
    ``restart`` makes the waits between a sensor's failure and its next life. Without a ``downlink`` no commands come.

    Sensors never wait for the disk, and the disk never waits for the network.
    """

    def __init__(
        self,
        outbox: OutboxWithBook,
        wire: Wire,
        sensors: Sequence[SensorSpec],
        *,
        clock: Clock | None = None,
        metrics: Metrics | None = None,
        flush: float = 0.01,
        capacity: int = CAPACITY,
        patience: float = 10.0,
        restart: Callable[[], Backoff] = lambda: Backoff(1.0, 60.0),
        uplink: Uplink | None = None,
        downlink: Downlink | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        counted = metrics or Metrics()
        self.uplink = uplink or Uplink(outbox, wire, clock=self._clock, metrics=counted)
        self._gatherer = Gatherer(
            outbox,
            lane=self.uplink.lane,
            committed=self.uplink.committed,
            clock=self._clock,
            flush=flush,
            capacity=capacity,
        )
        self._runners = [
            SensorRunner(
                spec,
                offer=self._gatherer.offer,
                declare=self._gatherer.declare,
                clock=self._clock,
                metrics=counted,
                patience=patience,
                backoff=restart(),
            )
            for spec in sensors
        ]
        self._performing = Performing(
            outbox, outbox, find=self._runner_of, committed=self.uplink.committed, clock=self._clock
        )
        self._listener = self._listening(downlink, outbox) if downlink is not None else None
        self._patience = patience
        self._stopped = threading.Event()
        self._watchdog = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        self.uplink.start()
        self._gatherer.start()
        for runner in self._runners:
            runner.start()
        self._watchdog.start()
        if self._listener is not None:
            self._listener.start()

    def stop(self, timeout: float) -> None:
        """Stop reading, commit everything that was read, and end the uplink, all within ``timeout`` seconds.

        What has no receipt yet waits in the outbox for the next start.
        """
        deadline = self._clock.monotonic() + timeout
        self._stopped.set()
        if self._listener is not None:
            self._listener.stop(timeout / 8)
        self._performing.stop(timeout / 4)
        for runner in self._runners:
            runner.stop()
        for runner in self._runners:
            runner.join(max(0.0, deadline - self._clock.monotonic() - timeout / 2))
        lost = self._gatherer.stop(max(0.1, deadline - self._clock.monotonic()))
        if lost:
            _log.error("readings_lost", readings=lost, reason=self._gatherer.problem or "there was no time left")
        self.uplink.stop(max(0.1, deadline - self._clock.monotonic()))

    def status(self) -> dict[str, str]:
        """How each sensor is, in plain words: ``running``, ``restarting in … s: why``, ``hung: …``, ``ended``."""
        return {runner.name: runner.state for runner in self._runners}

    def lanes(self) -> Mapping[str, str]:
        """What each lane of the uplink is doing."""
        return self.uplink.status()

    def problems(self) -> tuple[str, ...]:
        """What is in the way, in plain words; none: all is well."""
        disk = (self._gatherer.problem,) if self._gatherer.problem else ()
        deaf = (self._listener.problem,) if self._listener is not None and self._listener.problem else ()
        return (*disk, *self.uplink.problems(), *deaf)

    def _listening(self, downlink: Downlink, book: CommandBook) -> Listener:
        return Listener(
            downlink,
            book,
            recover=self._performing.recover,
            take=self._performing.take,
            declare=self._declare_all,
            clock=self._clock,
        )

    def _runner_of(self, device: str) -> SensorRunner | None:
        """Who declares a device."""
        return next((r for r in self._runners if any(p.device == device for p in r.profiles)), None)

    def _declare_all(self) -> None:
        self._gatherer.declare([profile for runner in self._runners for profile in runner.profiles])

    def _watch(self) -> None:
        while not self._clock.wait(self._stopped, min(0.5, self._patience / 4)):
            for runner in self._runners:
                runner.watch()
