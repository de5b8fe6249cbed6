"""Alerts: a table of transitions, and a slow, obvious implementation on random histories with late readings."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde.alert import BUILDING_RULES, TRANSITIONS, advance, alert_id, follow, follow_late, from_trace
from sonde.changes import Alert, Series
from sonde.errors import Conflict, Invalid
from sonde.rule import Rule
from sonde.watch import WATCHES

SERIES = Series(3, "boiler", "temperature", "Site-01", "Zone-02", "{}")
S = 1_000_000
Point = tuple[int, float]  # seconds, value
Told = dict[str, tuple[Any, ...]]

STATES = ("pending", "firing", "acknowledged", "shelved", "resolved")
EVENTS = ("lasted", "contradicted", "cleared", "acknowledge", "shelve", "shelf ended", "rule removed")
LIFE = """
                lasted   contradicted  cleared   acknowledge   shelve    shelf ended  rule removed
pending         firing   retracted     -         -             -         -            retracted
firing          -        -             resolved  acknowledged  shelved   -            resolved
acknowledged    -        -             resolved  acknowledged  shelved   -            resolved
shelved         -        -             resolved  acknowledged  shelved   firing       resolved
resolved        -        -             -         -             -         -            -
"""


def alert(state: str) -> Alert:
    return Alert("a", "hot", 3, "above", "warning", state, 30.0, S, 31.0, 31.0)


@pytest.mark.parametrize(("state", "event"), [(s, e) for s in STATES for e in EVENTS])
def test_life_follows_the_table(state: str, event: str) -> None:
    (line,) = [line.split() for line in LIFE.splitlines() if line.startswith(state)]
    new = line[1 + EVENTS.index(event)]
    assert TRANSITIONS.get((state, event), "-") == new
    if new == "-":
        with pytest.raises(Conflict):
            advance(alert(state), event, 9 * S)
        return
    after = advance(alert(state), event, 9 * S)
    assert (after.state if after else "retracted") == new
    assert after is None or (after.resolved_at == 9 * S) == (new == "resolved")
    assert after is None or (after.fired_at == 9 * S) == (event == "lasted")
    assert after is None or (after.shelved_until == 9 * S) == (event == "shelve")


def holds(rule: Rule, value: float) -> bool:
    return bool(WATCHES[rule.type].holds(rule, np.array([value]))[0])


def cleared(rule: Rule, value: float) -> bool:
    return bool(WATCHES[rule.type].cleared(rule, np.array([value]))[0])


def excess(rule: Rule, value: float) -> float:
    return float(WATCHES[rule.type].excess(rule, np.array([value]))[0])


def slowly(rule: Rule, points: Sequence[Point], late: bool) -> Told:
    """Reading by reading: alert → (state, since, value, peak, fired, resolved)."""
    told: Told = {}
    pending: Told = {}
    now: dict[str, Any] | None = None

    def tell(state: str, **more: Any) -> None:
        assert now is not None
        now.update(state=state, **more)
        rows = pending if state == "pending" else told
        rows[now["id"]] = tuple(now[k] for k in ("state", "since", "value", "peak", "fired", "resolved"))

    for time, value in points:
        if late and now is not None and time < now["last"]:
            pending.clear()
            now = None
        if now is not None and now["fired"] is None and not holds(rule, value):
            pending.clear()
            now = None
        elif now is not None and now["fired"] is not None and cleared(rule, value):
            tell("resolved", resolved=now["last"] if late else time)
            now = None
        elif now is not None or holds(rule, value):
            if now is None:
                id_ = alert_id(rule.id, SERIES, time * S, late)
                now = {"id": id_, "since": time, "value": value, "peak": value, "fired": None, "resolved": None}
            now["last"] = time
            if excess(rule, value) > excess(rule, now["peak"]):
                now["peak"] = value
            tell("pending" if now["fired"] is None else "firing")
            if now["fired"] is None and time >= now["since"] + rule.duration:
                pending.clear()
                tell("firing", fired=time)
            if late and now["fired"] is not None:
                tell("resolved", resolved=time)
    return pending | told


def arrays(points: Sequence[Point]) -> tuple[Any, Any]:
    return np.array([p[0] * S for p in points], np.int64), np.array([p[1] for p in points], np.float64)


def split(points: Sequence[Point], cuts: Sequence[int]) -> list[Sequence[Point]]:
    places = sorted({0, len(points), *(c for c in cuts if c < len(points))})
    return [points[a:b] for a, b in itertools.pairwise(places)]


def seconds(moment: int | None) -> int | None:
    return None if moment is None else moment // S


def as_told(rows: dict[str, Alert]) -> Told:
    return {
        r.id: (r.state, seconds(r.since), r.value, r.peak, seconds(r.fired_at), seconds(r.resolved_at))
        for r in rows.values()
    }


values = st.sampled_from([-20.0, -10.5, -10.0, -9.0, 0.0, 9.0, 9.5, 10.0, 10.5, 11.0, 30.0])
durations = st.sampled_from([0.0, 2.0, 5.0])
rules = st.one_of(
    st.builds(Rule, id=st.just("r"), type=st.just("above"), threshold=st.just(10.0), duration=durations),
    st.builds(
        Rule, id=st.just("r"), type=st.just("above"), threshold=st.just(10.0), clear=st.just(9.0), duration=durations
    ),
    st.builds(
        Rule, id=st.just("r"), type=st.just("below"), threshold=st.just(-9.0), clear=st.just(0.0), duration=durations
    ),
    st.builds(
        Rule,
        id=st.just("r"),
        type=st.just("outside"),
        threshold=st.just(-10.0),
        upper=st.just(10.0),
        clear=st.sampled_from([None, 1.0]),
        duration=durations,
    ),
)
points = st.lists(st.tuples(st.integers(0, 15), values), max_size=25)
cuts = st.lists(st.integers(0, 25), max_size=4)


@given(rules, points, cuts)
def test_forward_is_what_a_slow_implementation_gives_however_it_is_split(
    rule: Rule, history: list[Point], where: list[int]
) -> None:
    history = sorted(history, key=lambda p: p[0])
    open_, rows = None, {}
    for piece in split(history, where):
        time, value = arrays(piece)
        outcome = follow(rule, SERIES, open_, time, value, np.zeros(len(time), np.bool_))
        open_ = outcome.open
        rows.update(outcome.changed)
    assert as_told({k: r for k, r in rows.items() if r is not None}) == slowly(rule, history, late=False)
    assert open_ is None or rows[open_.id] == open_


@given(rules, points, cuts)
def test_late_is_what_a_slow_implementation_gives_however_it_is_split_and_restarted(
    rule: Rule, history: list[Point], where: list[int]
) -> None:
    rows: dict[str, Alert] = {}
    for piece in split(history, where):
        traces = [s for s in map(from_trace, rows.values()) if s is not None]  # as after a restart
        assert len(traces) <= 1
        outcome = follow_late(rule, SERIES, traces[0] if traces else None, *arrays(piece))
        for id_, row in outcome.changed.items():
            if row is None:
                rows.pop(id_, None)
            else:
                rows[id_] = row
    expected = slowly(rule, history, late=True)
    assert as_told({k: r for k, r in rows.items() if from_trace(r) is None}) == {
        k: v for k, v in expected.items() if v[0] == "resolved"
    }
    assert all(r.retroactive for r in rows.values())


def test_alert_tells_what_opened_it() -> None:
    rule = Rule(id="hot", type="above", threshold=30.0, message="{metric} of {device} in {zone}: {value} > {threshold}")
    outcome = follow(rule, SERIES, None, *arrays([(1, 20.0), (2, 31.5), (3, 33.0)]), np.array([False, True, False]))
    (row,) = outcome.changed.values()
    assert row is not None
    assert (row.state, row.value, row.peak, row.threshold, row.retroactive) == ("firing", 31.5, 33.0, 30.0, True)
    assert row.message == "temperature of boiler in Zone-02: 31.5 > 30"
    assert row.id == alert_id("hot", SERIES._replace(id=99), 2 * S, late=False)


def test_building_rules_are_valid_and_survive_json() -> None:
    for rule in BUILDING_RULES:
        rule.check()
        assert Rule.parse(msgspec.json.decode(msgspec.json.encode(rule.body()))) == rule
    assert {(r.metric, r.threshold) for r in BUILDING_RULES} == {
        ("co2", 1000.0),
        ("temperature", 30.0),
        ("humidity", 80.0),
    }


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"type": "sideways"}, "rule.type"),
        ({"threshold": math.nan}, "rule.threshold"),
        ({"threshold": "high"}, "rule"),
        ({"duration": -1}, "rule.duration"),
        ({"clear": 31.0}, "rule.clear"),
        ({"upper": 40.0}, "rule.upper"),
        ({"type": "outside"}, "rule.upper"),
        ({"type": "outside", "upper": 20.0}, "rule.upper"),
        ({"type": "outside", "upper": 40.0, "clear": 6.0}, "rule.clear"),
        ({"type": "below", "clear": 29.0}, "rule.clear"),
        ({"severity": "bad"}, "rule"),
        ({"message": "{device.__class__}"}, "rule.message"),
        ({"id": ""}, "rule.id"),
        ({"colour": "red"}, "rule"),
        ({"threshold": None}, "rule.threshold"),
        ({"text": "error"}, "rule.text"),
        ({"per": 1.0}, "rule.per"),
        ({"type": "equals"}, "rule.text"),
        ({"type": "equals", "threshold": None, "text": "x", "clear": 1.0}, "rule.clear"),
        ({"type": "rate"}, "rule.per"),
        ({"type": "rate", "per": 0.0}, "rule.per"),
        ({"type": "rate", "per": 60.0, "threshold": 0.0}, "rule.threshold"),
        ({"type": "rate", "per": 60.0, "upper": 29.0}, "rule.upper"),
        ({"type": "rate", "per": 60.0, "clear": 31.0}, "rule.clear"),
        ({"type": "no_data", "threshold": None}, "rule.duration"),
        ({"type": "no_data", "duration": 5.0}, "rule.threshold"),
        ({"window": 300}, "rule.of"),
        ({"window": 0, "of": "avg"}, "rule.window"),
        ({"window": 90_000, "of": "avg"}, "rule.window"),
        ({"of": "avg"}, "rule.of"),
        ({"across": "zone"}, "rule.across"),
        ({"type": "equals", "threshold": None, "text": "x", "window": 300, "of": "avg"}, "rule.window"),
        ({"device": "x" * 501}, "rule.message"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_with_the_field_named(change: dict[str, Any], where: str) -> None:
    with pytest.raises(Invalid) as refused:
        Rule.parse({"id": "hot", "type": "above", "threshold": 30.0, **change})
    assert refused.value.problem.field == where


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Rule(id="r", type="above", threshold=1.0), "temperature of boiler is 31.5, above 1"),
        (Rule(id="r", type="equals", text="off"), "temperature of boiler is off"),
        (
            Rule(id="r", type="rate", threshold=5.0, per=60.0),
            "temperature of boiler changes by 31.5 in 1m, the limit is 5",
        ),
        (Rule(id="r", type="no_data", duration=90.0), "temperature of boiler: no data for 90s"),
        (
            Rule(id="r", type="below", threshold=50.0, window=300, of="avg"),
            "avg of temperature of boiler over 5m is 31.5, below 50",
        ),
        (Rule(id="r", type="above", threshold=1.0, message="{place} {per}|{duration}|{of}"), "boiler |0s|"),
    ],
)
def test_a_rule_without_a_message_has_one_that_fits(rule: Rule, message: str) -> None:
    value = 31.5 if rule.type in ("above", "below", "rate") else None
    assert rule.said(SERIES, value, rule.threshold) == message
    assert rule.said(SERIES._replace(device=""), value, rule.threshold) == message.replace("boiler", "Site-01 Zone-02")


def test_a_rule_watches_by_pattern() -> None:
    rule = Rule(id="hot", type="above", threshold=30.0, metric="temp*", site="Site-0?", zone="Zone-02")
    assert rule.watches(SERIES)
    assert not rule.watches(SERIES._replace(zone="Zone-03"))
    assert not rule.watches(SERIES._replace(metric="co2"))
