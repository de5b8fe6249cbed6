"""Rules over windows: judged when windows close, corrected by late data, the same after a restart and a rebuild."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonde.alert import alert_id
from sonde.changes import Alert, Series
from sonde.clock import SECOND
from sonde.entry import Body, Entry, EntryKind
from sonde.frame import Opener, Sealer
from sonde.judgement import GRACE
from sonde.keyring import KeyRing
from sonde.log.memory import MemoryLog
from sonde.process.judge import Judge
from sonde.process.processor import Processor
from sonde.process.rebuild import rebuild
from sonde.question import AlertEvents, Corrections, Sql
from sonde.reading import Batch, Reading
from sonde.rule import Rule
from sonde.store.memory import MemoryStore
from sonde.testing.plain_store import PlainIdentities
from tests.processor_world import T0, QuickClock

WIDTH = 60
STUFFY = Rule(
    id="stuffy", metric="co2", type="above", threshold=900.0, clear=800.0, window=WIDTH, of="avg", across="zone"
)


class Judged:
    """A log, a store that answers, a processor, and the owner of the rules over windows."""

    def __init__(self) -> None:
        self.log, self.ring, self.identities = MemoryLog(), KeyRing.generate(), PlainIdentities()
        self.sealer = Sealer(self.ring)
        self.now = T0
        self.store = MemoryStore(self.log.id)
        self.restart()
        self.write(Entry(EntryKind.SETTINGS, payload={"windows": [WIDTH]}))

    def restart(self) -> None:
        opener = Opener(self.ring)
        self.processor = Processor(self.log, self.store, self.identities, opener, linger=0.0, clock=QuickClock())
        self.judge = Judge(self.store, self.record)

    def record(self, entries: Sequence[Entry], partition: int | None) -> Mapping[int, int]:
        self.now += 1
        return {0: self.log.append(0, [self.sealer.seal(Body(entries), self.now)])}

    def write(self, *entries: Entry, readings: Sequence[Reading] = ()) -> None:
        body = Body(entries, Batch.of(readings) if readings else None)
        self.log.append(0, [self.sealer.seal(body, self.now)])

    def rule(self, rule: Rule | None, id_: str = "stuffy") -> None:
        body = None if rule is None else rule.body()
        self.write(Entry(EntryKind.RULE, "api", payload={"id": id_, "rule": body}))

    def send(self, *readings: Reading) -> None:
        self.write(Entry(EntryKind.READINGS, "web", len(readings)), readings=readings)

    def tick(self, seconds: float) -> None:
        self.now = T0 + round(seconds * SECOND)
        self.write(Entry(EntryKind.TICK))

    def catch_up(self) -> None:
        while self.processor.step(0.0):
            pass

    def settle(self) -> None:
        """Until there is nothing to be said any more."""
        self.catch_up()
        while self.judge.step():
            self.catch_up()

    def alerts(self) -> list[Alert]:
        sql = """select a.* replace (epoch_us(since) as since, epoch_us(fired_at) as fired_at, epoch_us(shelved_until) as
          shelved_until, epoch_us(resolved_at) as resolved_at) from store.alerts a order by since, id"""
        rows = self.store.ask(Sql(sql)).rows.to_pylist()
        return [Alert(**row) for row in rows]

    def events(self) -> list[tuple[str, str]]:
        rows = self.store.ask(AlertEvents()).rows.to_pylist()
        return [(row["alert_id"][:4], row["event"]) for row in rows]


def co2(seconds: float, value: float, device: str = "a", zone: str = "z1") -> Reading:
    return Reading(device=device, metric="co2", time=T0 + round(seconds * SECOND), value=value, site="s", zone=zone)


def seconds_of(alert: Alert) -> tuple[Any, ...]:
    times = (alert.since, alert.fired_at, alert.resolved_at)
    return (alert.state, *(None if t is None else (t - T0) // SECOND for t in times))


def test_a_zone_is_judged_when_its_window_has_closed_however_quiet_it_became() -> None:  # mistake 23
    world = Judged()
    world.rule(STUFFY)
    world.send(co2(1, 800.0, "a"), co2(2, 1100.0, "b"), co2(3, 400.0, "c", "z2"))
    world.now = T0 + 62 * SECOND
    world.send(co2(61, 700.0, "c", "z2"))
    world.settle()
    assert world.alerts() == []  # 60 s, and 5 s for those that come late
    world.tick(66)
    world.settle()
    (alert,) = world.alerts()
    assert seconds_of(alert) == ("firing", 0, 60, None)
    assert (alert.series, alert.site, alert.zone, alert.metric, alert.value) == (-1, "s", "z1", "co2", 950.0)
    assert alert.message == "avg of co2 of s z1 over 1m is 950, above 900"
    assert not alert.retroactive
    shown = world.store.ask(Sql("select device, metric, site, zone, labels from alerts")).rows.to_pylist()
    assert shown == [{"device": "", "metric": "co2", "site": "s", "zone": "z1", "labels": "{}"}]


def test_an_alert_over_a_zone_goes_on_through_a_restart_and_ends_at_its_clear_level() -> None:
    world = Judged()
    world.rule(STUFFY)
    for minute, value in enumerate((950.0, 850.0, 990.0, 790.0)):
        world.now = T0 + minute * 60 * SECOND
        world.send(co2(minute * 60 + 1, value))
        world.tick(minute * 60 + 59)
        world.restart()
        world.settle()
    world.tick(246)
    world.settle()
    (alert,) = world.alerts()
    assert seconds_of(alert) == ("resolved", 0, 60, 240)
    assert alert.peak == 990.0
    assert [event for _, event in world.events()] == ["fired", "resolved"]


def test_what_was_found_twice_counts_once() -> None:
    world = Judged()
    world.rule(STUFFY)
    world.send(co2(1, 950.0))
    world.tick(70)
    world.catch_up()
    assert world.judge.step()
    assert not world.judge.step()  # the store does not know of it yet
    assert Judge(world.store, world.record).step()  # a crash: the same is found again
    world.settle()
    assert [event for _, event in world.events()] == ["fired"]
    assert len(world.alerts()) == 1


def test_acknowledged_shelved_and_resolved_over_windows() -> None:
    world = Judged()
    world.rule(STUFFY)
    world.send(co2(1, 950.0))
    world.tick(66)
    world.settle()
    (alert,) = world.alerts()
    world.write(Entry(EntryKind.ACKNOWLEDGEMENT, payload={"alert": alert.id, "action": "acknowledge"}))
    world.catch_up()
    until = T0 + 80 * SECOND
    world.write(Entry(EntryKind.ACKNOWLEDGEMENT, payload={"alert": alert.id, "action": "shelve", "until": until}))
    world.catch_up()
    assert world.alerts()[0].shelved_until == until
    world.tick(81)
    world.restart()
    world.settle()
    assert world.alerts()[0].state == "firing"
    world.send(co2(82, 100.0))
    world.tick(130)
    world.settle()
    assert [event for _, event in world.events()] == ["fired", "acknowledged", "shelved", "unshelved", "resolved"]


def test_late_data_raises_history_and_takes_it_back_but_not_what_people_have_seen() -> None:
    world = Judged()
    world.rule(STUFFY)
    world.send(co2(61, 950.0))
    world.tick(126)
    world.settle()
    world.send(co2(127, 100.0), co2(301, 100.0, "b"))
    world.tick(400)
    world.settle()
    (live,) = world.alerts()
    world.send(co2(182, 1000.0))  # an outage drains: a window that nobody knew
    world.settle()
    found = {alert.id: alert for alert in world.alerts()}
    (late,) = [alert for alert in found.values() if alert.id != live.id]
    assert late.retroactive
    assert seconds_of(late) == ("resolved", 180, 240, 360)
    world.send(co2(183, 0.0), co2(62, 0.0))  # both averages were wrong
    world.settle()
    (left,) = world.alerts()
    assert left == live
    assert len(world.store.ask(Corrections()).rows) == 0


def test_an_alert_that_late_data_contradicts_ends_and_says_why() -> None:
    world = Judged()
    world.rule(STUFFY)
    world.send(co2(1, 950.0))
    world.tick(66)
    world.settle()
    world.send(co2(2, 100.0))
    world.settle()
    (alert,) = world.alerts()
    assert alert.state == "resolved"
    assert world.store.ask(AlertEvents()).rows["why"].to_pylist() == ["", "late data corrected it"]


def test_a_removed_rule_resolves_and_a_changed_one_starts_with_the_window_in_which_it_was_set() -> None:
    world = Judged()
    world.rule(STUFFY)
    world.send(co2(1, 950.0))
    world.tick(66)
    world.settle()
    world.rule(None)
    world.send(co2(2, 950.0))
    world.settle()
    assert [alert.state for alert in world.alerts()] == ["resolved"]
    assert len(world.store.ask(Corrections()).rows) == 0
    world.rule(msgspec.structs.replace(STUFFY, threshold=100.0, clear=None))
    world.tick(300)
    world.settle()
    assert len(world.alerts()) == 1  # nothing came since


@pytest.mark.parametrize(
    ("of", "value"), [("avg", 20.0), ("min", 10.0), ("max", 30.0), ("sum", 60.0), ("count", 3.0), ("last", 20.0)]
)
def test_a_rule_looks_at_what_it_says_of_a_window(of: Any, value: float) -> None:
    world = Judged()
    world.rule(Rule(id="stuffy", type="below", threshold=100.0, window=WIDTH * 2, of=of, across="site"))
    world.send(co2(1, 10.0, "a"), co2(70, 30.0, "b", "z2"), co2(71, 20.0, "b", "z2"))
    world.tick(150)
    world.settle()
    (alert,) = world.alerts()
    assert (alert.value, alert.site, alert.zone) == (value, "s", "")


def test_a_width_that_is_not_kept_is_said_once_and_harms_no_other_rule() -> None:
    world = Judged()
    world.rule(msgspec.structs.replace(STUFFY, id="odd", window=7), "odd")
    world.rule(STUFFY)
    world.send(co2(1, 950.0))
    world.tick(66)
    world.settle()
    assert [alert.rule for alert in world.alerts()] == ["stuffy"]


# -- a slow, obvious implementation

Point = tuple[int, float, str, str]  # seconds, value, device, zone


def slowly(rule: Rule, points: Sequence[Point], until: int) -> dict[str, tuple[Any, ...]]:
    """Alert → (state, since, fired, resolved) from the closed windows, one by one."""
    windows: defaultdict[tuple[str, ...], defaultdict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for seconds, value, device, zone in sorted(points, key=lambda p: p[0]):
        group = {"series": (device, zone), "zone": ("", zone), "site": ("", "")}[rule.across]
        windows[group][seconds // WIDTH * WIDTH].append(value)
    told: dict[str, tuple[Any, ...]] = {}
    for (device, zone), spans in windows.items():
        series = Series(-1, device, "co2", "s", zone, "{}")
        since = fired = None
        for start, values in sorted(spans.items()):
            end = start + WIDTH
            if end + GRACE // SECOND > until:
                break
            value = sum(values) / len(values) if rule.of == "avg" else max(values)
            id_ = "" if since is None else alert_id(rule.id, series, T0 + since * SECOND, late=False)
            if since is not None and fired is None and not value > 900:
                told.pop(id_, None)
                since = None
            elif since is not None and fired is not None and value <= 800:
                told[id_] = ("resolved", since, fired, end)
                since = fired = None
            elif since is not None or value > 900:
                since = start if since is None else since
                fired = end if fired is None and end >= since + rule.duration else fired
                id_ = alert_id(rule.id, series, T0 + since * SECOND, late=False)
                told[id_] = ("pending" if fired is None else "firing", since, fired, None)
    return told


points = st.tuples(
    st.integers(0, 8 * WIDTH), st.sampled_from([700.0, 850.0, 950.0, 1200.0]), st.sampled_from("ab"), st.just("z1")
)
rules = st.builds(
    Rule,
    id=st.just("stuffy"),
    metric=st.just("co2"),
    type=st.just("above"),
    threshold=st.just(900.0),
    clear=st.just(800.0),
    window=st.just(WIDTH),
    of=st.sampled_from(["avg", "max"]),
    across=st.sampled_from(["series", "zone", "site"]),
    duration=st.sampled_from([0.0, 61.0, 150.0]),
)


def play(rule: Rule, steps: Sequence[tuple[int, Sequence[Point], bool]]) -> Judged:
    """Readings come at times of the log; in between the owner may judge, or all begin anew."""
    world = Judged()
    world.rule(rule)
    for at, (seconds, some, restarts) in enumerate(steps):
        world.now = max(world.now + 1, T0 + seconds * SECOND)
        world.send(*(co2(s, v, d, z) for s, v, d, z in some))
        if at % 2:
            world.settle()
        if restarts:
            world.restart()
    world.tick(9 * WIDTH)
    world.settle()
    return world


restarts = st.lists(st.booleans(), min_size=30, max_size=30)
in_order = st.lists(points, min_size=1, max_size=25)
at_random = st.lists(st.tuples(points, st.integers(0, 9 * WIDTH - 1)), min_size=1, max_size=25)


def check_in_order(rule: Rule, history: list[Point], begins_anew: list[bool]) -> None:
    ordered = sorted(history, key=lambda p: p[0])
    world = play(rule, [(p[0], [p], r) for p, r in zip(ordered, begins_anew, strict=False)])
    assert {a.id: seconds_of(a) for a in world.alerts()} == slowly(rule, history, 9 * WIDTH)
    assert_rebuilt(world)


def check_at_random(rule: Rule, history: list[tuple[Point, int]], begins_anew: list[bool]) -> None:
    arriving = sorted(history, key=lambda p: max(p[0][0], p[1]))
    world = play(rule, [(max(p[0], at), [p], r) for (p, at), r in zip(arriving, begins_anew, strict=False)])
    right = slowly(rule, [p for p, _ in history], 9 * WIDTH)
    check_corrected(world.alerts(), right)
    assert_rebuilt(world)


@settings(max_examples=5, deadline=None)
@given(rules, in_order, restarts)
def test_in_order_it_is_what_a_slow_implementation_gives(rule: Rule, history: list[Point], anew: list[bool]) -> None:
    check_in_order(rule, history, anew)


@settings(max_examples=5, deadline=None)
@given(rules, at_random, restarts)
def test_late_data_corrects_history_to_what_a_slow_implementation_gives(
    rule: Rule, history: list[tuple[Point, int]], anew: list[bool]
) -> None:
    check_at_random(rule, history, anew)


@pytest.mark.all
@settings(max_examples=60, deadline=None)
@given(rules, in_order, restarts)
def test_many_histories_in_order(rule: Rule, history: list[Point], anew: list[bool]) -> None:
    check_in_order(rule, history, anew)


@pytest.mark.all
@settings(max_examples=100, deadline=None)
@given(rules, at_random, restarts)
def test_many_histories_with_late_data(rule: Rule, history: list[tuple[Point, int]], anew: list[bool]) -> None:
    check_at_random(rule, history, anew)


def check_corrected(alerts: list[Alert], right: Mapping[str, tuple[Any, ...]]) -> None:
    """What people have seen stays; all else is as it is right."""
    seen = [a for a in alerts if a.state != "pending" and not a.retroactive]
    history = {a.id: seconds_of(a) for a in alerts if a not in seen}

    def touches(one: tuple[Any, ...], alert: Alert) -> bool:
        _, since, _, resolved = seconds_of(alert)
        return bool(one[1] < (resolved or 1 << 40) and since < (one[3] or 1 << 40))

    if len({(a.series, a.zone) for a in alerts}) <= 1:  # else groups would have to be told apart here too
        expected = {id_: one for id_, one in right.items() if one[2] is None or not any(touches(one, a) for a in seen)}
        assert history == {k: v for k, v in expected.items() if k not in {a.id for a in seen}}
    for alert in seen:
        if alert.state != "resolved":
            assert any(one[0] == "firing" and touches(one, alert) for one in right.values())
    for one in right.values():
        assert one[2] is None or any(touches(one, a) for a in alerts)


def assert_rebuilt(world: Judged) -> None:
    again = MemoryStore(world.log.id)
    rebuild(world.log, again, world.identities, Opener(world.ring), lambda at, end: None)
    assert world.store.equals(again) == []
    again.close()
    world.store.close()
