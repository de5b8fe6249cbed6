"""Anchors of the audit trail go into the log whenever it has grown, and again when the log could not be written."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from sonde.assemble.anchors import Anchoring
from sonde.audit import act
from sonde.clock import SystemClock
from sonde.control.audit import MemoryAuditTrail
from sonde.entry import Entry, EntryKind
from sonde.errors import Retry


class Notebook:
    """A journal that may be told to fail."""

    def __init__(self) -> None:
        self.failing = False
        self.noted: list[Any] = []

    async def record(self, entries: Sequence[Entry], partition: int | None = None) -> Mapping[int, int]:
        if self.failing:
            raise Retry("the disk is full")
        assert [entry.kind for entry in entries] == [EntryKind.AUDIT]
        self.noted += [(entry.payload["number"], bytes.fromhex(entry.payload["hash"])) for entry in entries]
        return {0: 0}


class Patient(SystemClock):
    """Seconds are added by hand."""

    seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def test_each_new_head_is_noted_once(loop: asyncio.AbstractEventLoop) -> None:
    trail, journal, clock = MemoryAuditTrail(), Notebook(), Patient()
    anchoring = Anchoring(trail, journal, loop, clock)
    heads = []

    def look() -> None:
        anchoring.look()
        loop.run_until_complete(asyncio.sleep(0.001))
        anchoring.look()

    look()
    assert journal.noted == [], "nothing was done yet"
    for _ in range(3):
        trail.write(act(1, "alice", "purge"))
        heads.append(trail.head())
        look()
    assert journal.noted == heads
    clock.seconds += 86_401
    look()
    assert journal.noted == [*heads, heads[-1]], "again after a day, since the log may be cut"


def test_a_log_that_cannot_be_written_is_tried_again(loop: asyncio.AbstractEventLoop) -> None:
    trail, journal = MemoryAuditTrail(), Notebook()
    anchoring = Anchoring(trail, journal, loop, Patient())
    trail.write(act(1, "alice", "purge"))
    journal.failing = True
    for _ in range(3):
        anchoring.look()
        loop.run_until_complete(asyncio.sleep(0.001))
    journal.failing = False
    for _ in range(3):
        anchoring.look()
        loop.run_until_complete(asyncio.sleep(0.001))
    assert journal.noted == [trail.head()]
    assert anchoring.problem == ""


@pytest.mark.parametrize("left", [0, 1, 2])
def test_acts_that_are_gone_are_a_problem_until_they_are_back(loop: asyncio.AbstractEventLoop, left: int) -> None:
    trail, journal = MemoryAuditTrail(), Notebook()
    anchoring = Anchoring(trail, journal, loop, Patient())
    for _ in range(2):
        trail.write(act(1, "alice", "purge"))
    anchoring.look()
    loop.run_until_complete(asyncio.sleep(0.001))
    anchoring.look()
    kept = trail._acts[:]
    del trail._acts[left:]
    if left == 2:
        trail._acts[-1] = (2, act(1, "mallet", "purge"), bytes(32))
    anchoring.look()
    assert "taken out" in anchoring.problem
    trail._acts[:] = kept
    anchoring.look()
    assert anchoring.problem == ""
    assert journal.noted == [trail.head()]
