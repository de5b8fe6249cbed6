"""The live feed's end in the log: each frame opened once, as soon as it is there, and what is new in it told."""

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import structlog

from sonde.changes import Series, State
from sonde.clock import Clock, Micros, SystemClock
from sonde.errors import Damaged, Hold, NewerFormat, NotFound, Retry
from sonde.frame import MAGIC, Opener, read_header
from sonde.fresh import Fresh
from sonde.ports import Identities, Log, ReadEvents, Store
from sonde.process.ahead import Ahead
from sonde.process.dedupe import Dedupe
from sonde.process.gather import Gatherer, Opened, Unread
from sonde.process.hiding import Hiding
from sonde.process.ledger import Tally
from sonde.process.meaning import Meaning
from sonde.process.recall import Recall

_log = structlog.get_logger()
_IDLE_SECONDS: Final = 0.2
_RETRY_SECONDS: Final = 1.0
_AT_ONCE: Final = 20_000  # readings told in one go
Tell = Callable[[Sequence[Fresh]], None]


class Following:
    """A :class:`sonde.ports.Feed` beside a processor in the same program.

    What is new it decides as the processor does, from the same standing: the store's when somebody began to listen. It runs
    ahead of the processor, whose commits it does not wait for. While nobody listens it does nothing.
    """

    def __init__(
        self,
        log: Log,
        store: Callable[[], Store],
        identities: Identities,
        opener: Opener,
        *,
        stored: Callable[[], int],
        clock: Clock | None = None,
        events: ReadEvents | None = None,
    ) -> None:
        self._events = events
        self._log = log
        self._store = store
        self._identities = identities
        self._opener = opener
        self._stored = stored
        self._clock = clock or SystemClock()
        self._tell: Tell | None = None
        self._heard = threading.Event()
        self._meaning = Meaning()
        self._ahead = Ahead(identities, stored)
        self._hiding: dict[int, Hiding] = {}  # by partition
        self.id = log.id
        self.problem: str | None = None

    def listen(self, tell: Tell | None) -> None:
        """See :meth:`sonde.ports.Feed.listen`."""
        self._tell = tell
        self._heard.set()

    def series(self, number: int) -> Series:
        """See :meth:`sonde.ports.Feed.series`."""
        return self._meaning.series(number)

    def ends(self) -> Mapping[int, tuple[int, int]]:
        """See :meth:`sonde.ports.Feed.ends`."""
        return self._log.ends()

    def read(self, partition: int, offset: int, limit_bytes: int) -> Sequence[Fresh]:
        """See :meth:`sonde.ports.Feed.read`."""
        gatherer = self._gatherer(partition, offset, limit_bytes)
        self._hiding.setdefault(partition, Hiding())
        recall = Recall(self._ahead, partition, self._hiding[partition])
        found = gatherer.gather(0.0, float("-inf"), _AT_ONCE)
        if isinstance(found, Unread):
            return [_lost(partition, found)]
        if not found:
            raise Retry(f"the log holds nothing at offset {offset} yet", after=_IDLE_SECONDS)
        return [self._fresh(partition, frame, recall) for frame in found]

    def at(self, partition: int, log_time: Micros) -> int:
        """See :meth:`sonde.ports.Feed.at`. A frame that cannot be read counts as late: rather too many than too few."""
        low, high = self._log.ends().get(partition, (0, 0))
        while low < high:
            middle = (low + high) // 2
            if self._is_before(partition, middle, log_time):
                low = middle + 1
            else:
                high = middle
        return low

    def _is_before(self, partition: int, offset: int, log_time: Micros) -> bool:
        try:
            (record, *_) = self._log.read(partition, offset, 1)
            if self._events is not None and not record.frame.startswith(MAGIC):
                return record.time < log_time
            return read_header(record.frame).log_time < log_time
        except NotFound:  # cut meanwhile
            return True
        except (Damaged, NewerFormat):
            return False

    def run(self, stop: threading.Event, partition: int = 0) -> None:
        """Follow one partition until ``stop``. While that cannot be, ``problem`` says why, and it tries again."""
        while not stop.is_set():
            if self._tell is None:
                self._heard.wait(_IDLE_SECONDS)
                self._heard.clear()
                continue
            try:
                self._follow(stop, partition)
            except (Retry, Hold, NotFound) as error:
                self._wait(stop, str(error))
            except Exception as error:  # a mistake of ours: those who listen go on from where they are
                _log.exception("feed_failed", event_name="feed.failed", partition=partition)
                self._wait(stop, f"the live feed failed: {error!r}; it tries again")

    def _wait(self, stop: threading.Event, problem: str) -> None:
        if self.problem != problem:
            _log.warning("feed_waits", event_name="feed.waits", problem=problem)
        self.problem = problem
        self._clock.wait(stop, _RETRY_SECONDS)

    def _follow(self, stop: threading.Event, partition: int) -> None:
        state = self._store().load(partition)
        offset = next((p.offset for p in state.progress if p.log == self.id and p.partition == partition), 0)
        self._meaning.begin(state.definitions)
        self._begin_to_hide(partition, state)
        self._ahead = Ahead(self._identities, self._stored)
        dedupe = Dedupe(self._ahead, partition, state.streams)
        gatherer = self._gatherer(partition, offset)
        self.problem = None
        told = [Fresh(partition, offset, offset, 0)]
        while not stop.is_set():
            tell = self._tell
            if tell is None:
                return
            if told:
                tell(told)
            found = gatherer.gather(_IDLE_SECONDS, float("-inf"), _AT_ONCE)
            if isinstance(found, Unread):
                told = [_lost(partition, found)]
            else:
                told = [self._fresh(partition, frame, dedupe) for frame in found]

    def _gatherer(self, partition: int, offset: int, limit_bytes: int | None = None) -> Gatherer:
        limit = {} if limit_bytes is None else {"read_bytes": limit_bytes}
        return Gatherer(
            self._log,
            partition,
            self._opener,
            offset,
            clock=self._clock,
            turns=lambda frame, turned: False,
            events=self._events,
            **limit,
        )

    def _fresh(self, partition: int, frame: Opened, dedupe: Dedupe) -> Fresh:
        tally = Tally(partition)
        sifted = dedupe.sift([frame], tally)
        entries = [entry for _, entry in sifted.entries]
        hiding = self._hiding[partition]
        if not isinstance(dedupe, Recall):
            hiding.note(tally.marks)
            hiding.see(frame.offset, entries)
            self._meaning.apply(entries, frame.header.log_time)
            hiding.floor = self._meaning.floor
        place = (partition, frame.offset, frame.offset + 1, frame.header.log_time)
        if not sifted.batches:
            return Fresh(*place, entries=entries)
        series, quality = self._meaning.of(sifted)
        batch = sifted.batches[0]
        times = batch.columns.column("time").cast(pa.int64()).to_numpy()
        hidden = hiding.hidden(frame.offset, series, times, self.series)
        if hidden is not None:
            series = np.where(hidden, np.int32(-1), series)
        return Fresh(*place, batch, series, quality, entries, batch.columns.nbytes)

    def _begin_to_hide(self, partition: int, state: State) -> None:
        """Learn from the store what it does not show any more of what the log still holds."""
        hiding = self._hiding[partition] = Hiding()
        marks = [mark for mark in state.marks if mark.partition == partition]
        hiding.note(reversed(marks))
        for offset in sorted({mark.offset for mark in marks if mark.reason == "purged"}):
            with contextlib.suppress(NotFound):  # cut, with all that came before it
                (record, *_) = self._log.read(partition, offset, 1)
                hiding.see(offset, self._opener.open(record.frame).body.entries)
        hiding.floor = self._meaning.floor


def _lost(partition: int, unread: Unread) -> Fresh:
    return Fresh(partition, unread.offset, unread.next_offset, 0, lost=f"{unread.reason}: {unread.why}")
