"""A log of several partitions with all that is around it, simulated: sinks that fail half-way, processors that share the
partitions, are killed, and hold on to what is not theirs any more. All of it follows from a seed."""

import random
import threading
from collections import Counter
from typing import Any

import msgspec

from sonde.changes import Changes
from sonde.entry import Body, Entry, EntryKind
from sonde.errors import Retry
from sonde.frame import Opener, Sealer
from sonde.keyring import KeyRing
from sonde.log.membership import MemoryGroup, MemoryMembership
from sonde.log.memory import MemoryLog
from sonde.process.processor import Processor
from sonde.process.sharing import Sharing
from sonde.reading import Batch, Reading
from sonde.routing import CONTROL, partition_of, partition_of_lane
from sonde.testing.plain_store import PlainIdentities, PlainStore
from tests.scenario import T0, Message, Scenario
from tests.slow_road import Slowly

PARTITIONS = 4
_EVERYWHERE = {EntryKind.RULE, EntryKind.SETTINGS, EntryKind.ACKNOWLEDGEMENT}


class Hours:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> int:
        return T0 + round(self.seconds * 1e6)

    def monotonic(self) -> float:
        return self.seconds

    def wait(self, signal: threading.Event, seconds: float) -> bool:
        self.seconds += seconds
        return signal.is_set()


class Member:
    """One who processes, and its place among the others."""

    def __init__(self, town: "Town") -> None:
        self.membership: MemoryMembership = town.group.join()
        self.sharing = Sharing(self.membership, town.processor, clock=town.clock, threads=1, linger=0.0)


class Town:
    """``slowly`` works out what must be stored of each partition. With ``apart``, devices have a name of their own in each
    partition; else series may be met in several."""

    def __init__(self, seed: int, *, apart: bool) -> None:
        self.scenario = Scenario(seed)
        self.slowly = [Slowly() for _ in range(PARTITIONS)]
        self.random = random.Random(seed + 1)
        self.apart = apart
        self.clock = Hours()
        self.log, self.ring = MemoryLog(PARTITIONS), KeyRing.generate()
        self.sinks = [[Sealer(self.ring) for _ in range(PARTITIONS)] for _ in range(2)]
        self.store, self.identities = PlainStore(), PlainIdentities()
        self.store.before = self.store.after = self._fault
        self.group = MemoryGroup(range(PARTITIONS))
        self.members = [Member(self), Member(self)]
        self.faults: Counter[str] = Counter()
        self.poison = 0
        self.again: list[Message] = []
        self._taken: dict[int, int] = {}

    def processor(self, partition: int) -> Processor:
        most = self.random.choice([1, 7, 40, 10_000])
        return Processor(
            *(self.log, self.store, self.identities, Opener(self.ring)),
            partition=partition,
            clock=self.clock,
            linger=0.0,
            max_readings=most,
        )

    def go(self, frames: int) -> None:
        """Write so many frames, while things go wrong; then let all of it come to an end."""
        for _ in range(frames):
            self.write()
            for _ in range(self.random.randint(0, 4)):
                self.step()
        while any(self.stored(number) < end for number, (_, end) in self.log.ends().items()):
            self.step()

    def stored(self, partition: int) -> int:
        progress = self.store.progress.get((self.log.id, partition))
        return progress.offset if progress is not None else 0

    def step(self) -> None:
        """One member does something, or something happens to it."""
        self.clock.seconds += self.random.choice([0.01, 0.3, 5.0])
        number = self.random.randrange(len(self.members))
        member = self.members[number]
        match self.random.randint(0, 30):
            case 0:  # killed in the middle of whatever it did; another takes its place
                member.membership.close()
                self.members[number] = Member(self)
                self.faults["killed"] += 1
            case 1:  # not heard of for too long: its partitions go to others, and it does not know yet
                member.membership.close()
                member.membership = self.group.join()
                member.sharing._membership = member.membership
                self.faults["silent"] += 1
            case 2 | 3 | 4 | 5:
                member.sharing.look()
            case _:
                before = self.store.commits
                moved = member.sharing.turn()
                self.faults["idle"] += moved and self.store.commits == before

    def _fault(self, changes: Changes) -> None:
        mine = [m for m in self.members if changes.progress.partition in m.sharing.partitions]
        self.faults["two at once"] += len(mine) > 1
        match self.random.randint(0, 30):
            case 0:
                self.faults["retry"] += 1
                raise Retry("the connection was lost", after=0.1)

    def write(self) -> None:
        """What comes in one moment, each message where it belongs; some parts do not get through the first time."""
        log_time, messages = self.scenario.frame()
        if not messages:
            number = self.random.randrange(PARTITIONS)
            self.poison += 1
            self._append(number, self.random.choice(self.sinks)[number].seal_encoded(b"no body", 1, 5, log_time))
            self.slowly[number].frame(log_time, [], self.scenario.senders)
            return
        messages, self.again = [*messages, *self.again], []
        parts: dict[int, list[Message]] = {}
        for message in messages:
            for number, part in self._routed(message).items():
                parts.setdefault(number, []).append(part)
        for number, theirs in sorted(parts.items()):
            rows = [reading for message in theirs for reading in message.readings]
            body = Body([message.entry for message in theirs], Batch.of(rows) if rows else None)
            self._append(number, self.random.choice(self.sinks)[number].seal(body, log_time))
            self.slowly[number].frame(log_time, theirs, self.scenario.senders)

    def _append(self, partition: int, frame: bytes) -> None:
        self.log.append(partition, [frame])

    def _routed(self, message: Message) -> dict[int, Message]:
        entry = message.entry
        if entry.epoch:
            return self._parts(message, {partition_of_lane(entry.source, entry.lane, PARTITIONS): message.readings})
        if entry.kind in _EVERYWHERE:
            return dict.fromkeys(range(PARTITIONS), message)
        if entry.kind == EntryKind.PROFILE:
            homes = {CONTROL, *(partition_of(name, PARTITIONS) for name in (entry.source, entry.payload["device"]))}
            return self._parts(message, {home: [] for home in homes})
        if entry.kind != EntryKind.READINGS:
            return {CONTROL: message}
        split: dict[int, list[Reading]] = {}
        for reading in message.readings:
            split.setdefault(partition_of(reading.device, PARTITIONS), []).append(reading)
        if entry.key and len(split) > 1 and self.random.random() < 0.2:  # one part gets through, and all comes again
            self.again.append(message)
            self.faults["half-way"] += 1
            lost = self.random.choice(sorted(split))
            del split[lost]
        return self._parts(message, split)

    def _parts(self, message: Message, split: dict[int, list[Reading]]) -> dict[int, Message]:
        return {number: self._part(message.entry, readings, number) for number, readings in split.items()}

    def _part(self, entry: Entry, readings: list[Reading], number: int) -> Message:
        payload: Any = entry.payload
        if self.apart and entry.kind == EntryKind.PROFILE:
            payload = {**payload, "device": self._name(payload["device"], number)}
        named = [msgspec.structs.replace(r, device=self._name(r.device, number)) for r in readings]
        rows = len(named) if entry.kind == EntryKind.READINGS else entry.rows
        return Message(msgspec.structs.replace(entry, rows=rows, payload=payload), named)

    def _name(self, device: str, number: int) -> str:
        return f"{device}@{number}" if self.apart and device.startswith("device-") else device
