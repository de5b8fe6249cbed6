"""Random frames, from a seed: what nodes, anonymous senders and people send, at their best and at their worst."""

import hashlib
import random
from dataclasses import dataclass, field

import msgspec

from sonde.alert import alert_id
from sonde.changes import Series
from sonde.clock import SECOND
from sonde.entry import Entry, EntryKind, Lane
from sonde.reading import Reading
from sonde.rule import Rule

T0 = 1_767_225_600_000_000
WIDTHS = (60, 300)
SETTINGS = {"windows": list(WIDTHS)}
RULES = (
    Rule(id="high", metric="co2", type="above", threshold=1000.0),
    Rule(id="long", metric="co2", type="above", threshold=1000.0, duration=20.0, clear=900.0),
    Rule(id="steep", metric="co2", type="rate", threshold=60.0, per=1.0, clear=0.0),
    Rule(id="falls", metric="temperature", type="rate", threshold=-2.0, upper=3.0, per=2.0, duration=3.0),
    Rule(id="error", metric="status", type="equals", text="error", duration=2.0),
    Rule(id="quiet", metric="temperature", type="no_data", duration=5.0),
    Rule(id="still", metric="status", type="no_data", duration=8.0),
    Rule(id="band", metric="temperature", type="outside", threshold=10.0, upper=30.0, duration=10.0, clear=2.0),
)
VALUES: dict[str, tuple[float | str, ...]] = {
    "co2": (600.0, 899.0, 950.0, 1001.0, 1200.0),
    "temperature": (5.0, 11.0, 20.0, 29.0, 31.0, "broken"),
    "status": ("ok", "error"),
}
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
        self.rooms: list[tuple[str, int]] = []  # with an alert that nobody has acknowledged
        self.frames: list[tuple[int, list[Message]]] = []  # log time; no messages: poison

    def reading(self, event_id: str | None = None) -> Reading:
        metric = self.random.choice(list(VALUES))
        device = f"device-{self.random.randint(1, 3)}"
        old = self.random.choice([0, 0, 0, 0, 0, 30, 200, 1500]) * SECOND
        time = self.now - old + self.random.randint(-3, 3) * SECOND
        value = self.random.choice(VALUES[metric])
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

    def room(self) -> Message:
        """A room of its own, in which an alert opens and stays."""
        room = f"room-{len(self.frames)}"
        self.rooms.append((room, self.now))
        readings = [Reading(device=room, metric="co2", time=self.now, value=1200.0)]
        return Message(Entry(EntryKind.READINGS, "web", 1, digest(readings)), readings)

    def acknowledgement(self) -> Message:
        room, time = self.rooms.pop()
        id_ = alert_id("high", Series(0, room, "co2", "", "", "{}"), time, late=False)
        action = self.random.choice(["acknowledge", "shelve"])
        until = self.now + self.random.randint(0, 20) * SECOND if self.random.random() < 0.5 else None
        payload = {"alert": id_, "action": action, "who": "anna", "until": until}
        return Message(Entry(EntryKind.ACKNOWLEDGEMENT, "api", payload=payload))

    def words(self) -> list[Message]:
        """What is not readings."""
        rule = self.random.choice(RULES)
        match self.random.randint(0, 5):
            case 0:
                return [Message(Entry(EntryKind.RULE, "api", payload={"id": rule.id, "rule": None}))]
            case 1:
                body = rule.body()
                if rule.threshold is not None:
                    body["threshold"] = rule.threshold - self.random.choice([5.0, 0.0])
                return [Message(Entry(EntryKind.RULE, "api", payload={"id": rule.id, "rule": body}))]
            case 2 | 3:
                return [self.acknowledgement() if self.rooms else self.room()]
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
            rules = [rule for rule in RULES if rule.id == "high" or self.random.random() < 0.6]
            messages += [Message(Entry(EntryKind.RULE, "sink", payload={"id": r.id, "rule": r.body()})) for r in rules]
        elif self.random.random() > 0.03:
            for _ in range(self.random.randint(1, 4)):
                make = self.random.choices([self.from_node, self.anonymous, self.words], [6, 3, 2])[0]
                messages += make()
        self.frames.append((self.now, messages))
        return self.frames[-1]
