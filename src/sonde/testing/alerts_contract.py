"""What every adapter of port ``Store`` must do for rules and alerts; a part of its contract."""

from typing import Any

import msgspec
import pytest

from sonde.changes import Alert, AlertEvent, Correction, Definition, LedgerLine
from sonde.clock import DAY, SECOND, Micros
from sonde.errors import Invalid
from sonde.ports import Store
from sonde.question import (
    AlertEvents,
    Alerts,
    AlertsOf,
    Corrections,
    Defined,
    Folded,
    Reached,
    ResolvedBeyond,
    Totals,
    Watched,
)
from sonde.rule import Rule
from sonde.testing.asking import rows_of
from sonde.testing.store_feed import LOG, START, Feed, Row, building

STUFFY = Rule(id="stuffy", metric="co2", type="above", threshold=900.0, window=300, of="avg", across="zone")


def event(offset: int, alert: str, name: str, time: Micros, **more: Any) -> AlertEvent:
    return AlertEvent(0, offset, START + offset * SECOND, alert, name, time, **more)


def of_series(name: str, state: str = "firing", **more: Any) -> Alert:
    plain = Alert(name, "high", 0, "above", "warning", state, 1000.0, START, 1100.0, 1200.0)
    return msgspec.structs.replace(plain, **more)


class AlertsContract:
    """Mixed into :class:`sonde.testing.store_contract.StoreContract`."""

    def test_alerts_are_set_by_id_and_retracted(self, store: Store) -> None:
        feed, series = Feed(), building(1)
        first = [
            of_series("a", "pending"),
            of_series("b", since=START + 1, severity="critical"),
            of_series("c", "resolved", since=START + 2),
            of_series("d", "acknowledged", since=START + 3),
        ]
        store.commit(feed.step((), series, alerts=first))
        assert [r["alert_id"] for r in rows_of(store, Alerts())] == ["d", "c", "b"]
        assert [r["alert_id"] for r in rows_of(store, Alerts(state="open"))] == ["d", "b"]
        assert [r["alert_id"] for r in rows_of(store, Alerts(state="pending"))] == ["a"]
        assert [r["alert_id"] for r in rows_of(store, Alerts(severity="critical"))] == ["b"]
        assert [r["alert_id"] for r in rows_of(store, Alerts(since=START + 2))] == ["d", "c"]
        limited = store.ask(Alerts(limit=1))
        assert (len(limited.rows), limited.total) == (1, 3)
        store.commit(feed.step(alerts=[of_series("b", "resolved", since=START + 1)], retracted=["a"]))
        assert {a.id for a in store.load().alerts} == {"d"}
        assert rows_of(store, Alerts(state="pending")) == []
        assert rows_of(store, Totals())[0]["alerts_firing"] == 0

    def test_an_alert_over_a_zone_has_no_series_and_says_where_it_is(self, store: Store) -> None:
        feed = Feed()
        alert = of_series("z", series=-1, metric="co2", site="Site-0", zone="Zone-0", value=None, threshold=None)
        shelved = of_series("a", "shelved", shelved_until=START + 9)
        store.commit(feed.step(series=building(1), alerts=[alert, shelved]))
        assert sorted(store.load().alerts, key=lambda a: a.id) == [shelved, alert]
        (row,) = rows_of(store, Alerts(alert="z"))
        assert [row[n] for n in ("device", "metric", "site", "zone", "value")] == ["", "co2", "Site-0", "Zone-0", None]
        (row,) = rows_of(store, Alerts(state="shelved"))
        assert (row["device"], row["shelved_until"]) == ("device-0", START + 9)

    def test_what_only_remembers_late_readings_is_no_alert(self, store: Store) -> None:
        feed = Feed()
        store.commit(feed.step(series=building(1), alerts=[of_series("late-x", "pending"), of_series("x", "pending")]))
        assert [row["alert_id"] for row in rows_of(store, Alerts(state="pending"))] == ["x"]
        assert rows_of(store, Alerts(alert="late-x")) == []
        assert {alert.id for alert in store.load().alerts} == {"late-x", "x"}

    def test_events_come_in_the_order_of_the_log_and_in_whole_frames(self, store: Store) -> None:
        feed = Feed()
        fired = [event(1, name, "fired", START) for name in "ab"]
        store.commit(feed.step(series=building(1), alerts=[of_series("a"), of_series("b")], events=fired))
        more = [
            event(2, "a", "acknowledged", START + 5, who="anna", why="seen"),
            event(2, "a", "shelved", START + 5, who="anna", until=START + 99),
            event(3, "a", "resolved", START + 7),
        ]
        over = of_series("a", "resolved", resolved_at=START + 7)
        store.commit(feed.step(alerts=[over], events=more))
        told = [(row["offset"], row["alert_id"], row["event"]) for row in rows_of(store, AlertEvents())]
        assert told == [
            (1, "a", "fired"),
            (1, "b", "fired"),
            (2, "a", "acknowledged"),
            (2, "a", "shelved"),
            (3, "a", "resolved"),
        ]
        assert len(rows_of(store, AlertEvents(limit=1))) == 2, "a frame stays whole"
        assert [row["offset"] for row in rows_of(store, AlertEvents(offset=2))] == [2, 2, 3]
        assert rows_of(store, AlertEvents(partition=1)) == []
        (first, *_) = rows_of(store, AlertEvents(alert="a"))
        assert (first["event"], first["state"], first["device"], first["since"]) == (
            "fired",
            "resolved",
            "device-0",
            START,
        )
        (acknowledged,) = [r for r in rows_of(store, AlertEvents(alert="a")) if r["event"] == "acknowledged"]
        assert (acknowledged["who"], acknowledged["why"], acknowledged["until"]) == ("anna", "seen", None)

    def test_definitions_are_told_by_kind_and_name(self, store: Store) -> None:
        feed = Feed()
        rules = [Definition("rule", n, {"id": n}, START, "api", "anna") for n in ("b", "a")]
        store.commit(feed.step(definitions=[*rules, Definition("judged", "a", {"round": 1, "until": START}, START)]))
        assert [(r["kind"], r["name"]) for r in rows_of(store, Defined(("judged", "rule")))] == [
            ("judged", "a"),
            ("rule", "a"),
            ("rule", "b"),
        ]
        (row,) = rows_of(store, Defined(("rule",), "b"))
        assert (row["body"], row["log_time"], row["source"], row["who"]) == ('{"id":"b"}', START, "api", "anna")

    def test_it_says_how_far_it_has_come(self, store: Store) -> None:
        feed = Feed()
        step = feed.step(ledger=[LedgerLine("", 0)])
        store.commit(step)
        (row,) = rows_of(store, Reached())
        assert row == {"log": LOG, "partition": 0, "next_offset": 1, "log_time": step.progress.log_time}

    def test_corrections_gather_until_they_are_settled(self, store: Store) -> None:
        feed = Feed()
        first = [Correction("stuffy", 0, START + 600, 0, 5), Correction("stuffy", 1, START, 0, 5)]
        store.commit(feed.step(series=building(1), corrections=first))
        store.commit(feed.step(corrections=[Correction("stuffy", 0, START + 300, 0, 8)]))
        found = [(row["id"], row["start"], row["offset"]) for row in rows_of(store, Corrections())]
        assert found == [(0, START + 300, 8), (1, START, 5)]
        settled = [Correction("stuffy", n, 0, 0, 7) for n in (0, 1)]
        store.commit(feed.step(settled=settled, corrections=[Correction("stuffy", 1, START, 0, 9)]))
        assert [(row["id"], row["offset"]) for row in rows_of(store, Corrections())] == [(0, 8), (1, 9)]
        store.commit(feed.step(definitions=[Definition("judged", "stuffy", None, 0)]))
        assert rows_of(store, Corrections()) == []

    def test_alerts_of_a_rule_are_those_that_matter_since_a_moment(self, store: Store) -> None:
        feed = Feed()
        alerts = [
            of_series("old", "resolved", resolved_at=START + 10),
            of_series("new", "resolved", resolved_at=START + 30),
            of_series("open"),
            of_series("other", rule="low"),
        ]
        store.commit(feed.step(series=building(1), alerts=alerts))
        found = [Alert(**row) for row in rows_of(store, AlertsOf("high", START + 20))]
        assert sorted(found, key=lambda a: a.id) == [alerts[1], alerts[2]]

    def test_how_far_back_resolved_alerts_go_is_asked_by_their_number(self, store: Store) -> None:
        feed = Feed()
        ended = [of_series(f"a{n}", "resolved", resolved_at=START + n) for n in range(5)]
        ended += [of_series("open"), of_series("late-a", "resolved", resolved_at=START + 9)]
        store.commit(feed.step(series=building(1), alerts=ended))
        assert [row["resolved_at"] for row in rows_of(store, ResolvedBeyond(1))] == [START + 3]
        assert [row["resolved_at"] for row in rows_of(store, ResolvedBeyond(4))] == [START]
        assert rows_of(store, ResolvedBeyond(5)) == []

    @pytest.mark.parametrize(("across", "groups"), [("series", 4), ("zone", 2), ("site", 1)])
    def test_windows_of_a_rule_are_folded_across_what_it_says(self, store: Store, across: Any, groups: int) -> None:
        feed, series = Feed(), building(4, sites=1)
        co2 = [one for one in series if one.metric == "co2"]
        rows = [Row(one.id, START + n * SECOND, 100.0 * n) for n, one in enumerate(co2)]
        store.commit(feed.step(rows, series))
        store.commit(feed.step([Row(co2[0].id, START + 400 * SECOND, 7.0)]))
        rule = msgspec.structs.replace(STUFFY, across=across)
        found = rows_of(store, Folded(rule, START, START + 300 * SECOND))
        assert len(found) == groups
        assert sum(row["count"] for row in found) == 4
        assert sum(row["sum"] for row in found) == 600.0
        assert {row["id"] >= 0 for row in found} == {across == "series"}
        if across == "site":
            assert [found[0][n] for n in ("site", "zone", "device", "min", "max", "last")] == [
                "Site-0", "", "", 0.0, 300.0, 300.0,
            ]  # fmt: skip
        of_one = rows_of(store, Folded(rule, START, START + 900 * SECOND, (co2[0].id,)))
        assert {row["start"] for row in of_one} == {START, START + 300 * SECOND}
        wide = rows_of(store, Folded(msgspec.structs.replace(rule, window=600), START, START + 900 * SECOND))
        assert sum(row["count"] for row in wide) == 5
        with pytest.raises(Invalid, match="not a multiple"):
            store.ask(Folded(msgspec.structs.replace(rule, window=7), START, START))

    def test_readings_that_a_rule_looks_at_are_bounded(self, store: Store) -> None:
        feed, series = Feed(), building(2)
        rows = [Row(one.id, START + n * SECOND, float(n)) for one in series for n in range(5)]
        store.commit(feed.step(rows, series))
        rule = Rule(id="r", type="above", threshold=1.0, metric="co2")
        found = rows_of(store, Watched(rule, START + SECOND, START + 4 * SECOND))
        assert [(row["device"], row["value"]) for row in found] == [
            (device, float(n)) for device in ("device-0", "device-1") for n in (1, 2, 3)
        ]
        with pytest.raises(Invalid, match="narrow its patterns"):
            store.ask(Watched(rule, START, START + DAY, most_series=1))
        with pytest.raises(Invalid, match="shorter span"):
            store.ask(Watched(rule, START, START + DAY, most=3))
