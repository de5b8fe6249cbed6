"""What retention does when it looks: floors into the log, the log cut, alerts and acts forgotten, things shed in order."""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sonde.assemble.embedded.reserve import ReservingLog
from sonde.assemble.embedded.retention import Retention
from sonde.audit import act
from sonde.clock import DAY, SECOND, SystemClock
from sonde.control.audit import MemoryAuditTrail
from sonde.entry import Body, Entry
from sonde.errors import Retry
from sonde.frame import Codec, Sealer
from sonde.keyring import KeyRing
from sonde.log.segments import SegmentLog
from sonde.metrics import Metrics
from sonde.process.definitions import Definitions
from sonde.question import Alerts
from sonde.removal import Floor
from sonde.retention import Policy
from sonde.store.duckdb import DuckStore
from sonde.testing.asking import rows_of, tidy
from sonde.testing.removal_contract import SERIES, alert, step_rows
from sonde.testing.store_feed import LOG, START, Feed


@dataclass
class World:
    """A store and a log beside each other; what is recorded is in the store at once."""

    path: Path
    store: DuckStore
    log: SegmentLog
    reserving: ReservingLog
    audit: MemoryAuditTrail = field(default_factory=MemoryAuditTrail)
    metrics: Metrics = field(default_factory=Metrics)
    feed: Feed = field(default_factory=Feed)
    definitions: Definitions = field(default_factory=Definitions)

    def record(self, entries: Sequence[Entry]) -> None:
        changed = [d for entry in entries for d in self.definitions.apply(entry, START)]
        self.store.commit(self.feed.step(definitions=changed))

    def retention(self, policy: Policy) -> Retention:
        clock = SystemClock()
        return Retention(
            policy, lambda: self.store, self.log, self.reserving, self.record, self.audit, clock, self.metrics
        )

    def write(self, frames: int) -> None:
        sealer = Sealer(KeyRing.generate(), Codec.PLAIN)
        for number in range(frames):
            payload = {"refused": {secrets.token_hex(40_000): number}}
            self.log.append(0, [sealer.seal(Body([Entry(8, payload=payload)]), START + number * SECOND)])

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"sonde_{name}", labels) or 0.0


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    metrics = Metrics()
    store = DuckStore(tmp_path / "store", LOG, hot_rows=100, window_rows=50, checkpoint_seconds=0.0, metrics=metrics)
    log = SegmentLog(tmp_path / "log", segment_bytes=64 << 10)
    made = World(tmp_path, store, log, ReservingLog(log, tmp_path, 0), metrics=metrics)
    for number in range(3):
        store.commit(made.feed.step(step_rows(number), SERIES))
        tidy(store)
    yield made
    store.close()
    log.close()


def test_nothing_goes_unless_it_was_asked_for(world: World) -> None:
    world.write(6)
    world.retention(Policy()).look()
    tidy(world.store)
    assert world.store.held().floors == {}
    assert world.log.ends()[0][0] == 0
    assert world.count("log_size_bytes") > 0


def test_what_is_too_large_goes_until_it_fits_and_is_asked_for_once(world: World) -> None:
    sizes = [piece.bytes for piece in world.store.held().pieces if piece.content == "readings"]
    retention = world.retention(Policy(readings_bytes=sum(sizes) - 1))
    retention.look()
    offset = world.feed.offset
    retention.look()
    assert world.feed.offset == offset, "the floor was not asked for again"
    tidy(world.store)
    left = [piece.bytes for piece in world.store.held().pieces if piece.content == "readings"]
    assert sum(left) < sum(sizes)
    assert world.count("store_removed_readings_total", why="expired") == 150


def test_the_log_is_cut_by_size_and_age_never_above_a_checkpoint(world: World) -> None:
    world.write(12)
    safe = world.store.held().safe[0]
    world.retention(Policy(log_bytes=1)).look()
    assert 0 < world.log.ends()[0][0] <= safe
    world.retention(Policy(log=DAY)).look()  # frames of years ago
    assert 0 < world.log.ends()[0][0] <= safe
    assert world.count("log_cut_frames_total") == world.log.ends()[0][0]


def test_shedding_goes_in_order(world: World) -> None:
    world.write(12)
    retention = world.retention(Policy(shed_below=1 << 60, warn_below=1 << 60, shed=("log", "readings", "windows")))
    assert len(retention.warnings()) == 1
    retention.look()
    assert (world.count("disk_shed_total", what="log"), world.count("disk_shed_total", what="readings")) == (1, 0)
    for _ in range(30):
        retention._waiting_since = float("-inf")  # the patience for a checkpoint is over
        retention.look()
        tidy(world.store)
        world.store.commit(world.feed.step())
    assert world.count("disk_shed_total", what="readings") >= 1
    assert world.count("disk_shed_total", what="windows") >= 1
    assert world.store.held().pieces == []


def test_only_what_is_named_is_shed(world: World) -> None:
    retention = world.retention(Policy(shed_below=1 << 60, shed=("log",)))
    for _ in range(3):
        retention.look()
        tidy(world.store)
    assert world.store.held().floors == {}


def test_alerts_that_are_too_many_go_and_acts_that_are_too_old(world: World) -> None:
    resolved = [alert(f"a{n}", START + n * SECOND) for n in range(5)]
    world.store.commit(world.feed.step(alerts=[*resolved, alert("open", START, "firing")]))
    now = SystemClock().now()
    for age in (40, 20, 0):
        world.audit.write(act(now - age * DAY, "somebody", "token.create", "x"))
    world.store.commit(world.feed.step())
    retention = world.retention(Policy(alerts_most=2, audit=30 * DAY))
    retention._slowly = None
    retention.look()
    assert {row["alert_id"] for row in rows_of(world.store, Alerts())} == {"a3", "a4", "open"}


def test_what_makes_room_is_written_though_the_disk_is_nearly_full(world: World) -> None:
    log = ReservingLog(world.log, world.path, 1000)
    log.free = 600
    frame = Sealer(KeyRing.generate(), Codec.PLAIN).seal(Body([Floor("readings", 1).entry("x")]), START)
    with pytest.raises(Retry, match="the disk is full"):
        log.append(0, [frame])
    with log.sparing():
        log.append(0, [frame])
    log.free = 200
    with log.sparing(), pytest.raises(Retry, match="the disk is full"):
        log.append(0, [frame])
