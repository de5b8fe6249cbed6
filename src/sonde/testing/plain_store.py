"""A store and identities that are plain dictionaries: obvious enough to be compared with, and able to fail on demand."""

import threading
from collections.abc import Callable, Sequence

import msgspec
import pyarrow as pa

from sonde.changes import (
    READINGS,
    WINDOWS,
    Alert,
    AlertEvent,
    Changes,
    Correction,
    Definition,
    Happened,
    LedgerLine,
    Mark,
    Newest,
    Progress,
    Purge,
    Series,
    State,
    Stream,
)
from sonde.clock import Micros
from sonde.command import Command
from sonde.errors import Conflict, Unsupported
from sonde.ports import Claim
from sonde.question import Answer, Question
from sonde.reading import TIME, Kind, Quality
from sonde.testing.own_numbers import OwnNumbers
from sonde.window import merge


class PlainStore:
    """The port ``Store`` without questions: what was committed lies open, of all partitions together. ``before`` and
    ``after`` are called around each commit; what they raise is what a database would have raised there."""

    def __init__(self) -> None:
        self.progress: dict[tuple[str, int], Progress] = {}
        self._numbers = OwnNumbers()
        self._lock = threading.RLock()
        self._partition_of: dict[object, int] = {}  # of streams and alerts
        self._definitions: dict[int, dict[tuple[str, str], Definition]] = {}
        self.readings: list[pa.Table] = []
        self.windows: pa.Table = WINDOWS.empty_table()
        self._latest: dict[int, dict[int, Newest]] = {}  # by partition
        self.alerts: dict[str, Alert] = {}
        self.events: list[AlertEvent] = []
        self.corrections: dict[tuple[str, int, int], Correction] = {}
        self.streams: dict[tuple[str, str, int], Stream] = {}
        self.ledger: dict[tuple[str, int], LedgerLine] = {}
        self.marks: list[Mark] = []
        self.commands: dict[str, Command] = {}
        self.happened: list[Happened] = []
        self.commits = 0
        self.before: Callable[[Changes], None] = lambda _: None
        self.after: Callable[[Changes], None] = lambda _: None

    @property
    def series(self) -> dict[int, Series]:
        return self._numbers.series

    @property
    def latest(self) -> dict[int, Newest]:
        """The newest of each series, in whichever partition."""
        found: dict[int, Newest] = {}
        for _, theirs in sorted(self._latest.items()):
            for id_, newest in theirs.items():
                found[id_] = max(newest, found.get(id_, newest), key=lambda one: one.time)
        return found

    @property
    def definitions(self) -> dict[tuple[str, str], Definition]:
        """As every partition has them; where one is ahead of another, as the first has them."""
        found: dict[tuple[str, str], Definition] = {}
        for _, theirs in sorted(self._definitions.items(), reverse=True):
            found.update(theirs)
        return found

    def load(self, partition: int = 0) -> State:
        with self._lock:
            numbers = {id_: number for number, id_ in self._numbers.of(partition).items()}
            streams = [s for key, s in self.streams.items() if self._partition_of[key] == partition]
            alerts = [alert for alert in self.alerts.values() if self._partition_of[alert.id] == partition]
            return State(
                progress=list(self.progress.values()),
                series=[self.series[id_]._replace(id=number) for id_, number in numbers.items()],
                newest={numbers[id_]: newest for id_, newest in self._latest.get(partition, {}).items()},
                alerts=[
                    msgspec.structs.replace(alert, series=numbers.get(alert.series, -1))
                    for alert in alerts
                    if alert.state != "resolved"
                ],
                streams=streams,
                definitions=list(self._definitions.get(partition, {}).values()),
                commands=[command for command in self.commands.values() if not command.is_over]
                if not partition
                else [],
                marks=[m for m in self.marks if m.partition == partition and m.reason in {"set_aside", "purged"}][::-1],
            )

    def commit(self, changes: Changes) -> None:
        self.before(changes)
        with self._lock:
            self._commit(changes)
        self.after(changes)

    def _commit(self, changes: Changes) -> None:
        place = (changes.progress.log, changes.progress.partition)
        known = self.progress[place].offset if place in self.progress else 0
        if known != changes.expected:
            raise Conflict(f"progress is {known}, not {changes.expected}", known=known)
        self._numbers.learn(changes.progress.partition, changes.series)
        self._apply(self._numbers.translated(changes))
        self.progress[place] = changes.progress
        self.commits += 1

    def _apply(self, changes: Changes) -> None:
        partition = changes.progress.partition
        for purge in changes.purges:
            self._purge(purge, partition)
        if len(changes.readings):
            self.readings.append(changes.readings)
        self.windows = merge(self.windows, changes.windows)
        latest = self._latest.setdefault(partition, {})
        for series, newest in _newest(changes.latest).items():
            if newest.time >= latest.get(series, newest).time:
                latest[series] = newest
        for id_ in changes.retracted:
            self.alerts.pop(id_, None)
        self.alerts.update((alert.id, alert) for alert in changes.alerts)
        self.events.extend(changes.events)
        self._correct(changes)
        self.streams.update(((s.source, s.epoch, s.lane), s) for s in changes.streams)
        self._partition_of.update(((s.source, s.epoch, s.lane), partition) for s in changes.streams)
        self._partition_of.update((alert.id, partition) for alert in changes.alerts)
        for line in changes.ledger:
            key = (line.source, line.lane)
            self.ledger[key] = _sum(self.ledger.get(key, LedgerLine(*key)), line)
        self.marks.extend(changes.marks)
        self.commands.update((command.id, command) for command in changes.commands)
        self.happened.extend(changes.happened)
        definitions = self._definitions.setdefault(partition, {})
        for definition in changes.definitions:
            if definition.body is None:
                definitions.pop((definition.kind, definition.name), None)
            else:
                definitions[definition.kind, definition.name] = definition

    def _purge(self, purge: Purge, partition: int) -> None:
        def taken(series: int, moment: Micros) -> bool:
            return series in (purge.series or ()) and (purge.before is None or moment < purge.before)

        def rest(table: pa.Table, moment: str) -> pa.Table:
            moments = table[moment].cast(pa.int64()).to_pylist()
            kept = [not taken(*row) for row in zip(table["series"].to_pylist(), moments, strict=True)]
            return table.filter(pa.array(kept, pa.bool_()))

        self.readings = [rest(table, "time") for table in self.readings]
        self.windows = rest(self.windows, "start") if len(self.windows) else self.windows
        latest = self._latest.get(partition, {})
        self._latest[partition] = {id_: newest for id_, newest in latest.items() if not taken(id_, newest.time)}
        self.alerts = {
            id_: alert
            for id_, alert in self.alerts.items()
            if self._partition_of[id_] != partition or not taken(alert.series, alert.since)
        }
        self.events = [event for event in self.events if event.alert in self.alerts]

    def _correct(self, changes: Changes) -> None:
        anew = {d.name for d in changes.definitions if d.kind == "judged" and d.body is None}
        self.corrections = {
            key: one
            for key, one in self.corrections.items()
            if one.rule not in anew or one.partition != changes.progress.partition
        }
        for settled in changes.settled:
            key = settled.rule, settled.series, settled.partition
            if key in self.corrections and self.corrections[key].offset < settled.offset:
                del self.corrections[key]
        for new in changes.corrections:
            key = new.rule, new.series, new.partition
            known = self.corrections.get(key, new)
            start, offset = min(known.start, new.start), max(known.offset, new.offset)
            self.corrections[key] = msgspec.structs.replace(new, start=start, offset=offset)

    def table(self) -> pa.Table:
        """All readings, in the order in which they were committed."""
        return pa.concat_tables(self.readings) if self.readings else READINGS.empty_table()

    def ask(self, question: Question) -> Answer:
        raise Unsupported("a plain store answers no questions", hint="Look at what it holds")

    def maintain(self) -> bool:
        return False

    def close(self) -> None:
        pass


def _newest(latest: pa.Table) -> dict[int, Newest]:
    plain = pa.table(
        {n: latest[n].cast(pa.int64()) if latest[n].type == TIME else latest[n] for n in latest.column_names}
    )
    found = {}
    for row in plain.to_pylist():
        counts = row["kind"] <= Kind.BOOLEAN and row["quality"] in (Quality.GOOD, Quality.RANGE)
        found[row["series"]] = Newest(row["time"], row["value"] if counts else None, row["arrived"])
    return found


def _sum(one: LedgerLine, other: LedgerLine) -> LedgerLine:
    columns = ("declared", "stored", "duplicate", "refused", "set_aside", "lost", "conflicting", "late")
    return LedgerLine(one.source, one.lane, *[getattr(one, c) + getattr(other, c) for c in columns])


class PlainIdentities:
    """The port ``Identities`` in a dictionary."""

    def __init__(self) -> None:
        self._first: dict[tuple[int, bytes], tuple[Claim, Micros]] = {}

    def first(self, partition: int, claims: Sequence[Claim], log_time: Micros) -> Sequence[Claim]:
        return [self._first.setdefault((partition, claim.key), (claim, log_time))[0] for claim in claims]

    def find(self, partition: int, keys: Sequence[bytes]) -> Sequence[Claim | None]:
        known = [self._first.get((partition, key)) for key in keys]
        return [found[0] if found is not None else None for found in known]

    def forget(self, before: Micros, keep: int, partition: int | None = None) -> Micros:
        theirs = [item for item in self._first.items() if partition is None or item[0][0] == partition]
        kept = [item for item in theirs if item[1][1] >= before][-keep:] if keep else []
        for key in {key for key, _ in theirs} - {key for key, _ in kept}:
            del self._first[key]
        return min((log_time for _, (_, log_time) in kept), default=before)

    def close(self) -> None:
        pass
