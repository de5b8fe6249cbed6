"""Gathers what sensors give into batches and commits them; sensors never wait for it."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

import msgspec
import structlog

from sonde.clock import Clock
from sonde.entry import EntryKind, Lane
from sonde.errors import SondeError
from sonde.node.backoff import Backoff
from sonde.ports import Outbox
from sonde.profile import Profile
from sonde.reading import Batch, Reading, encode

MOST: Final = 5_000  # readings in one entry
CAPACITY: Final = 50_000  # readings that may wait for the disk
DROPPED: Final = b'{"reason":"dropped: sensors gave more than the disk could take"}'
UNFIT: Final = b'{"reason":"refused: these readings could not be put into a batch"}'
_log = structlog.get_logger()


class Gatherer:
    """A thread that commits whatever has come while the last commit ran, at most ``most`` readings at once.

    ``offer`` and ``declare`` never block: at most ``capacity`` readings wait, more are dropped, counted, and a tombstone
    says so. ``lane`` says where a batch belongs, ``committed`` is told of each entry.
    """

    def __init__(
        self,
        outbox: Outbox,
        *,
        lane: Callable[[], Lane],
        committed: Callable[[int, int], None],
        clock: Clock,
        flush: float = 0.01,
        capacity: int = CAPACITY,
        most: int = MOST,
    ) -> None:
        self._outbox, self._lane, self._committed, self._clock = outbox, lane, committed, clock
        self._flush, self._capacity, self._most = flush, capacity, most
        self.problem = ""
        self._lock = threading.Lock()
        self._something = threading.Event()
        self._enough = threading.Event()
        self._stopping = threading.Event()
        self._hurry = threading.Event()  # never set: waiting for the disk ends by itself
        self._deadline = 0.0
        self._gathered: deque[Reading] = deque()
        self._dropped = 0
        self._profiles: dict[str, bytes] = {}
        self._backoff = Backoff(0.05, 5.0)
        self._thread = threading.Thread(target=self._run, name="gather", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float) -> int:
        """Commit what was offered; the number of readings that could not be within ``timeout`` seconds."""
        self._deadline = self._clock.monotonic() + timeout
        self._stopping.set()
        self._enough.set()
        self._something.set()
        self._thread.join(timeout + 1.0)
        with self._lock:
            return len(self._gathered) + self._dropped

    def offer(self, readings: Sequence[Reading]) -> int:
        """Take readings that were checked; how many of them had to be dropped."""
        with self._lock:
            taken = readings[: max(0, self._capacity - len(self._gathered))]
            self._gathered.extend(taken)
            dropped = len(readings) - len(taken)
            self._dropped += dropped
            enough = len(self._gathered) >= self._most
        self._something.set()
        if enough:
            self._enough.set()
        return dropped

    def declare(self, profiles: Sequence[Profile]) -> None:
        """Take what devices say about themselves; of one device the newest counts."""
        with self._lock:
            self._profiles.update((profile.device, msgspec.json.encode(profile)) for profile in profiles)
        self._something.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            if not self._clock.wait(self._something, 1.0):
                continue
            self._something.clear()
            self._clock.wait(self._enough, self._flush)
            self._enough.clear()
            self._commit_all()
        self._commit_all()

    def _commit_all(self) -> None:
        """Until nothing waits, or the disk does not take it and there is no time left."""
        while True:
            try:
                if not self._commit_some():
                    return
                self._backoff.reset()
                self.problem = ""
            except SondeError as error:
                self._refused(str(error))
            except Exception as error:  # a bug must not end the thread: what was gathered stays, and is tried again
                _log.exception("gather_unexpected")
                self._refused(repr(error))
            if self._stopping.is_set() and self._clock.monotonic() >= self._deadline:
                return

    def _refused(self, why: str) -> None:
        if self.problem != why:
            _log.warning("outbox_refuses", reason=why)
        self.problem = why
        wait = self._backoff.next()
        if self._stopping.is_set():
            wait = min(wait, max(0.0, self._deadline - self._clock.monotonic()))
        self._clock.wait(self._hurry, wait)

    def _commit_some(self) -> bool:
        """One entry of each sort that waits; nothing is forgotten before it is committed."""
        with self._lock:
            readings = list(islice(self._gathered, self._most))
            dropped, profiles = self._dropped, list(self._profiles.items())
        for device, profile in profiles:
            self._put(Lane.CONTROL, EntryKind.PROFILE, profile, 0)
            with self._lock:
                if self._profiles.get(device) is profile:
                    del self._profiles[device]
        if readings:
            self._put_readings(readings)
            with self._lock:
                for _ in readings:
                    self._gathered.popleft()
        if dropped:
            self._put(self._lane(), EntryKind.TOMBSTONE, DROPPED, dropped)
            with self._lock:
                self._dropped -= dropped
        return bool(readings or dropped or profiles)

    def _put_readings(self, readings: list[Reading]) -> None:
        try:
            content = encode(Batch.of(readings))
        except Exception:  # a bug here must not stop the node, nor lose readings without a word
            _log.exception("batch_failed", readings=len(readings))
            self._put(self._lane(), EntryKind.TOMBSTONE, UNFIT, len(readings))
            return
        self._put(self._lane(), EntryKind.READINGS, content, len(readings))

    def _put(self, lane: Lane, kind: EntryKind, content: bytes, readings: int) -> None:
        self._committed(lane, self._outbox.put(lane, kind, content, readings))
