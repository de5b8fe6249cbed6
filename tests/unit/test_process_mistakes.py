"""Mistakes that systems of this kind are known to make, where they are the processor's to avoid."""

from typing import Any

import pyarrow as pa
import pytest

from sonde.changes import Changes
from sonde.errors import Retry
from sonde.process.alerting import Alerting
from tests.processor_world import HOT, World, reading, running, until


def test_mistake_14_what_raises_an_alert_is_not_lost_with_the_alert(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.rule(HOT)
    world.send(reading(35.0))

    def broken(*_: Any) -> None:
        raise TypeError("unsupported operand")

    with monkeypatch.context() as patch:
        patch.setattr(Alerting, "run", broken)
        with pytest.raises(TypeError):
            world.catch_up()
        assert world.store.load().progress == []  # nothing advanced
    world.catch_up()
    assert world.values() == [35.0]
    assert [a.state for a in world.store.alerts.values()] == ["firing"]


def test_mistake_15_redelivery_does_not_count_twice() -> None:
    world = World()
    world.send(reading(1.0), reading(2.0, 1), key=b"k" * 16)

    def lost_answer(_: Changes) -> None:
        world.store.after = lambda _: None
        raise Retry("the connection broke after the commit")

    world.store.after = lost_answer
    with pytest.raises(Retry):
        world.processor.step(0.0)
    world.send(reading(1.0), reading(2.0, 1), key=b"k" * 16)  # the client saw no answer either
    world.catch_up()
    assert world.values() == [1.0, 2.0]
    (line,) = world.store.ledger.values()
    assert (line.stored, line.duplicate, line.declared) == (2, 2, 2)
    assert world.store.windows["count"].to_pylist() == [2, 2]
    assert world.measured("processor_duplicate_readings_total") == 2


def test_mistake_15_a_crash_between_identities_and_commit_loses_nothing() -> None:
    world = World()
    world.send(reading(1.0, event_id="e1"), reading(2.0, 1), key=b"k" * 16)

    def crash(_: Changes) -> None:
        raise KeyboardInterrupt

    world.store.before = crash
    with pytest.raises(KeyboardInterrupt):
        world.processor.step(0.0)
    world.store.before = lambda _: None
    world.processor = world.another()
    world.catch_up()
    assert world.values() == [1.0, 2.0]


def test_mistake_16_an_unexpected_error_skips_nothing() -> None:
    world = World()
    world.send(reading(1.0))
    world.send(reading(2.0, 1))
    failures = 3

    def fail(_: Changes) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise ZeroDivisionError("a mistake of ours")

    world.store.before = fail
    seen: list[str | None] = []
    with running(world.processor):
        until(lambda: seen.append(world.processor.problem) or len(world.values()) == 2)  # type: ignore[func-returns-value]
        until(lambda: world.processor.problem is None)
    assert any(problem and "ZeroDivisionError" in problem for problem in seen)
    assert world.values() == [1.0, 2.0]


def test_mistake_17_sites_and_zones_do_not_mix() -> None:
    world = World()
    world.send(*(reading(v, site="S", zone=z) for z, v in [("a", 1.0), ("b", 100.0), ("a", 3.0)]))
    world.catch_up()
    widths = world.store.windows.filter(pa.compute.equal(world.store.windows["width"], 300))
    sums = {
        world.store.series[s].zone: n
        for s, n in zip(*widths.select(["series", "sum"]).to_pydict().values(), strict=True)
    }
    assert sums == {"a": 4.0, "b": 100.0}


def test_mistake_22_equal_timestamps_are_both_kept() -> None:
    world = World()
    world.send(reading(1.0), reading(2.0))
    world.send(reading(3.0))
    world.catch_up()
    assert sorted(world.values()) == [1.0, 2.0, 3.0]
    assert world.store.windows["last"].to_pylist() == [3.0, 3.0]
    assert world.store.windows["count"].to_pylist() == [3, 3]


def test_mistake_23_a_window_is_there_as_it_fills_and_stays_when_its_device_goes_quiet() -> None:
    world = World()
    world.send(reading(1.0, 10))
    world.catch_up()
    assert world.store.windows["count"].to_pylist() == [1, 1]
    world.send(reading(5.0, 7200, device="other"))  # hours later only another one speaks
    world.catch_up()
    first = [r for r in world.store.windows.to_pylist() if world.store.series[r["series"]].device == "d"]
    assert [(r["width"], r["count"], r["sum"]) for r in first] == [(300, 1, 1.0), (900, 1, 1.0)]
