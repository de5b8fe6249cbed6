"""From frames to :class:`Changes`: everything a step does, but for reading the log and writing the store."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sonde.alert import from_trace, place_of
from sonde.changes import WINDOWS, Alert, Changes, Corrected, Definition, Progress, Purge, Series, State, Step
from sonde.clock import SECOND
from sonde.entry import Entry, EntryKind
from sonde.errors import Invalid
from sonde.judgement import parse, renumbered
from sonde.moment import format_time
from sonde.ports import Identities
from sonde.process.alarms import Alarms
from sonde.process.commanding import Commanding
from sonde.process.dedupe import Dedupe, Sifted
from sonde.process.definitions import Definitions
from sonde.process.gather import Opened, Unread
from sonde.process.heard import Heard
from sonde.process.latest import Latest
from sonde.process.ledger import Place, Tally
from sonde.process.marking import Marking
from sonde.process.numbering import Numbering
from sonde.process.rows import Arrived, Rows
from sonde.reading import Quality
from sonde.removal import Floor, PurgeOrder, whole_windows
from sonde.window import fold

_NEVER: Final = np.iinfo(np.int64).min
_BETWEEN: Final = frozenset({EntryKind.ACKNOWLEDGEMENT, EntryKind.PURGE, EntryKind.FINDINGS})
_TURNING: Final = frozenset({EntryKind.PROFILE, EntryKind.RULE, EntryKind.SETTINGS})


class Folding:
    """What a processor knows: all that a store's state says, moved on by every step.

    After a step that did not reach the store it knows too much: make a new one from the store's state.
    """

    def __init__(self, state: State, identities: Identities, log: str, partition: int) -> None:
        mine = [p for p in state.progress if p.log == log and p.partition == partition]
        self.progress = mine[0] if mine else Progress(log, partition, 0)
        self._dedupe = Dedupe(identities, partition, state.streams)
        self._definitions = Definitions(state.definitions)
        self._numbering = Numbering(state.series)
        self._marking = Marking()
        self._marking.learn(state.series, self._definitions.profiles)
        self._latest = Latest(len(state.series), state.newest)
        self._alarms = Alarms(state, self._definitions, self._latest, self.progress)
        self._commanding = Commanding(state.commands)
        self._alert_states = {alert.id: alert.state for alert in state.alerts}
        self._corrected: list[Corrected] = []
        self._newest = np.full(len(state.series), _NEVER, np.int64)
        for series, newest in state.newest.items():
            self._newest[series] = newest.time

    def turns(self, frame: Opened, turned: bool) -> bool:
        """Whether ``frame`` changes what the readings after it mean: a definition that is new, or an acknowledgement,
        a purge, or findings, which belong between the readings before them and those after. ``turned``: so does a frame
        that waits before it, and what is in force is not known yet."""
        return any(
            entry.kind in _BETWEEN or (entry.kind in _TURNING and (turned or self._definitions.changes(entry)))
            for entry in frame.body.entries
        )

    def fold(self, frames: Sequence[Opened]) -> Changes:
        """All that ``frames`` change."""
        tally = Tally(self.progress.partition)
        heard = Heard.of(self.progress.partition, frames, self.progress.log_time)
        self._alarms.begin(heard)
        sifted = self._dedupe.sift(frames, tally)
        new: list[Series] = []
        definitions = self._apply(sifted.entries, tally, new)
        purges = self._purge(sifted.entries, tally)
        tables: dict[str, Any] = {}
        if sifted.batches:
            tables = self._fold_readings(sifted, tally, heard, new)
        self._alarms.end()
        last = frames[-1]
        return self._changes(
            Progress(
                self.progress.log,
                self.progress.partition,
                last.offset + 1,
                int(heard.log_times[-1]),
                self._alarms.heard_since,
            ),
            tally,
            series=new,
            streams=list(sifted.streams.values()),
            definitions=definitions,
            purges=purges,
            **tables,
        )

    def pass_over(self, lost: Unread) -> Changes:
        """Go on behind what cannot be read, and say so."""
        tally = Tally(self.progress.partition)
        place = Place(lost.offset, 0, self.progress.log_time)
        tally.set_aside(place, Entry(0), lost.readings, f"{lost.reason}: {lost.why}")
        progress = self.progress
        return self._changes(replace(progress, offset=lost.next_offset), tally)

    def step(self, changes: Changes) -> Step:
        """``changes`` for those who look on; asked once, after the fold that made them."""
        corrected, self._corrected = self._corrected, []
        series = self._numbering.series
        turned = [
            (a, series[a.series] if a.series >= 0 else place_of(a))
            for a in changes.alerts
            if from_trace(a) is None and self._turns_state(a)
        ]
        return Step(changes.progress, turned, corrected)

    def _turns_state(self, alert: Alert) -> bool:
        """Whether an alert is in another state than when this was asked last."""
        turns = self._alert_states.get(alert.id, "pending") != alert.state
        if alert.state == "resolved":
            self._alert_states.pop(alert.id, None)
        else:
            self._alert_states[alert.id] = alert.state
        return turns

    @property
    def series(self) -> int:
        """How many there are."""
        return len(self._numbering.series)

    def open_alerts(self) -> Mapping[tuple[str, str], int]:
        """Open alerts by severity and state."""
        return self._alarms.book.count()

    @property
    def waits(self) -> bool:
        """Whether it matters that time goes on in the log, though nothing comes."""
        return self._alarms.waits

    @property
    def judges(self) -> bool:
        """Whether there are rules over windows."""
        return self._alarms.windowed.waits

    def _changes(self, progress: Progress, tally: Tally, **more: Any) -> Changes:
        alerts, retracted, events = self._alarms.book.take_changed()
        commands, happened = self._commanding.take_changed()
        expected, self.progress = self.progress.offset, progress
        return Changes(
            expected=expected,
            progress=progress,
            alerts=alerts,
            retracted=retracted,
            events=events,
            settled=self._alarms.windowed.take_settled(),
            commands=commands,
            happened=happened,
            ledger=tally.lines(),
            marks=tally.marks,
            **more,
        )

    def _apply(self, entries: Sequence[tuple[Place, Entry]], tally: Tally, new: list[Series]) -> list[Definition]:
        """Put what is not readings in force, in the order of the log; a tick says nothing but its time. Series that were only
        heard of here, and no reading yet, are ``new``."""
        changed: list[Definition] = []
        for place, entry in entries:
            try:
                if entry.kind == EntryKind.COMMAND:
                    self._commanding.apply(entry, place.log_time)
                changed += self._alarms.apply(self._in_own_numbers(entry, new), place)
                changed += self._define(entry, place, tally)
            except Invalid as error:
                tally.set_aside(place, entry, 0, str(error))
                continue
            if entry.kind == EntryKind.COUNTERS:
                _count_refused(place, entry, tally)
        devices = {d.name for d in changed if d.kind == "profile"}
        if devices:
            theirs = [s for s in self._numbering.series if s.device in devices]
            self._marking.learn(theirs, self._definitions.profiles)
        return changed

    def _in_own_numbers(self, entry: Entry, new: list[Series]) -> Entry:
        """Findings name series that may be of other partitions; here they have numbers like all others."""
        if entry.kind != EntryKind.FINDINGS:
            return entry
        findings = parse(entry.payload)
        if not findings.series:
            return entry
        numbers, unknown = self._numbering.place(findings.series)
        self._learn(unknown)
        new += unknown
        return msgspec.structs.replace(entry, payload=msgspec.to_builtins(renumbered(findings, numbers)))

    def _purge(self, entries: Sequence[tuple[Place, Entry]], tally: Tally) -> list[Purge]:
        """What purges take. They leave nothing of it in what is known here either."""
        purges = []
        for place, entry in entries:
            if entry.kind != EntryKind.PURGE:
                continue
            try:
                order = PurgeOrder.parse(entry.payload)
            except Invalid as error:
                tally.set_aside(place, entry, 0, str(error))
                continue
            if order.before is not None:
                whole = whole_windows(order.before, self._definitions.settings.windows)
                order = msgspec.structs.replace(order, before=whole)
            purge = Purge(order.matching(self._numbering.series), order.before)
            purges.append(purge)
            self._alarms.purge(purge)
            known = slice(0, self.series) if purge.series is None else np.array(purge.series, np.int64)
            newest = self._newest[known]
            self._newest[known] = _NEVER if purge.before is None else np.where(newest < purge.before, _NEVER, newest)
            self._latest.purge(known, purge.before)
            tally.mark(place, entry, "purged", (0, 0), order.readings, _purged(order))
        return purges

    def _define(self, entry: Entry, place: Place, tally: Tally) -> list[Definition]:
        """Put a definition in force; what it changed."""
        changed = self._definitions.apply(entry, place.log_time)
        for definition in [d for d in changed if d.kind == "rule"]:
            rule = self._definitions.rules.get(definition.name)
            changed += self._alarms.set_rule(definition.name, rule, place)
        if any(definition.kind == "floor" for definition in changed):
            _tell_loss(place, entry, tally)
        return changed

    def _fold_readings(self, sifted: Sifted, tally: Tally, heard: Heard, new: list[Series]) -> dict[str, Any]:
        settings = self._definitions.settings
        arrived = Arrived.of(sifted.batches, sifted.pieces)
        series, unknown = self._numbering.number(arrived.batch)
        self._learn(unknown)
        new += unknown
        arrived.mark_clocks(round(settings.future_limit * SECOND))
        late = self._late(arrived, series)
        if late.any():
            self._note_corrected(arrived, series, late)
            starts = np.cumsum([0, *(piece.rows for piece in arrived.pieces[:-1])])
            for piece, rows in zip(
                arrived.pieces, np.add.reduceat(late.astype(np.int64), starts).tolist(), strict=True
            ):
                tally.add(piece.source, piece.lane, late=rows)
        rows = Rows.of(arrived, series)
        self._marking.mark(rows)
        corrections = self._alarms.run(rows, late, heard)
        last = rows.newest(self._newest)
        arrived_at = self._latest.arrivals(rows, last, heard)
        self._latest.move_on(rows, last, arrived_at)
        return {
            "readings": rows.readings(),
            "windows": _windows(rows, settings.windows),
            "latest": rows.latest(last, arrived_at),
            "corrections": corrections,
        }

    def _learn(self, new: Sequence[Series]) -> None:
        if new:
            self._marking.learn(new, self._definitions.profiles)
            self._alarms.learn(new)
            self._latest.grow(self.series)
            more = self.series - len(self._newest)
            if more > 0:
                self._newest = np.append(self._newest, np.full(max(more, len(self._newest)), _NEVER))

    def _note_corrected(self, arrived: Arrived, series: npt.NDArray[np.int32], late: npt.NDArray[np.bool_]) -> None:
        """Which span of which series late readings fall into."""
        ids, at = np.unique(series[late], return_inverse=True)
        first, last = np.full(len(ids), np.iinfo(np.int64).max), np.full(len(ids), _NEVER)
        np.minimum.at(first, at, arrived.time[late])
        np.maximum.at(last, at, arrived.time[late])
        known = self._numbering.series
        self._corrected = [
            Corrected(known[number], start, end)
            for number, start, end in zip(ids.tolist(), first.tolist(), last.tolist(), strict=True)
        ]

    def _late(self, arrived: Arrived, series: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
        """Which readings are older than the newest of their series in the frames before theirs. A clock that is wrong
        makes nobody late."""
        late = np.zeros(len(series), np.bool_)
        wrong = arrived.quality == Quality.CLOCK
        some_wrong = bool(wrong.any())
        for start, end in zip(arrived.starts, arrived.ends, strict=True):
            ids, time = series[start:end], arrived.time[start:end]
            late[start:end] = time < self._newest[ids]
            if some_wrong:
                right = ~wrong[start:end]
                late[start:end] &= right
                ids, time = ids[right], time[right]
            np.maximum.at(self._newest, ids, time)
        return late


def _windows(rows: Rows, widths: Sequence[int]) -> pa.Table:
    counts = rows.counts
    if counts is None:
        return fold(rows.series, rows.time, rows.value, widths)
    if not counts.any():
        return WINDOWS.empty_table()
    return fold(rows.series[counts], rows.time[counts], rows.value[counts], widths)


def _count_refused(place: Place, entry: Entry, tally: Tally) -> None:
    refused = entry.payload.get("refused") if isinstance(entry.payload, dict) else None
    if not isinstance(refused, dict) or not all(isinstance(n, int) and 0 <= n < 2**48 for n in refused.values()):
        tally.set_aside(place, entry, 0, "counters that do not say how many readings were refused, by reason")
        return
    total = sum(refused.values())
    tally.add(entry.source, entry.lane, declared=total, refused=total)


def _tell_loss(place: Place, entry: Entry, tally: Tally) -> None:
    """A floor that rose because the disk was nearly full takes what nobody wanted to lose: that is said for good."""
    floor = Floor.parse(entry.payload)
    if floor.why == "disk":
        why = f"{floor.name} from before {format_time(floor.before)} let go: the disk was nearly full"
        tally.mark(place, entry, "expired", (0, 0), floor.readings, why)


def _purged(order: PurgeOrder) -> str:
    until = "" if order.before is None else f" from before {format_time(order.before)}"
    return (
        f"purged: {order.text}{until}, by {order.who or 'nobody who said so'}{f': {order.note}' if order.note else ''}"
    )
