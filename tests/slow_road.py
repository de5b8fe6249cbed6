"""What must be in a store after some frames, computed one reading at a time: slow, and obvious."""

from collections import Counter, defaultdict
from typing import Any

from sonde.alert import RETROACTIVE_AFTER
from sonde.entry import Entry, EntryKind, Lane
from sonde.reading import Reading
from tests.scenario import LaneOf, Message, Name, Sender, StreamName
from tests.slow_alerts import Seen, SlowAlerts


class Slowly:
    """What must be in a store after some frames, computed one reading at a time."""

    def __init__(self) -> None:
        self.readings: list[tuple[Any, ...]] = []
        self.ledger: defaultdict[LaneOf, Counter[str]] = defaultdict(Counter)
        self.top: dict[Name, float] = {}  # what a profile declares
        self.alerts = SlowAlerts()
        self._frames = 0
        self._newest: dict[Name, int] = {}
        self._accounted: defaultdict[StreamName, set[int]] = defaultdict(set)
        self._rows: defaultdict[StreamName, dict[int, int]] = defaultdict(dict)
        self._seen: dict[Any, Any] = {}

    def frame(self, log_time: int, messages: list[Message], senders: list[Sender]) -> None:
        for sender in senders:
            self._rows[sender.name].update((seq, len(m.readings)) for seq, m in sender.sent.items())
        offset, self._frames = self._frames, self._frames + 1
        if not messages:
            return
        self.alerts.begin(offset, log_time)
        kept = [(m, r) for m in messages for r in self._new(m)]
        before = dict(self._newest)
        seen: list[Seen] = []
        fresh = {id(r): (m.entry.source, m.entry.lane) for m, r in kept}
        for _, reading in sorted(kept, key=lambda pair: pair[1].time):
            name = (reading.device, reading.metric)
            late = reading.time < before.get(name, reading.time)
            source, lane = fresh[id(reading)]
            self.ledger[source, lane].update(stored=1, late=int(late))
            self._newest[name] = max(reading.time, self._newest.get(name, reading.time))
            quality = 2 if isinstance(reading.value, float) and reading.value > self.top.get(name, 1e9) else 0
            self.readings.append(
                (*name, reading.time, None if isinstance(reading.value, str) else reading.value, quality)
            )
            old = lane == Lane.BACKLOG or reading.time < log_time - RETROACTIVE_AFTER
            value = reading.value
            assert isinstance(value, float | str)
            seen.append(Seen(name, reading.time, value, late, old))
        self.alerts.take(seen)
        self.alerts.end()

    def _new(self, message: Message) -> list[Reading]:
        """The readings of a message that are new; the rest goes into the ledger."""
        entry = message.entry
        line = self.ledger[entry.source, entry.lane]
        if entry.epoch:
            return message.readings if self._new_in_stream(entry, line) else []
        if entry.kind != EntryKind.READINGS:
            self._word(entry)
            return []
        if entry.key:
            if entry.key in self._seen:
                return self._refuse(line, entry.rows, conflict=self._seen[entry.key] != entry.digest)
            self._seen[entry.key] = entry.digest
        kept = []
        for reading in message.readings:
            name, said = ("event", reading.device, reading.event_id), (reading.metric, reading.value)
            if reading.event_id is not None and name in self._seen:
                self._refuse(line, 1, conflict=self._seen[name] != said)
                continue
            self._seen[name] = said
            kept.append(reading)
        return kept

    def _new_in_stream(self, entry: Entry, line: Counter[str]) -> bool:
        name = (entry.source, entry.epoch, entry.lane)
        last = entry.payload["until"] if entry.kind == EntryKind.TOMBSTONE else entry.seq
        new = set(range(entry.seq, last + 1)) - self._accounted[name]
        content = (name, entry.seq, entry.kind, entry.digest)
        if entry.kind == EntryKind.TOMBSTONE:
            column = "refused" if entry.payload["reason"].startswith("refused") else "lost"
            line[column] += sum(self._rows[name][seq] for seq in new)
        elif not new:
            self._refuse(line, entry.rows, conflict=content not in self._seen)
        self._seen[content] = True
        self._accounted[name] |= new
        return bool(new) and entry.kind != EntryKind.TOMBSTONE

    def _refuse(self, line: Counter[str], rows: int, *, conflict: bool) -> list[Reading]:
        line.update({"set_aside": rows, "conflicting": rows} if conflict else {"duplicate": rows})
        return []

    def _word(self, entry: Entry) -> None:
        match entry.kind:
            case EntryKind.RULE:
                self.alerts.set_rule(entry.payload["id"], entry.payload["rule"])
            case EntryKind.PROFILE:
                for metric, declared in entry.payload["metrics"].items():
                    self.top[entry.payload["device"], metric] = declared["max"]
            case EntryKind.COUNTERS:
                self.ledger[entry.source, entry.lane]["refused"] += sum(entry.payload["refused"].values())
            case EntryKind.ACKNOWLEDGEMENT:
                self.alerts.acknowledge(entry.payload)

    def missing(self) -> Counter[LaneOf]:
        found: Counter[LaneOf] = Counter()
        for (source, epoch, lane), seqs in self._accounted.items():
            absent = set(range(1, max(seqs, default=0) + 1)) - seqs
            found[source, lane] += sum(self._rows[source, epoch, lane][seq] for seq in absent)
        return found
