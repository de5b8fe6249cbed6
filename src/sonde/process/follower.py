"""One partition of the log as the live feed sees it: what of each frame is new, and what of it is still shown."""

import contextlib
from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from sonde.changes import State
from sonde.clock import Clock
from sonde.errors import NotFound
from sonde.frame import Opener
from sonde.fresh import Fresh
from sonde.ports import Log, ReadEvents
from sonde.process.ahead import Ahead
from sonde.process.dedupe import Dedupe
from sonde.process.gather import Gatherer, Opened, Unread
from sonde.process.hiding import Hiding
from sonde.process.ledger import Tally
from sonde.process.meaning import Meaning
from sonde.process.recall import Recall

_AT_ONCE: Final = 20_000  # readings told in one go
_READ_BYTES: Final = 1 << 20
NEAR: Final = 1000
"""Frames that a store may be behind the end of the log, to begin where it stands: they are read before anything new is told."""


class Follower:
    """Goes on from where it was begun, one look after the other, from one thread; any thread may ``read`` what came before.

    ``sure`` says whether it knows all that came before where it began: then it tells each thing once.
    """

    def __init__(
        self,
        log: Log,
        partition: int,
        opener: Opener,
        meaning: Meaning,
        ahead: Ahead,
        *,
        clock: Clock,
        events: ReadEvents | None = None,
    ) -> None:
        self._log, self._partition, self._opener = log, partition, opener
        self._meaning, self._ahead = meaning, ahead
        self._clock, self._events = clock, events
        self.sure = False
        self._hiding = Hiding()
        self._dedupe: Dedupe | None = None  # none: nobody listens
        self._gatherer: Gatherer | None = None

    @property
    def begun(self) -> bool:
        """Whether it knows where it stands."""
        return self._gatherer is not None

    def begin(self, state: State | None) -> Sequence[Fresh]:
        """Start from where the store stands; the place, with nothing in it. If it is far behind, or cannot be asked (none),
        start at the end of the log, with what is known."""
        _, end = self._log.ends().get(self._partition, (0, 0))
        offset = self._stood(state) if state is not None else 0
        self.sure = state is not None and self.is_near(offset, end)
        if not self.sure:
            offset = end
        if state is not None:
            self._meaning.begin(state.definitions)
            self._begin_to_hide(state)
        self._dedupe = Dedupe(self._ahead, self._partition, state.streams if state is not None else ())
        self._gatherer = self._gather_from(offset, _READ_BYTES)
        return [Fresh(self._partition, offset, offset, 0)]

    @staticmethod
    def is_near(stored: int, end: int) -> bool:
        """Whether a store that stands at ``stored`` is not far behind the ``end`` of the log."""
        return end - stored <= NEAR

    def _stood(self, state: State) -> int:
        """Where the store stood."""
        mine = [p.offset for p in state.progress if p.log == self._log.id and p.partition == self._partition]
        return mine[0] if mine else 0

    def rest(self) -> None:
        """Forget where it stands."""
        self._gatherer = self._dedupe = None

    def look(self, wait: float) -> Sequence[Fresh]:
        """What is new, after at most ``wait`` seconds."""
        assert self._gatherer is not None
        assert self._dedupe is not None
        return self._found(self._gatherer, self._dedupe, wait)

    def read(self, offset: int, limit_bytes: int) -> Sequence[Fresh]:
        """What was told from ``offset`` on; nothing if the log ends there."""
        recall = Recall(self._ahead, self._partition, self._hiding)
        return self._found(self._gather_from(offset, limit_bytes), recall, 0.0)

    def _found(self, gatherer: Gatherer, dedupe: Dedupe, wait: float) -> Sequence[Fresh]:
        found = gatherer.gather(wait, float("-inf"), _AT_ONCE)
        if isinstance(found, Unread):
            return [Fresh(self._partition, found.offset, found.next_offset, 0, lost=f"{found.reason}: {found.why}")]
        return [self._fresh(frame, dedupe) for frame in found]

    def _gather_from(self, offset: int, read_bytes: int) -> Gatherer:
        return Gatherer(
            self._log,
            self._partition,
            self._opener,
            offset,
            clock=self._clock,
            turns=lambda frame, turned: False,
            read_bytes=read_bytes,
            events=self._events,
        )

    def _fresh(self, frame: Opened, dedupe: Dedupe) -> Fresh:
        tally = Tally(self._partition)
        sifted = dedupe.sift([frame], tally)
        entries = [entry for _, entry in sifted.entries]
        hiding = self._hiding
        if not isinstance(dedupe, Recall):
            hiding.note(tally.marks)
            hiding.see(frame.offset, entries)
            self._meaning.apply(entries, frame.header.log_time)
            hiding.floor = self._meaning.floor
        place = (self._partition, frame.offset, frame.offset + 1, frame.header.log_time)
        if not sifted.batches:
            return Fresh(*place, entries=entries)
        own, quality = self._meaning.of(sifted)
        batch = sifted.batches[0]
        times = batch.columns.column("time").cast(pa.int64()).to_numpy()
        hidden = hiding.hidden(frame.offset, own, times, self._meaning.series)
        series = self._meaning.on_roll(own)
        if hidden is not None:
            series = np.where(hidden, np.int32(-1), series)
        return Fresh(*place, batch, series, quality, entries, batch.columns.nbytes)

    def _begin_to_hide(self, state: State) -> None:
        """Learn from the store what it does not show any more of what the log still holds."""
        hiding = self._hiding = Hiding()
        marks = [mark for mark in state.marks if mark.partition == self._partition]
        hiding.note(reversed(marks))
        for offset in sorted({mark.offset for mark in marks if mark.reason == "purged"}):
            with contextlib.suppress(NotFound):  # cut, with all that came before it
                (record, *_) = self._log.read(self._partition, offset, 1)
                hiding.see(offset, self._opener.open(record.frame).body.entries)
        hiding.floor = self._meaning.floor
