"""The road from the log to the store, simulated: random frames and random faults, compared with a slow computation.

Each scenario follows from its seed; a failure names it. ``PlainStore`` holds what was committed.
"""

import hashlib
import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from sonde.alert import RETROACTIVE_AFTER, alert_id
from sonde.changes import Changes, Mark, Series
from sonde.clock import SECOND
from sonde.entry import Body, Entry, EntryKind, Lane
from sonde.errors import Retry
from sonde.frame import Codec, Opener, Sealer
from sonde.keyring import KeyRing
from sonde.log.memory import MemoryLog
from sonde.process.processor import Processor
from sonde.process.rebuild import rebuild
from sonde.reading import Batch, Reading
from sonde.rule import WATCHES, Rule
from sonde.testing.plain_store import PlainIdentities, PlainStore

T0 = 1_767_225_600_000_000
WIDTHS = (60, 300)
SETTINGS = {"windows": list(WIDTHS)}
RULES = (
    Rule(id="high", metric="co2", type="above", threshold=1000.0),
    Rule(id="long", metric="co2", type="above", threshold=1000.0, duration=20.0, clear=900.0),
    Rule(id="band", metric="temperature", type="outside", threshold=10.0, upper=30.0, duration=10.0, clear=2.0),
)
VALUES = {"co2": (600.0, 899.0, 950.0, 1001.0, 1200.0), "temperature": (5.0, 11.0, 20.0, 29.0, 31.0)}
Name = tuple[str, str]  # device, metric
LaneOf = tuple[str, int]
StreamName = tuple[str, str, int]


def digest(readings: list[Reading]) -> bytes:
    return hashlib.sha256(msgspec.msgpack.encode([(r.device, r.metric, r.time, r.value) for r in readings])).digest()[
        :16
    ]


@dataclass
class Message:
    """An entry with its readings."""

    entry: Entry
    readings: list[Reading] = field(default_factory=list)


@dataclass
class Sender:
    """A node: it knows what it really sent."""

    name: StreamName
    sent: dict[int, Message] = field(default_factory=dict)
    withheld: list[int] = field(default_factory=list)
    count: int = 0


class Scenario:
    """Random frames: what nodes, anonymous senders and people send, at their best and at their worst."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = T0
        self.senders = [Sender((f"node-{n}", "e1", lane)) for n in (1, 2) for lane in (Lane.LIVE, Lane.BACKLOG)]
        self.requests: list[Message] = []
        self.events = 0
        self.loud: list[tuple[Name, int]] = []
        self.frames: list[tuple[int, list[Message]]] = []  # log time; no messages: poison

    def reading(self, event_id: str | None = None) -> Reading:
        metric = self.random.choice(list(VALUES))
        device = f"device-{self.random.randint(1, 3)}"
        old = self.random.choice([0, 0, 0, 0, 0, 30, 200, 1500]) * SECOND
        time = self.now - old + self.random.randint(-3, 3) * SECOND
        value = self.random.choice(VALUES[metric])
        self.loud.append(((device, metric), time))
        return Reading(device=device, metric=metric, time=time, value=value, event_id=event_id)

    def readings(self) -> list[Reading]:
        return [self.reading() for _ in range(self.random.randint(1, 6))]

    def next_entry(self, sender: Sender) -> Message:
        readings, seq = self.readings(), len(sender.sent) + 1
        sender.count += len(readings)
        source, epoch, lane = sender.name
        kind = EntryKind.READINGS
        entry = Entry(kind, source, len(readings), digest(readings), b"", lane, epoch, seq, sender.count)
        sender.sent[seq] = Message(entry, readings)
        return sender.sent[seq]

    def from_node(self) -> list[Message]:
        sender = self.random.choice(self.senders)
        match self.random.randint(0, 9):
            case 0 if sender.sent:  # again
                return [self.random.choice(list(sender.sent.values()))]
            case 1:  # something is held back, and something after it arrives
                for _ in range(self.random.randint(1, 3)):
                    sender.withheld.append(self.next_entry(sender).entry.seq)
                return [self.next_entry(sender)]
            case 2 if sender.withheld:  # it comes late, in any order
                at = self.random.randrange(len(sender.withheld))
                return [sender.sent[sender.withheld.pop(at)]]
            case 3:  # dropped: a tombstone comes, over things that came and things that did not
                return [self.tombstone(sender)]
            case 4 if sender.sent:  # a cloned disk
                twin = self.random.choice(list(sender.sent.values()))
                readings = [self.reading() for _ in twin.readings]
                return [Message(msgspec.structs.replace(twin.entry, digest=digest(readings)), readings)]
        return [self.next_entry(sender) for _ in range(self.random.randint(1, 2))]

    def tombstone(self, sender: Sender) -> Message:
        ahead = self.random.randint(0, 2)
        for _ in range(ahead):
            self.next_entry(sender)
        last = len(sender.sent) - (0 if ahead else self.random.randint(0, 2))
        first = max(1, last - self.random.randint(0, 4))
        if last < 1:
            return self.next_entry(sender)
        covered = [len(sender.sent[seq].readings) for seq in range(first, last + 1)]
        reason = self.random.choice(["dropped", "refused: 422"])
        payload = {"until": last, "readings": sum(covered), "reason": reason}
        source, epoch, lane = sender.name
        count = sender.sent[last].entry.count
        return Message(Entry(EntryKind.TOMBSTONE, source, 0, b"t" * 16, b"", lane, epoch, first, count, payload))

    def anonymous(self) -> list[Message]:
        match self.random.randint(0, 4):
            case 0 if self.requests:  # again
                return [self.random.choice(self.requests)]
            case 1 if self.requests:  # the key of another request
                readings = self.readings()
                key = self.random.choice(self.requests).entry.key
                return [Message(Entry(EntryKind.READINGS, "web", len(readings), digest(readings), key), readings)]
            case 2:  # no identity but that of its readings
                self.events += 2
                ids = [f"event-{self.random.randint(max(0, self.events - 12), self.events)}" for _ in range(3)]
                readings = [self.reading(i) for i in ids] + [self.reading()]
                return [Message(Entry(EntryKind.READINGS, "web", len(readings), digest(readings)), readings)]
        readings = self.readings()
        key = self.random.randbytes(16)
        message = Message(Entry(EntryKind.READINGS, "web", len(readings), digest(readings), key), readings)
        self.requests.append(message)
        return [message]

    def words(self) -> list[Message]:
        """What is not readings."""
        rule = self.random.choice(RULES)
        match self.random.randint(0, 5):
            case 0:
                return [Message(Entry(EntryKind.RULE, "api", payload={"id": rule.id, "rule": None}))]
            case 1:
                body = {**rule.body(), "threshold": rule.threshold + self.random.choice([-5.0, 0.0])}
                return [Message(Entry(EntryKind.RULE, "api", payload={"id": rule.id, "rule": body}))]
            case 2 | 3:
                (device, metric), time = self.random.choice(self.loud or [(("device-1", "co2"), T0)])
                id_ = alert_id(rule.id, Series(0, device, metric, "", "", "{}"), time, late=False)
                action = self.random.choice(["acknowledge", "shelve"])
                return [Message(Entry(EntryKind.ACKNOWLEDGEMENT, "api", payload={"alert": id_, "action": action}))]
            case 4:
                limits = {"min": 0.0, "max": self.random.choice([950.0, 1100.0])}
                payload = {"device": "device-1", "metrics": {"co2": limits}}
                return [Message(Entry(EntryKind.PROFILE, "node-1", payload=payload))]
        refused = {"too old": self.random.randint(1, 5)}
        return [Message(Entry(EntryKind.COUNTERS, "web", payload={"refused": refused}))]

    def frame(self) -> tuple[int, list[Message]]:
        self.now += self.random.choice([1, 1, 1, 5, 40]) * SECOND
        messages: list[Message] = []
        if not self.frames:
            messages = [Message(Entry(EntryKind.SETTINGS, "sink", payload=SETTINGS))]
            messages += [Message(Entry(EntryKind.RULE, "sink", payload={"id": r.id, "rule": r.body()})) for r in RULES]
        elif self.random.random() > 0.03:
            for _ in range(self.random.randint(1, 4)):
                make = self.random.choices([self.from_node, self.anonymous, self.words], [6, 3, 1])[0]
                messages += make()
        self.frames.append((self.now, messages))
        return self.frames[-1]


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


class Road:
    """A log, a store and a processor that fails in every way it can."""

    def __init__(self, seed: int) -> None:
        self.scenario, self.slowly = Scenario(seed), Slowly()
        self.random = random.Random(seed + 1)
        self.log, self.ring = MemoryLog(), KeyRing.generate()
        self.sealer = Sealer(self.ring, self.random.choice([Codec.AES_GCM, Codec.PLAIN]))
        self.store, self.identities = PlainStore(), PlainIdentities()
        self.store.before = self.store.after = self._fault
        self.faults: Counter[str] = Counter()
        self.poison = 0
        self.processor = self._processor()

    def _fault(self, _: Changes) -> None:
        match self.random.randint(0, 30):
            case 0:
                self.faults["retry"] += 1
                raise Retry("the disk is full")
            case 1:
                self.faults["crash"] += 1
                raise RuntimeError("pulled the plug")

    def _processor(self) -> Processor:
        most = self.random.choice([1, 7, 40, 10_000])
        return Processor(self.log, self.store, self.identities, Opener(self.ring), linger=0.0, max_readings=most)

    def write(self) -> None:
        log_time, messages = self.scenario.frame()
        if messages:
            rows = [r for m in messages for r in m.readings]
            body = Body([m.entry for m in messages], Batch.of(rows) if rows else None)
            self.log.append(0, [self.sealer.seal(body, log_time)])
        else:
            self.poison += 1
            self.log.append(0, [self.sealer.seal_encoded(b"no body", 1, 5, log_time)])
        self.slowly.frame(log_time, messages, self.scenario.senders)

    def step(self) -> bool:
        """One step that may fail; now and then another processor takes over."""
        zombie = self.processor
        try:
            if self.random.random() < 0.1:
                self.processor = self._processor()
                moved = self.processor.step(0.0)
                self.faults["overtaken"] += moved and not zombie.step(0.0)
                return True
            return self.processor.step(0.0)
        except (Retry, RuntimeError):
            if self.random.random() < 0.5:
                self.processor = self._processor()
            return True

    def go(self, frames: int) -> None:
        for _ in range(frames):
            self.write()
            if self.random.random() < 0.6:
                self.step()
        end = self.log.ends()[0][1]
        while self.step() or self.processor.position < end:
            assert self.processor.position <= end


def rows_of(store: PlainStore) -> list[tuple[Any, ...]]:
    table = store.table()
    names = [store.series[s][1:3] for s in table["series"].to_pylist()]
    times = table["time"].cast(pa.int64()).to_pylist()
    rest = zip(times, table["value"].to_pylist(), table["quality"].to_pylist(), strict=True)
    return sorted((*name, *more) for name, more in zip(names, rest, strict=True))


def windows_of(readings: list[tuple[Any, ...]]) -> dict[Any, list[float]]:
    windows: dict[Any, list[float]] = {}
    for device, metric, time, value, _ in readings:
        for width in WIDTHS:
            seen = windows.setdefault((device, metric, width, time // (width * SECOND)), [])
            seen.append(value)
    return {key: [len(v), sum(v), min(v), max(v)] for key, v in windows.items()}


def check_readings_and_windows(store: PlainStore, slowly: Slowly) -> None:
    assert rows_of(store) == sorted(slowly.readings)  # I1, I2
    found = {}
    for row in store.windows.set_column(2, "start", store.windows["start"].cast(pa.int64())).to_pylist():
        device, metric = store.series[row["series"]][1:3]
        key = (device, metric, row["width"], row["start"] // (row["width"] * SECOND))
        found[key] = [row["count"], pytest.approx(row["sum"]), row["min"], row["max"]]
    assert found == windows_of(slowly.readings)  # I3


def check_alerts(store: PlainStore, slowly: Slowly) -> None:
    found = {
        a.id: (a.state, a.since, a.value, a.peak, a.fired_at, a.resolved_at, a.retroactive)
        for a in store.alerts.values()
        if not a.id.startswith("late-")
    }
    columns = ("state", "since", "value", "peak", "fired", "resolved", "old")
    assert found == {a["id"]: tuple(a[c] for c in columns) for a in slowly.alerts.values()}  # I3


def check_ledger(store: PlainStore, slowly: Slowly, poison: int) -> None:
    missing = slowly.missing()
    for key, line in store.ledger.items():
        if key == ("", 0):
            assert line.set_aside == line.conflicting == 5 * poison
            continue
        expected = {c: n for c, n in slowly.ledger[key].items() if n}
        assert {c: getattr(line, c) for c in expected} == expected, key
        sent = line.declared + line.duplicate + line.conflicting
        accounted = line.stored + line.duplicate + line.refused + line.set_aside + line.lost
        assert sent == accounted + missing[key], key  # I5
    for (source, lane), readings in missing.items():
        streams = [s for s in store.streams.values() if (s.source, s.lane) == (source, lane)]
        assert sum(hole[2] for s in streams for hole in s.holes) == readings


def marks_of(store: PlainStore) -> list[Mark]:
    return sorted(store.marks, key=lambda m: (m.offset, m.entry, m.first_seq, m.detail))


def check_rebuilt(road: Road) -> None:
    """A rebuild, in steps of another size, gives the same."""
    again = PlainStore()
    offset = rebuild(road.log, again, road.identities, Opener(road.ring), lambda at, end: None)
    assert offset == road.log.ends()[0][1]
    assert rows_of(again) == rows_of(road.store)
    assert again.series == road.store.series
    assert again.latest == road.store.latest
    assert again.alerts == road.store.alerts
    assert again.streams == road.store.streams
    assert again.ledger == road.store.ledger
    assert again.definitions == road.store.definitions
    assert marks_of(again) == marks_of(road.store)


def simulate(seed: int, frames: int) -> Road:
    road = Road(seed)
    try:
        road.go(frames)
        check_readings_and_windows(road.store, road.slowly)
        check_alerts(road.store, road.slowly)
        check_ledger(road.store, road.slowly, road.poison)
        check_rebuilt(road)
    except BaseException:
        print(f"the scenario that failed has seed {seed}")
        raise
    return road


def struck(roads: list[Road]) -> Counter[str]:
    """What happened in all scenarios together: a run in which nothing did proves nothing."""
    total: Counter[str] = Counter()
    for road in roads:
        total += road.faults
        for line in road.slowly.ledger.values():
            total += line
        total["retroactive"] += sum(a.retroactive for a in road.store.alerts.values())
        total["alerts"] += len(road.store.alerts)
        total["holes"] += sum(len(s.holes) for s in road.store.streams.values())
    return total


def test_readings_windows_alerts_and_ledger_are_those_of_a_slow_computation() -> None:
    total = struck([simulate(seed, 40) for seed in range(30)])
    for what in (
        "retry",
        "crash",
        "overtaken",
        "duplicate",
        "conflicting",
        "lost",
        "refused",
        "late",
        "alerts",
        "holes",
    ):
        assert total[what], what


@pytest.mark.all
def test_many_more_scenarios_with_a_fresh_seed() -> None:
    first = random.SystemRandom().randrange(1 << 40)
    for seed in range(first, first + 300):
        simulate(seed, 60)
