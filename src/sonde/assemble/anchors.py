"""Anchors of the audit trail: number and hash of its newest act, written into the telemetry log.

The trail alone cannot tell that its newest acts were taken out, or that all of it was written anew. The log can: its frames
are sealed with a key and chained, and whoever changes the trail cannot change them.
"""

import asyncio
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any, Final

from sonde.assemble.acts import open_trail
from sonde.assemble.log.look import LogView
from sonde.audit import START, Link
from sonde.clock import Clock
from sonde.config import Settings
from sonde.directory import DataDirectory
from sonde.entry import Entry, EntryKind
from sonde.errors import NotFound, SondeError
from sonde.ports import AuditTrail, Journal

SOURCE: Final = "audit"
_PARTITION: Final = 0
_AGAIN_SECONDS: Final = 86_400.0  # so that one is there, however much of the log is cut


class Anchoring:
    """Puts an anchor into the log whenever the trail has grown. ``look`` is called again and again, and never waits."""

    def __init__(self, trail: AuditTrail, journal: Journal, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        self._trail = trail
        self._journal = journal
        self._loop = loop
        self._clock = clock
        self._anchored = START
        self._at = 0.0
        self._pending: tuple[Link, Future[Mapping[int, int]]] | None = None
        self.problem = ""

    def look(self) -> None:
        """Begin to write an anchor if there is a new one; the next look sees what became of it."""
        if self._pending is not None:
            self._finish(*self._pending)
        if self._pending is None:
            self._begin()

    def _begin(self) -> None:
        try:
            head = self._trail.head()
        except SondeError as error:
            self.problem = str(error)
            return
        if head[0] < self._anchored[0] or (head[0] == self._anchored[0] and head != self._anchored):
            self.problem = "acts were taken out of the audit trail: sonde audit verify says which"
            return
        self.problem = ""
        if head[0] and (head != self._anchored or self._clock.monotonic() - self._at > _AGAIN_SECONDS):
            writing = self._journal.record([_entry(head)], _PARTITION)
            self._pending = head, asyncio.run_coroutine_threadsafe(writing, self._loop)

    def _finish(self, head: Link, writing: Future[Mapping[int, int]]) -> None:
        if not writing.done():
            return
        self._pending = None
        if writing.cancelled() or writing.exception() is not None:
            return  # the log cannot be written just now, and says so itself; the next look tries again
        self._anchored, self._at = head, self._clock.monotonic()


@dataclass(frozen=True, slots=True)
class Verified:
    """A trail that is as it was written: ``acts`` are kept, ``number`` and ``hash`` are those of the newest one, and
    ``anchors`` of the log or given by hand fit."""

    acts: int
    number: int
    hash: str
    anchors: int


def verify_trail(
    directory: DataDirectory, settings: Settings, given: Mapping[int, bytes], *, in_log: bool = True
) -> Verified:
    """Check the trail of an installation against itself, the anchors ``given``, and those in its log unless ``in_log`` is
    false. :class:`Damaged` names the first act that is not as it was written."""
    noted: dict[int, bytes] = {}
    if in_log:  # read before the trail is: no anchor runs ahead of it
        for number, found in anchors(directory, settings):
            noted.setdefault(number, found)  # what was noted first holds, whatever was noted later
    noted.update(given)
    with open_trail(directory, settings) as trail:
        acts = trail.verify(noted)
        number, found = trail.head()
    return Verified(acts, number, found.hex(), len(noted))


def anchors(directory: DataDirectory, settings: Settings) -> Iterator[Link]:
    """Those that the log holds, oldest first."""
    with suppress(NotFound), closing(LogView(directory, settings)) as view:  # perhaps nothing was ever started here
        for place in view.frames():
            for entry in place.frame.body.entries:
                if entry.kind == EntryKind.AUDIT and entry.source == SOURCE:
                    yield _link(entry.payload)


def _entry(head: Link) -> Entry:
    return Entry(kind=EntryKind.AUDIT, source=SOURCE, payload={"number": head[0], "hash": head[1].hex()})


def _link(payload: Any) -> Link:
    return int(payload["number"]), bytes.fromhex(payload["hash"])
