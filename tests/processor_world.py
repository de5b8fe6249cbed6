"""A log, a store, and a processor between them: what tests of the processor stand on."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from sonde.clock import SECOND, SystemClock
from sonde.entry import Body, Entry, EntryKind, Lane
from sonde.errors import Damaged
from sonde.frame import Opener, Sealer
from sonde.keyring import KeyRing
from sonde.log.memory import MemoryLog
from sonde.metrics import Metrics
from sonde.ports import Record
from sonde.process.processor import Processor
from sonde.reading import Batch, Reading
from sonde.routing import partition_of
from sonde.rule import Rule
from sonde.testing.plain_store import PlainIdentities, PlainStore

T0 = 1_767_225_600_000_000
HOT = Rule(id="hot", metric="temperature", type="above", threshold=30.0)


class QuickClock(SystemClock):
    """Does not wait long."""

    def wait(self, signal: threading.Event, seconds: float) -> bool:
        return signal.wait(min(seconds, 0.002))


class TornLog(MemoryLog):
    """A log of which some frames cannot be read any more."""

    lost: tuple[int, int] = (0, 0)  # from, up to

    def read(self, partition: int, offset: int, limit_bytes: int, wait: float = 0.0) -> Sequence[Record]:
        first, end = self.lost
        if first <= offset < end:
            raise Damaged("a frame is torn", file="00000.segment", offset=77, next_offset=end)
        found = super().read(partition, offset, limit_bytes, wait)
        return [r for r in found if offset >= end or r.offset < first]


class World:
    """A log with its keys, a store, and a processor between them; one for each partition."""

    def __init__(self, log: MemoryLog | None = None) -> None:
        self.log = log or MemoryLog()
        self.ring = KeyRing.generate("key-1")
        self.sealers = [Sealer(self.ring) for _ in self.log.ends()]
        self.sealer = self.sealers[0]
        self.store, self.identities = PlainStore(), PlainIdentities()
        self.metrics = Metrics()
        self.processors = [self.another(partition=partition) for partition in self.log.ends()]
        self.processor = self.processors[0]
        self.now = T0

    def another(self, ring: KeyRing | None = None, **settings: Any) -> Processor:
        opener = Opener(ring or self.ring)
        settings = {"linger": 0.0, "clock": QuickClock(), "metrics": self.metrics, **settings}
        return Processor(self.log, self.store, self.identities, opener, **settings)

    def write(self, *entries: Entry, readings: Sequence[Reading] = (), partition: int = 0) -> None:
        self.now += SECOND
        body = Body(entries, Batch.of(readings) if readings else None)
        sealer = self.sealers[partition] if partition else self.sealer
        self.log.append(partition, [sealer.seal(body, self.now)])

    def send(self, *readings: Reading, key: bytes = b"", source: str = "web", lane: int = Lane.DIRECT) -> None:
        digest = msgspec.msgpack.encode([r.value for r in readings])[:16].ljust(16, b".")
        entry = Entry(EntryKind.READINGS, source, len(readings), digest, key, lane)
        self.write(entry, readings=readings, partition=partition_of(readings[0].device, len(self.sealers)))

    def rule(self, rule: Rule) -> None:
        self.write(Entry(EntryKind.RULE, "api", payload={"id": rule.id, "rule": rule.body()}))

    def catch_up(self) -> None:
        while any(processor.step(0.0) for processor in (self.processor, *self.processors[1:])):
            pass

    def values(self) -> list[Any]:
        return list(self.store.table()["value"].to_pylist())

    def measured(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"sonde_{name}", labels)


def reading(value: Any, seconds: float = 0, **more: Any) -> Reading:
    return Reading(
        **{"device": "d", "metric": "temperature", "time": T0 + round(seconds * SECOND), "value": value, **more}
    )


@contextmanager
def running(processor: Processor) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=processor.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.001)
