"""``sonde log copy``: what an embedded log says, a log with several partitions says too, however often the copy was killed."""

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from sonde.assemble.log import copy as log_copy
from sonde.assemble.log.copy import Copied, copy_log
from sonde.changes import LedgerLine
from sonde.clock import SECOND
from sonde.config import load
from sonde.directory import DataDirectory
from sonde.entry import Body, Entry, EntryKind, Lane
from sonde.errors import Hold, InUse, Retry
from sonde.frame import HEADER_BYTES, Opener, Sealer
from sonde.keyring import KeyRing
from sonde.log.memory import MemoryLog
from sonde.log.segments import SegmentLog
from sonde.ports import Log
from sonde.process.processor import Processor
from sonde.reading import Batch, Reading
from sonde.testing.plain_store import PlainIdentities, PlainStore
from tests.processor_world import T0, QuickClock

PARTITIONS = 4
Told = Counter[tuple[object, ...]]


class Installation:
    """An embedded log in a data directory, with traffic of every kind."""

    def __init__(self, path: Path) -> None:
        self.directory = DataDirectory.create(path)
        self.ring = KeyRing.generate("key-1")
        self.ring.save(self.directory.keys)
        self.now = T0
        self._counts: Counter[tuple[str, int]] = Counter()
        self._seqs: Counter[tuple[str, int]] = Counter()

    def fill(self, frames: int, seed: int = 1) -> None:
        """So many frames more; the log is closed again."""
        dice = random.Random(seed)
        log = SegmentLog(self.directory.log, segment_bytes=64 << 10)
        sealer = Sealer(self.ring)
        for number in range(frames):
            self.now += dice.choice((SECOND // 10, SECOND, 7 * SECOND, 20 * SECOND))
            groups = [self._some(dice, number) for _ in range(dice.randrange(1, 5))]
            rows = [row for _, readings in groups for row in readings]
            body = Body([entry for entry, _ in groups], Batch.of(rows) if rows else None)
            log.append(0, [sealer.seal(body, self.now)])
        log.close()

    def _some(self, dice: random.Random, number: int) -> tuple[Entry, Sequence[Reading]]:
        kind = dice.choice(("node", "node", "node", "web", "web", "again", "other", "tombstone"))
        if kind == "node":
            readings = self._readings(dice, f"node-{dice.randrange(6)}")
            return self._of_stream(
                readings[0].device.split(".")[0], dice.choice((Lane.LIVE, Lane.BACKLOG)), readings
            ), readings
        if kind == "tombstone":
            return self._tombstone(f"node-{dice.randrange(6)}", dice.randrange(1, 9)), ()
        if kind == "other":
            return self._other(dice, number), ()
        readings = [r for _ in range(3) for r in self._readings(dice, f"web-{dice.randrange(9)}")]
        if kind == "again":  # the same request comes again and again
            readings = self._readings(random.Random(number % 7), "again")
            return Entry(
                EntryKind.READINGS, "web", len(readings), _digest(readings), b"key-%d" % (number % 7)
            ), readings
        return Entry(EntryKind.READINGS, "web", len(readings), _digest(readings)), readings

    def _readings(self, dice: random.Random, source: str) -> list[Reading]:
        return [
            _reading(f"{source}.{dice.randrange(3)}", self.now + i, dice.randrange(40))
            for i in range(dice.randrange(1, 6))
        ]

    def _of_stream(self, node: str, lane: int, readings: Sequence[Reading]) -> Entry:
        self._seqs[node, lane] += 1
        self._counts[node, lane] += len(readings)
        return Entry(
            EntryKind.READINGS,
            node,
            len(readings),
            _digest(readings),
            lane=lane,
            epoch=f"{node}-e",
            seq=self._seqs[node, lane],
            count=self._counts[node, lane],
        )

    def _tombstone(self, node: str, lost: int) -> Entry:
        self._seqs[node, Lane.LIVE] += 1
        self._counts[node, Lane.LIVE] += lost
        seq = self._seqs[node, Lane.LIVE]
        payload = {"until": seq, "readings": lost, "reason": "the outbox was full"}
        return Entry(
            EntryKind.TOMBSTONE,
            node,
            0,
            b"t" * 16,
            lane=Lane.LIVE,
            epoch=f"{node}-e",
            seq=seq,
            count=self._counts[node, Lane.LIVE],
            payload=payload,
        )

    def _other(self, dice: random.Random, number: int) -> Entry:
        node = f"node-{dice.randrange(6)}"
        rule = {"id": "quiet", "metric": "temperature", "type": "no_data", "duration": 30.0}
        metric = {"unit": "°C", "range": [0, dice.randrange(30, 40)]}
        profile = {"device": f"{node}.0", "metrics": {"temperature": metric}}
        self._seqs[node, Lane.CONTROL] += 1
        return dice.choice(
            (
                Entry(EntryKind.COUNTERS, "web", key=dice.randbytes(16), payload={"refused": {"invalid": number}}),
                Entry(EntryKind.RULE, "api", payload={"id": "quiet", "rule": dice.choice((rule, None))}),
                Entry(EntryKind.TICK),
                Entry(EntryKind.AUDIT, "audit", payload={"number": 1, "hash": "00"}),
                Entry(
                    EntryKind.PROFILE, node, 0, dice.randbytes(16), lane=Lane.CONTROL, epoch=f"{node}-c",
                    seq=self._seqs[node, Lane.CONTROL], payload=profile,
                ),
                Entry(EntryKind.PURGE, "api", payload={"device": "web-1.*", "metric": None, "before": self.now - 60 * SECOND}),
            )
        )  # fmt: skip


def _reading(device: str, time_: int, value: int) -> Reading:
    return Reading(device=device, metric="temperature", time=time_, value=float(value))


def _digest(readings: Sequence[Reading]) -> bytes:
    return msgspec.msgpack.encode([r.value for r in readings])[:16].ljust(16, b".")


def copy(installation: Installation, target: Log, **more: bool) -> Copied:
    return copy_log(
        installation.directory,
        load().settled(),
        installation.ring,
        target,
        lambda done, total: None,
        clock=QuickClock(),
        **more,
    )


def processed(log: Log, ring: KeyRing) -> tuple[dict[tuple[str, int], LedgerLine], Told]:
    """The ledger and the readings by the names of their series, of all partitions."""
    ledger: dict[tuple[str, int], LedgerLine] = {}
    told: Told = Counter()
    for partition in log.ends():
        store = PlainStore()
        processor = Processor(
            log, store, PlainIdentities(), Opener(ring), partition=partition, linger=0.0, clock=QuickClock()
        )
        while processor.step(0.0):
            pass
        for key, line in store.ledger.items():
            known = ledger.get(key, LedgerLine(*key))
            ledger[key] = LedgerLine(
                *key, *(getattr(known, name) + getattr(line, name) for name in LedgerLine.__struct_fields__[2:])
            )
        for row in store.table().to_pylist():
            series = store.series[row.pop("series")]
            told[*series[1:], *row.values()] += 1
    return ledger, told


def original(installation: Installation) -> tuple[dict[tuple[str, int], LedgerLine], Told]:
    log = SegmentLog(installation.directory.log)
    try:
        return processed(log, installation.ring)
    finally:
        log.close()


def test_the_copy_says_what_the_log_says(tmp_path: Path) -> None:
    installation = Installation(tmp_path / "data")
    installation.fill(300)
    target = MemoryLog(PARTITIONS)
    made = copy(installation, target)
    wanted, readings = original(installation)
    assert processed(target, installation.ring) == (wanted, readings)
    assert made.frames == 300
    assert wanted["web", 0].duplicate > 0
    assert wanted["web", 0].refused > 0
    assert sum(line.lost for line in wanted.values()) > 0
    assert all(end > first for first, end in target.ends().values())


def test_log_times_are_kept_in_order(tmp_path: Path) -> None:
    installation = Installation(tmp_path / "data")
    installation.fill(100)
    target = MemoryLog(PARTITIONS)
    copy(installation, target)
    opener = Opener(installation.ring)
    for partition in range(PARTITIONS):
        times = [opener.open(r.frame).header.log_time for r in target.read(partition, 0, 1 << 30)]
        assert times == sorted(times)
        assert times[-1] == installation.now


def test_what_is_added_later_is_copied_by_the_next_run_and_nothing_twice(tmp_path: Path) -> None:
    installation = Installation(tmp_path / "data")
    target = MemoryLog(PARTITIONS)
    for seed in range(3):
        installation.fill(40, seed)
        assert copy(installation, target).frames == 40
        ends = target.ends()
        assert copy(installation, target).frames == 0
        assert target.ends() == ends
    assert processed(target, installation.ring) == original(installation)


def test_a_lost_file_of_its_progress_only_costs_time(tmp_path: Path) -> None:
    installation = Installation(tmp_path / "data")
    target = MemoryLog(PARTITIONS)
    installation.fill(60)
    copy(installation, target)
    ends = target.ends()
    for file in (installation.directory.path / "copy").iterdir():
        file.unlink()
    copy(installation, target)
    assert target.ends() == ends
    installation.fill(60, seed=9)
    copy(installation, target)
    assert processed(target, installation.ring) == original(installation)


class Unsteady(MemoryLog):
    """A log that fails now and then, and has some of what it failed with."""

    def __init__(self, seed: int) -> None:
        super().__init__(PARTITIONS)
        self._dice = random.Random(seed)
        self.failures = 0

    def append(self, partition: int, frames: Sequence[bytes]) -> int:
        if self._dice.random() < 0.3:
            self.failures += 1
            some = frames[: self._dice.randrange(len(frames) + 1)]
            if some:
                super().append(partition, some)
            raise Retry("the broker is away", after=0.001)
        return super().append(partition, frames)


@pytest.mark.parametrize("seed", range(4))
def test_a_target_that_fails_gets_everything_once(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sonde.assemble.log.copy._FLUSH_FRAMES", 30)
    installation = Installation(tmp_path / "data")
    installation.fill(150, seed)
    target = Unsteady(seed)
    copy(installation, target)
    assert target.failures > 3
    assert processed(target, installation.ring) == original(installation)


def test_while_a_rule_waits_for_silence_every_partition_hears_of_time(tmp_path: Path) -> None:
    """Pauses are as long in every partition as they were: else silence would begin anew, or not be noticed."""
    installation = Installation(tmp_path / "data")
    log, sealer = SegmentLog(installation.directory.log), Sealer(installation.ring)
    rule = {"id": "quiet", "metric": "temperature", "type": "no_data", "duration": 30.0}
    times = [T0, *(T0 + round(s * SECOND) for s in (1, 2, 10, 11, 12, 23, 24, 25, 34, 40, 41))]
    entries = [Entry(EntryKind.RULE, "api", payload={"id": "quiet", "rule": rule})] + [Entry(EntryKind.TICK)] * 11
    for time_, entry in zip(times, entries, strict=True):
        log.append(0, [sealer.seal(Body([entry]), time_)])
    log.close()
    target = MemoryLog(PARTITIONS)
    copy(installation, target)
    opener = Opener(installation.ring)
    for partition in range(PARTITIONS):
        heard = [opener.open(r.frame).header.log_time for r in target.read(partition, 0, 1 << 30)]
        pauses = [(a, b) for a, b in pairwise(heard) if b - a > 10 * SECOND]
        assert pauses == [(times[5], times[6])]
        assert heard[-1] == times[-1]


def test_a_source_in_use_a_foreign_target_and_a_source_without_its_beginning_are_refused(tmp_path: Path) -> None:
    installation = Installation(tmp_path / "data")
    installation.fill(10)
    lock = installation.directory.lock()
    with pytest.raises(InUse, match="in use"):
        copy(installation, MemoryLog(PARTITIONS))
    lock.release()
    foreign = MemoryLog(PARTITIONS)
    foreign.append(2, [Sealer(installation.ring).seal(Body([Entry(EntryKind.TICK)]), T0)])
    with pytest.raises(Hold, match="no copy of this log"):
        copy(installation, foreign)
    assert foreign.ends()[0] == (0, 0)
    other = Installation(tmp_path / "other")
    other.ring = installation.ring
    other.fill(10)
    target = MemoryLog(PARTITIONS)
    copy(other, target)
    with pytest.raises(Hold, match="no copy of this log"):
        copy(installation, target)


def test_what_is_damaged_is_left_behind_and_said(tmp_path: Path) -> None:
    installation = Installation(tmp_path / "data")
    for seed in range(3):
        installation.fill(40, seed)  # a segment each time
    segments = sorted(installation.directory.log.rglob("*.seg"))
    assert len(segments) > 1
    data = bytearray(segments[0].read_bytes())
    data[data.index(b"SNDE", len(data) // 2) + HEADER_BYTES + 9] ^= 0xFF  # in the body of a frame
    segments[0].write_bytes(data)
    target = MemoryLog(PARTITIONS)
    made = copy(installation, target)
    assert len(made.unread) == 1
    assert str(segments[0]) in made.unread[0]
    assert 100 < made.frames < 120
    readings = processed(target, installation.ring)[1]
    assert readings == original(installation)[1]


def test_a_source_without_its_beginning_is_copied_only_if_that_is_wanted(tmp_path: Path) -> None:
    installation = Installation(tmp_path / "data")
    for seed in range(3):
        installation.fill(40, seed)
    segments = sorted(installation.directory.log.rglob("*.seg"))
    for ending in (".seg", ".idx"):
        segments[0].with_suffix(ending).unlink(missing_ok=True)
    target = MemoryLog(PARTITIONS)
    with pytest.raises(Hold, match="was let go"):
        copy(installation, target)
    assert all(end == 0 for _, end in target.ends().values())
    assert copy(installation, target, partial=True).frames == 120 - int(segments[1].stem)
    assert copy(installation, target, partial=True).frames == 0


@pytest.mark.parametrize("rounds", [3, pytest.param(15, marks=pytest.mark.all)])
def test_killed_at_any_moment_it_goes_on_and_nothing_comes_twice(tmp_path: Path, rounds: int) -> None:
    installation = Installation(tmp_path / "data")
    installation.fill(400)
    dice = random.Random(rounds)
    code = f"import sys; sys.path[:0] = {sys.path!r}; from tests.crash.test_log_copy import victim; victim()"
    arguments = [sys.executable, "-c", code, str(installation.directory.path), str(tmp_path / "target")]
    struck = 0
    for _ in range(rounds):
        with subprocess.Popen(arguments, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(dice.random() / 3)  # the moment of the kill is what varies here
            child.kill()
            struck += child.wait() == -9
    with subprocess.Popen(arguments) as child:
        assert child.wait() == 0
    assert struck
    target = SegmentLog(tmp_path / "target", partitions=PARTITIONS)
    try:
        assert processed(target, installation.ring) == original(installation)
    finally:
        target.close()


def victim() -> None:
    """Copy, in many small steps."""
    log_copy._FLUSH_FRAMES = 5  # type: ignore[misc]
    directory = DataDirectory.open(Path(sys.argv[1]))
    target = SegmentLog(Path(sys.argv[2]), partitions=PARTITIONS)
    print("begins", flush=True)
    ring = KeyRing.load(directory.keys)
    copy_log(directory, load().settled(), ring, target, lambda done, total: None)
    target.close()
