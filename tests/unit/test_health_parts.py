"""The canary beside the log, and the clocks of nodes."""

from pathlib import Path

from sonde.assemble.embedded.canary import Canary
from sonde.assemble.embedded.reserve import ReservingLog
from sonde.clock import SECOND, SystemClock
from sonde.log.memory import MemoryLog
from sonde.metrics import Metrics
from sonde.transport.clocks import NodeClocks


class Clock(SystemClock):
    at = 1_000_000_000 * SECOND
    passed = 1_000.0

    def now(self) -> int:
        return self.at

    def monotonic(self) -> float:
        return self.passed


def test_a_canary_says_what_keeps_it_from_writing_and_when_it_is_over(tmp_path: Path) -> None:
    clock, metrics = Clock(), Metrics()
    canary = Canary(tmp_path / "log", ReservingLog(MemoryLog(), tmp_path, 0), clock, metrics)
    canary.look()
    assert "nothing can be written beside the log (No such file" in canary.problem
    (tmp_path / "log").mkdir()
    canary.look()
    assert canary.problem == ""
    assert metrics.registry.get_sample_value("sonde_log_proved_seconds") == 1_000_000_000


def test_a_disk_that_does_not_answer_is_a_problem_after_a_minute(tmp_path: Path) -> None:
    clock = Clock()
    log = ReservingLog(MemoryLog(), tmp_path, 0)
    canary = Canary(tmp_path, log, clock, Metrics())
    clock.passed += 59
    assert canary.problem == ""
    clock.passed += 2
    assert canary.problem == "the log's disk has not answered for 61 s"
    log.written = clock.passed
    assert canary.problem == "", "readings were written: it works"
    canary.look()
    assert not (tmp_path / "canary").exists(), "they prove it as well"


def test_the_clock_of_a_node_that_is_off_is_a_warning() -> None:
    clock, metrics = Clock(), Metrics()
    clocks = NodeClocks(clock, metrics)
    for node, seconds in (("right", -2), ("early", 3600), ("late", -90)):
        clocks.see(node, str(clock.at + seconds * SECOND).encode())
    for nonsense in (b"", b"-5", b"1e9", b"9" * 18, b"\xff"):
        clocks.see("odd", nonsense)
    assert clocks.warnings() == [
        "the clock of node early is 3,600 s ahead of this one",
        "the clock of node late is 90 s behind this one",
    ]
    assert metrics.registry.get_sample_value("sonde_node_clock_ahead_seconds", {"node": "late"}) == -90
    assert metrics.registry.get_sample_value("sonde_node_clock_ahead_seconds", {"node": "odd"}) is None
    clocks.see("late", str(clock.at).encode())
    clocks.see("early", str(clock.at).encode())
    assert clocks.warnings() == []
