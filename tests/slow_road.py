"""What must be in a store after some frames, computed one reading at a time: slow, and obvious."""

from collections import Counter, defaultdict
from typing import Any

import numpy as np

from sonde.alert import RETROACTIVE_AFTER, alert_id
from sonde.changes import Series
from sonde.clock import SECOND
from sonde.entry import Entry, EntryKind, Lane
from sonde.reading import Reading
from sonde.rule import Rule
from sonde.watch import WATCHES
from tests.scenario import LaneOf, Message, Name, Sender, StreamName


class Slowly:
    """What must be in a store after some frames, computed one reading at a time."""

    def __init__(self) -> None:
        self.readings: list[tuple[Any, ...]] = []
        self.ledger: defaultdict[LaneOf, Counter[str]] = defaultdict(Counter)
        self.rules: dict[str, Rule] = {}
        self.top: dict[Name, float] = {}  # what a profile declares
        self.tracks: dict[tuple[str, Name, bool], dict[str, Any]] = {}
        self.alerts: dict[str, dict[str, Any]] = {}
        self._newest: dict[Name, int] = {}
        self._accounted: defaultdict[StreamName, set[int]] = defaultdict(set)
        self._rows: defaultdict[StreamName, dict[int, int]] = defaultdict(dict)
        self._seen: dict[Any, Any] = {}

    def frame(self, log_time: int, messages: list[Message], senders: list[Sender]) -> None:
        for sender in senders:
            self._rows[sender.name].update((seq, len(m.readings)) for seq, m in sender.sent.items())
        kept = [(m, r) for m in messages for r in self._new(m, log_time)]
        before = dict(self._newest)
        fresh = {id(r): (m.entry.source, m.entry.lane) for m, r in kept}
        for _, reading in sorted(kept, key=lambda pair: pair[1].time):
            name = (reading.device, reading.metric)
            late = reading.time < before.get(name, reading.time)
            source, lane = fresh[id(reading)]
            self.ledger[source, lane].update(stored=1, late=int(late))
            self._newest[name] = max(reading.time, self._newest.get(name, reading.time))
            quality = 2 if isinstance(reading.value, float) and reading.value > self.top.get(name, 1e9) else 0
            self.readings.append((*name, reading.time, reading.value, quality))
            old = lane == Lane.BACKLOG or reading.time < log_time - RETROACTIVE_AFTER
            self._alert(name, reading, late, old)

    def _new(self, message: Message, log_time: int) -> list[Reading]:
        """The readings of a message that are new; the rest goes into the ledger."""
        entry = message.entry
        line = self.ledger[entry.source, entry.lane]
        if entry.epoch:
            return message.readings if self._new_in_stream(entry, line) else []
        if entry.kind != EntryKind.READINGS:
            self._word(entry, log_time)
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

    def _word(self, entry: Entry, log_time: int) -> None:
        match entry.kind:
            case EntryKind.RULE:
                self._set_rule(entry.payload["id"], entry.payload["rule"], log_time)
            case EntryKind.PROFILE:
                for metric, declared in entry.payload["metrics"].items():
                    self.top[entry.payload["device"], metric] = declared["max"]
            case EntryKind.COUNTERS:
                self.ledger[entry.source, entry.lane]["refused"] += sum(entry.payload["refused"].values())
            case EntryKind.ACKNOWLEDGEMENT:
                alert = self.alerts.get(entry.payload["alert"])
                if alert is not None and alert["state"] not in {"pending", "resolved"}:
                    alert["state"] = {"acknowledge": "acknowledged", "shelve": "shelved"}[entry.payload["action"]]

    def _set_rule(self, id_: str, body: Any, log_time: int) -> None:
        rule = Rule.parse(body) if body is not None else None
        if rule == self.rules.get(id_):
            return
        self.rules.pop(id_, None)
        if rule is not None:
            self.rules[id_] = rule
        for key in [k for k in self.tracks if k[0] == id_]:
            track = self.tracks[key]
            if key[2] or track["state"] == "pending" or rule is None:
                del self.tracks[key]
                if not key[2] and track["state"] == "pending":
                    del self.alerts[track["id"]]
                elif not key[2]:
                    track.update(state="resolved", resolved=log_time)

    def _alert(self, name: Name, reading: Reading, late: bool, old: bool) -> None:
        for rule in self.rules.values():
            if rule.metric == name[1]:
                self._drive(rule, name, reading.time, np.array([reading.value], np.float64), late, old)

    def _drive(self, rule: Rule, name: Name, time: int, value: Any, late: bool, old: bool) -> None:
        watch, key = WATCHES[rule.type], (rule.id, name, late)
        track = self.tracks.get(key)
        if late and track is not None and time < track["last"]:
            track = self.tracks.pop(key) and None
        holds, number = bool(watch.holds(rule, value)[0]), float(value[0])
        if track is None and holds:
            id_ = alert_id(rule.id, Series(0, *name, "", "", "{}"), time, late)
            track = self.tracks[key] = {"id": id_, "state": "pending", "since": time, "value": number, "peak": number}
            track.update(fired=None, resolved=None, old=old or late)
        if track is None:
            return
        pending, cleared = track["fired"] is None, bool(watch.cleared(rule, value)[0])
        if (pending and not holds) or (not pending and cleared):
            del self.tracks[key]
            if pending and not late:
                self.alerts.pop(track["id"], None)
            elif not pending:
                track.update(state="resolved", resolved=track["last"] if late else time)
            return
        track["last"] = time
        if watch.excess(rule, value)[0] > watch.excess(rule, np.array([track["peak"]]))[0]:
            track["peak"] = number
        if pending and time >= track["since"] + rule.duration * SECOND:
            track.update(state="firing", fired=time)
        if late and track["fired"] is not None:
            track.update(state="resolved", resolved=time)
        if not late or track["fired"] is not None:
            self.alerts[track["id"]] = track

    def missing(self) -> Counter[LaneOf]:
        found: Counter[LaneOf] = Counter()
        for (source, epoch, lane), seqs in self._accounted.items():
            absent = set(range(1, max(seqs, default=0) + 1)) - seqs
            found[source, lane] += sum(self._rows[source, epoch, lane][seq] for seq in absent)
        return found
