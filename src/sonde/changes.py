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

LATEST: Final = READINGS
"""The newest reading of each series that has a new one; replaces what is there unless that is later."""


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

    ``holes`` are seqs that have not come: first, last, readings; ``before`` says for each hole how many readings the
    stream has before it, so that a hole can be filled from the middle without losing count.
    """

    source: str
    epoch: str
    lane: int
    seq: int
    count: int
    holes: tuple[tuple[int, int, int], ...] = ()
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
    """What results depend on, as the log last said it: a rule, a profile, the settings, a floor. ``body`` None removes
    it.
    ``source`` is the node that declared a profile, and so owns the device."""

    kind: str  # rule | profile | settings | floor
    name: str
    body: Any
    log_time: Micros
    source: str = ""


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


class Alert(msgspec.Struct, frozen=True):
    """A rule that holds, or held, for a series."""

    id: str
    rule: str
    series: int
    type: str  # what the rule watches for: above, below, outside …
    severity: str
    state: str  # pending | firing | acknowledged | shelved | resolved
    threshold: float
    since: Micros  # the reading that opened it
    value: float  # of the reading that opened it
    peak: float  # the worst value so far
    fired_at: Micros | None = None
    resolved_at: Micros | None = None
    retroactive: bool = False
    message: str = ""


class Purge(msgspec.Struct, frozen=True):
    """Everything of ``series`` (none: of every one) from before a moment (none: all of it) that was stored before this step
    goes for good: readings, windows, newest values, alerts."""

    series: tuple[int, ...] | None = None
    before: Micros | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a partition of a log has been stored: ``offset`` is the next one to read."""

    log: str
    partition: int
    offset: int
    log_time: Micros = 0


@dataclass(frozen=True, slots=True)
class Changes:
    """All that one step changes; a store makes it true as a whole or not at all.

    ``expected`` is the offset that the store's progress must still have, else :class:`sonde.errors.Conflict`.
    ``alerts`` are whole rows to set by id; ``retracted`` are ids of pending alerts that came to nothing. ``purges`` come
    first: what else the step brings is not touched by them. A definition of kind ``floor`` (:mod:`sonde.removal`) hides
    what is older, whenever it came.
    """

    expected: int
    progress: Progress
    series: Sequence[Series] = ()
    readings: pa.Table = field(default_factory=READINGS.empty_table)
    windows: pa.Table = field(default_factory=WINDOWS.empty_table)
    latest: pa.Table = field(default_factory=LATEST.empty_table)
    alerts: Sequence[Alert] = ()
    retracted: Sequence[str] = ()
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


@dataclass(frozen=True, slots=True)
class State:
    """What a processor needs from the store to go on."""

    progress: Sequence[Progress]  # of every log that this store ever followed
    series: Sequence[Series]
    newest: Mapping[int, Micros]  # series → time of its newest reading
    alerts: Sequence[Alert]  # all that are not resolved
    streams: Sequence[Stream]
    definitions: Sequence[Definition]
    commands: Sequence[Command] = ()  # all that are not over
