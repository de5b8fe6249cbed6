"""Requests of many devices: what arrives while the brokers are busy is split among the partitions at once.

A request of a thousand devices, split alone, is a small frame in each partition; eight that are split together cost hardly
more than one of them.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, pairwise
from typing import Final

import msgspec
import numpy as np

from sonde.clock import Clock, Micros
from sonde.entry import Body, Entry
from sonde.errors import Retry, SondeError
from sonde.metrics import Metrics
from sonde.ports import AppendsTogether, Log
from sonde.routing import homes_of, split
from sonde.sink.columns import merge
from sonde.sink.deposit import Deposit, count, settle
from sonde.sink.failing import unsealed, untaken
from sonde.sink.queue import Queue
from sonde.sink.session import Session

_LOOK_EVERY: Final = 1.0  # seconds, whether another key has taken over
_QUIET: Final = 0.003  # seconds without another request, after which what came is written
_GATHERING: Final = 0.03  # seconds after which it is written in any case
_NOTHING_ELSE: Final = threading.Event()  # never set
_SEVERAL: Final = -1  # there is no one offset of what went into several partitions

Outcomes = Mapping[int, int | Retry]


class Spreader:
    """One thread that takes readings from ``queue``, and writes them into the partitions where their devices are at home.

    A partition has one frame of a group, with an entry for each request that has readings there. A request is confirmed
    when all of its partitions have their part. The frames have sessions of their own, as those of another sink would.
    """

    def __init__(self, log: Log, sessions: Sequence[Session], queue: Queue, *, clock: Clock, metrics: Metrics) -> None:
        self.queue = queue
        self.last_durable: Micros | None = None
        self._log = log
        self._sessions = sessions
        self._clock = clock
        self._metrics = metrics
        self._thread = threading.Thread(target=self._run, name="sonde-spread", daemon=True)
        self._thread.start()

    @property
    def keys(self) -> frozenset[str]:
        """The names of the master keys that seal what is taken from now on."""
        return frozenset(session.key for session in self._sessions)

    def close(self) -> None:
        """Take nothing more, and wait until everything that was taken has its answer."""
        self.queue.stop()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self._let_gather()
            group = self.queue.next_group()
            for session in self._sessions:
                session.follow()
            if group:
                self._commit(group)
            elif not self.queue.open:
                return
            else:
                self._clock.wait(self.queue.wake, _LOOK_EVERY)

    def _let_gather(self) -> None:
        """Wait until nothing more comes for a moment. Without it, of eight senders that wait for their answers one comes back
        first and has a group for itself, and then the other seven, for good."""
        until, waiting = self._clock.monotonic() + _GATHERING, 0
        while self.queue.open and len(self.queue) != waiting and self._clock.monotonic() < until:
            waiting = len(self.queue)
            self._clock.wait(_NOTHING_ELSE, _QUIET)

    def _commit(self, group: Sequence[Deposit]) -> None:
        frames: dict[int, bytes] = {}
        try:
            shares, bodies = shared_out(group, len(self._sessions))
            for number, body in bodies.items():
                frames[number] = self._sessions[number].seal(body)
        except Exception as error:
            self._renew(frames)
            if len(group) > 1:  # one of them cannot be sealed: the others must not suffer for it
                for deposit in group:
                    self._commit([deposit])
            else:
                settle(group, unsealed(error, None))
            return
        outcomes = self._append(frames)
        self._conclude(group, shares, frames, outcomes)  # first: where the log is away, a new session takes a while
        self._renew(n for n, outcome in outcomes.items() if isinstance(outcome, Retry))

    def _append(self, frames: Mapping[int, bytes]) -> Outcomes:
        try:
            found: Mapping[int, int | Exception] = append_together(self._log, frames)
        except Exception as error:
            found = dict.fromkeys(frames, error)
        return {n: untaken(one, n) if isinstance(one, Exception) else one for n, one in found.items()}

    def _conclude(
        self, group: Sequence[Deposit], shares: "Shares", frames: Mapping[int, bytes], outcomes: Outcomes
    ) -> None:
        """Tell each sender what became of the parts of its request, or of the first that failed."""
        failed = {n: outcome for n, outcome in outcomes.items() if isinstance(outcome, Retry)}
        if not failed:
            done = group
        else:
            lost = [next((failed[n] for n in failed if share[n]), None) for share in shares]
            done = [deposit for deposit, outcome in zip(group, lost, strict=True) if outcome is None]
            for deposit, outcome in zip(group, lost, strict=True):
                if outcome is not None:
                    settle([deposit], outcome)
        if len(failed) < len(frames):
            self.last_durable = self._clock.now()
        if done:
            written = [frame for n, frame in frames.items() if n not in failed]
            count(self._metrics, done, written, self._clock.now(), self._clock.monotonic())
            settle(done, _SEVERAL)

    def _renew(self, numbers: "Iterator[int] | Mapping[int, bytes]") -> None:
        for number in numbers:
            self._sessions[number].renew()


Shares = Sequence[Sequence[int]]
"""How many readings each request has in each partition."""


def shared_out(group: Sequence[Deposit], partitions: int) -> tuple[Shares, Mapping[int, Body]]:
    """The readings of deposits that have one entry each, by the home of their device: what a frame of each partition
    holds, requests and readings in their order."""
    entries = [entry for deposit in group for entry in deposit.entries()]
    batch = merge(list(chain.from_iterable(deposit.parts for deposit in group)))
    homes = homes_of(batch, partitions)
    ends = np.cumsum([0, *(entry.rows for entry in entries)]).tolist()
    shares = [np.bincount(homes[a:b], minlength=partitions).tolist() for a, b in pairwise(ends)]
    bodies = {n: Body(list(_theirs(entries, shares, n)), part) for n, part in split(batch, homes).items()}
    return shares, bodies


def _theirs(entries: Sequence[Entry], shares: Shares, number: int) -> Iterator[Entry]:
    for entry, share in zip(entries, shares, strict=True):
        if share[number]:
            yield msgspec.structs.replace(entry, rows=share[number])


def append_together(log: Log, frames: Mapping[int, bytes]) -> Mapping[int, int | SondeError]:
    """Append a frame to each of several partitions; the offset of each, or what kept it from being durable."""
    if isinstance(log, AppendsTogether):
        return log.append_together(frames)
    return {number: _appended(log, number, frame) for number, frame in frames.items()}


def _appended(log: Log, number: int, frame: bytes) -> int | SondeError:
    try:
        return log.append(number, [frame])
    except SondeError as error:
        return error
