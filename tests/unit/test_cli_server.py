"""What the commands know of a running server, and what a running one knows of its disk and its rules."""

import os
import subprocess
import sys
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from sonde.assemble.definitions import new_definitions
from sonde.assemble.embedded.reserve import ReservingLog
from sonde.assemble.server import announce, find_running, running, withdraw
from sonde.changes import Definition
from sonde.cli.live import NodeTable, StatusTable
from sonde.clock import SECOND
from sonde.config import load
from sonde.directory import DataDirectory
from sonde.entry import Entry, EntryKind
from sonde.errors import Hold, Retry
from sonde.log.memory import MemoryLog
from sonde.process.definitions import Definitions
from sonde.rule import BUILDING_RULES
from sonde.status import LaneStatus, Status


def test_a_server_is_found_while_it_runs(tmp_path: Path) -> None:
    directory = DataDirectory.create(tmp_path)
    assert find_running(directory) is None
    here = announce(directory, "http://127.0.0.1:1")
    assert find_running(directory) == here
    assert here.pid == os.getpid()
    withdraw(directory)
    with pytest.raises(Hold, match="sonde up"):
        running(directory)


def test_a_server_that_was_killed_is_not_taken_for_one_that_runs(tmp_path: Path) -> None:
    directory = DataDirectory.create(tmp_path)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    directory.server.write_text(f'{{"url":"http://127.0.0.1:1","pid":{ended.pid}}}')
    assert find_running(directory) is None
    directory.server.write_text("half a fi")
    assert find_running(directory) is None


def test_the_log_is_told_what_the_configuration_says_and_nothing_twice() -> None:
    settings = load().settled()
    entries = new_definitions(settings, ())
    assert entries[0].payload == {"windows": [300, 900], "future_limit": 86400.0}
    assert [entry.payload["id"] for entry in entries[1:]] == ["co2-high", "temperature-high", "humidity-high"]
    known = _defined(entries)
    assert new_definitions(settings, known) == []
    changed = load(options=["rule.co2-high.threshold=1200", "rule.humidity-high.enabled=no", "process.windows=1m"])
    again = new_definitions(changed.settled(), known)
    assert [entry.kind for entry in again] == [EntryKind.SETTINGS, EntryKind.RULE, EntryKind.RULE]
    assert again[1].payload["rule"]["threshold"] == 1200
    assert again[2].payload == {"id": "humidity-high", "rule": None}


def test_what_was_changed_through_the_api_stays_until_the_configuration_changes() -> None:
    settings = load().settled()
    entries = new_definitions(settings, ())
    edited = {**BUILDING_RULES[0].body(), "threshold": 800.0}
    api = [
        Entry(EntryKind.RULE, "api", payload={"id": "co2-high", "rule": edited, "who": "anna"}),
        Entry(EntryKind.RULE, "api", payload={"id": "humidity-high", "rule": None, "who": "anna"}),
        Entry(EntryKind.RULE, "api", payload={"id": "mine", "rule": {**edited, "id": "mine"}, "who": "anna"}),
    ]
    known = _defined([*entries, *api])
    assert new_definitions(settings, known) == []
    changed = load(options=["rule.co2-high.threshold=1200"]).settled()
    (again,) = new_definitions(changed, known)
    assert again.payload["rule"]["threshold"] == 1200
    without = load(options=["rule.co2-high.enabled=no"]).settled()
    (gone,) = new_definitions(without, known)
    assert gone.payload == {"id": "co2-high", "rule": None}
    definitions = Definitions(_defined([*entries, *api, gone]))
    assert set(definitions.rules) == {"temperature-high", "mine"}
    assert new_definitions(without, _defined([*entries, *api, gone])) == []


def _defined(entries: Sequence[Entry]) -> list[Definition]:
    """What a store knows after these entries."""
    definitions, known = Definitions(), {}
    for entry in entries:
        known.update({(d.kind, d.name): d for d in definitions.apply(entry, 0)})
    return [definition for definition in known.values() if definition.body is not None]


def test_a_log_with_too_little_disk_takes_nothing_and_says_why(tmp_path: Path) -> None:
    full = ReservingLog(MemoryLog(), tmp_path, reserve=1 << 60)
    with pytest.raises(Retry, match="the disk is full"):
        full.append(0, [b"x"])
    assert "kept in reserve" in full.problem
    assert ReservingLog(MemoryLog(), tmp_path, reserve=0).problem == ""


def test_the_table_shows_what_matters() -> None:
    before = Status(now=0)
    now = Status(
        now=2 * SECOND,
        received=2000,
        durable=2000,
        stored=1900,
        duplicate=5,
        refused=1,
        log_end=9,
        stored_offset=8,
        lag_seconds=3.0,
        last_durable=2 * SECOND,
        series=12,
        alerts_firing=1,
        disk_free=10**11,
        outbox=(LaneStatus("live", 0, 0, None, 0), LaneStatus("backlog", 77, 1, 0, 2)),
        sensors={"host": "running"},
        problems=("the disk is slow",),
    )
    for table, expected in (
        (
            StatusTable(),
            [
                "2,000   1,000/s",
                "5 duplicate, 1 refused",
                "3 s behind",
                "1 firing",
                "100 GB free",
                "backlog 77 (2 refused)",
            ],
        ),
        (NodeTable(), ["measured", "confirmed", "host running", "! the disk is slow"]),
    ):
        out = StringIO()
        console = Console(file=out, width=100)
        table.draw(before)
        console.print(table.draw(now))
        for text in expected:
            assert text in out.getvalue()
