"""What one step of the processor changes in a store, and what it must know to take the next: :class:`Changes`, :class:`State`.

Tables carry series by number: a store gives out none, the processor does, in the order in which series appear in the log.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec
import pyarrow as pa

from sonde.clock import Micros
from sonde.command import Command
from sonde.command import Step as CommandStep
from sonde.reading import TIME

READINGS: Final = pa.schema(
    [
        ("series", pa.int32()),
        ("time", TIME),
        ("kind", pa.int8()),
        ("value", pa.float64()),
        ("text", pa.string()),
        ("quality", pa.int8()),
    ]
)
"""New readings, sorted by series and time."""

WINDOWS: Final = pa.schema(
    [
        ("series", pa.int32()),
        ("width", pa.int32()),  # seconds
        ("start", TIME),
        ("count", pa.int64()),
        ("sum", pa.float64()),
        ("min", pa.float64()),
        ("max", pa.float64()),
        ("last", pa.float64()),
        ("last_time", TIME),
    ]
)
"""Windows to merge into those that are there: add ``count`` and ``sum``, take the lesser ``min`` and the greater ``max``,
and ``last`` of the later ``last_time`` (of two equal ones, the new one)."""

LATEST: Final = pa.schema([*READINGS, ("arrived", TIME)])
"""The newest reading of each series that has a new one, and the log time at which it came; replaces what is there unless
that is later."""


class Series(NamedTuple):
    """What a line in a chart is, and its number in a store."""

    id: int
    device: str
    metric: str
    site: str
    zone: str
    labels: str


class Stream(msgspec.Struct, frozen=True):
    """How far one lane of one epoch of a node has come.

    ``holes`` are seqs that have not come: first, last, readings and, where it is known, when the first reading after them
    was measured; ``before`` says for each hole how many readings the stream has before it, so that a hole can be filled
    from the middle without losing count.
    """

    source: str
    epoch: str
    lane: int
    seq: int
    count: int
    holes: tuple[tuple[int, ...], ...] = ()
    before: tuple[int, ...] = ()


class LedgerLine(msgspec.Struct, frozen=True):
    """Readings of one source and lane, to add to what is there.

    ``declared`` grows with the streams' cumulative counts (anonymous: with what arrived); duplicates and conflicts come on
    top, so ``sent = declared + duplicate + conflicting``.
    """

    source: str
    lane: int
    declared: int = 0
    stored: int = 0
    duplicate: int = 0
    refused: int = 0
    set_aside: int = 0
    lost: int = 0
    conflicting: int = 0  # the part of set_aside that no stream declared
    late: int = 0  # the part of stored that was older than the newest of its series


class Mark(msgspec.Struct, frozen=True):
    """Something set aside or declared lost: where in the log it is or was said, and why."""

    partition: int
    offset: int
    entry: int
    source: str
    lane: int
    epoch: str
    reason: str  # set_aside | lost | expired | purged
    first_seq: int
    last_seq: int
    readings: int
    noticed: Micros
    detail: str


class Definition(msgspec.Struct, frozen=True):
    """What results depend on, as the log last said it: a rule, a profile, the settings, a floor. ``body`` None
    removes it.

    ``asserted`` is what the configuration last said of a rule, which the api may have changed since; ``judged`` how far a
    rule over windows has been judged. ``source`` is that of the entry: of a profile, the node that owns the device; ``who``
    is a person behind it.
    """

    kind: str  # rule | profile | settings | floor | asserted | judged
    name: str
    body: Any
    log_time: Micros
    source: str = ""
    who: str = ""


class Happened(msgspec.Struct, frozen=True):
    """A step of a command, in words for people. ``command`` is its name, ``id`` that of the command."""

    id: str
    device: str
    command: str
    step: str
    time: Micros
    message: str = ""
    progress: float | None = None
    details: Any = None

    @classmethod
    def of(cls, step: CommandStep, log_time: Micros) -> "Happened":
        """What an entry of the log says that happened."""
        return cls(
            id=step.id,
            device=step.device,
            command=step.command,
            step=step.step,
            time=step.at(log_time),
            message=step.message,
            progress=step.progress,
            details=step.details,
        )


class Alert(msgspec.Struct, frozen=True):
    """A rule that holds, or held, for a series; or for a zone or a site, which has no series (−1) and is named here."""

    id: str
    rule: str
    series: int
    type: str  # what the rule watches for: above, below, outside …
    severity: str
    state: str  # pending | firing | acknowledged | shelved | resolved
    threshold: float | None  # none: its type has none
    since: Micros  # the reading, or the start of the window, that opened it
    value: float | None  # of what opened it; none if that is no number
    peak: float | None  # the worst value so far
    fired_at: Micros | None = None
    resolved_at: Micros | None = None
    retroactive: bool = False
    message: str = ""
    shelved_until: Micros | None = None
    metric: str = ""
    site: str = ""
    zone: str = ""


class AlertEvent(msgspec.Struct, frozen=True):
    """Something that became of an alert: at a moment, by the frame at ``offset`` of the log, which came at ``log_time``.

    ``who`` and ``why`` are of what a person did. A rebuild gives the same events at the same offsets.
    """

    partition: int
    offset: int
    log_time: Micros
    alert: str
    event: str  # fired | acknowledged | shelved | unshelved | resolved
    time: Micros
    who: str = ""
    why: str = ""
    until: Micros | None = None  # of a shelf

    @property
    def order(self) -> tuple[int, Micros, str, int]:
        """Where it comes among others: as the log goes on, however frames are gathered."""
        return self.offset, self.time, self.alert, EVENTS.index(self.event)


EVENTS: Final = ("fired", "unshelved", "acknowledged", "shelved", "resolved")


class Correction(msgspec.Struct, frozen=True):
    """Windows of a series that had closed were changed by late data, from ``start`` on, last by the frame at ``offset``: a
    rule over windows has to judge them again."""

    rule: str
    series: int
    start: Micros
    partition: int
    offset: int


class Purge(msgspec.Struct, frozen=True):
    """Everything of ``series`` (none: of every one) from before a moment (none: all of it) that was stored before this step
    goes for good: readings, windows, newest values, alerts."""

    series: tuple[int, ...] | None = None
    before: Micros | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a partition of a log has been stored: ``offset`` is the next one to read. Frames have come without a pause
    since ``heard_since``: what was silent before may have been so because nobody listened."""

    log: str
    partition: int
    offset: int
    log_time: Micros = 0
    heard_since: Micros = 0


@dataclass(frozen=True, slots=True)
class Changes:
    """All that one step changes; a store makes it true as a whole or not at all.

    ``expected`` is the offset that the store's progress must still have, else :class:`sonde.errors.Conflict`.
    ``alerts`` are whole rows to set by id; ``retracted`` are ids of pending alerts that came to nothing. ``purges`` come
    first: what else the step brings is not touched by them. A definition of kind ``floor`` (:mod:`sonde.removal`) hides
    what is older, whenever it came. ``settled`` corrections, by frames below their offset, go before ``corrections`` come;
    of several of one rule and series in one partition the oldest ``start`` and the newest ``offset`` are kept.
    """

    expected: int
    progress: Progress
    series: Sequence[Series] = ()
    readings: pa.Table = field(default_factory=READINGS.empty_table)
    windows: pa.Table = field(default_factory=WINDOWS.empty_table)
    latest: pa.Table = field(default_factory=LATEST.empty_table)
    alerts: Sequence[Alert] = ()
    retracted: Sequence[str] = ()
    events: Sequence[AlertEvent] = ()
    settled: Sequence[Correction] = ()
    corrections: Sequence[Correction] = ()
    streams: Sequence[Stream] = ()
    ledger: Sequence[LedgerLine] = ()
    marks: Sequence[Mark] = ()
    definitions: Sequence[Definition] = ()
    commands: Sequence[Command] = ()  # whole rows to set by id
    happened: Sequence[Happened] = ()
    purges: Sequence[Purge] = ()


class Corrected(NamedTuple):
    """A span of time, both ends included, in which late readings changed a series' history and its windows."""

    series: Series
    first: Micros
    last: Micros


@dataclass(frozen=True, slots=True)
class Step:
    """What a step changed, with names, for those who look on once the store has it. ``alerts`` are those that are in another
    state now; pending ones are not news."""

    progress: Progress
    alerts: Sequence[tuple[Alert, Series]] = ()
    corrected: Sequence[Corrected] = ()


class Newest(NamedTuple):
    """Of the newest reading of a series: its time, its value if that counts in windows and alerts, and the log time at
    which it came."""

    time: Micros
    value: float | None
    arrived: Micros


@dataclass(frozen=True, slots=True)
class State:
    """What a processor needs from the store to go on."""

    progress: Sequence[Progress]  # of every log that this store ever followed
    series: Sequence[Series]
    newest: Mapping[int, "Newest"]  # by series
    alerts: Sequence[Alert]  # all that are not resolved
    streams: Sequence[Stream]
    definitions: Sequence[Definition]
    commands: Sequence[Command] = ()  # all that are not over
    marks: Sequence[Mark] = ()  # the newest of those that say what was set aside or purged
