"""What every adapter of port ``Store`` must do. Subclass :class:`StoreContract`, and give ``store`` as a fixture."""

# ruff: noqa: S608 - names of views are the contract's own

import threading
from collections.abc import Iterator
from typing import Any, Final

import pyarrow as pa
import pytest

from sonde.changes import Alert, Definition, LedgerLine, Mark, Newest, Stream
from sonde.clock import DAY, SECOND, Micros
from sonde.errors import Conflict, Invalid, Retry
from sonde.ports import Store
from sonde.question import (
    Alerts,
    Commands,
    CommandSteps,
    Devices,
    FoundSeries,
    Gaps,
    Heatmap,
    History,
    Kpis,
    Ledger,
    Profiles,
    Question,
    Samples,
    Sql,
    Stale,
    Totals,
    Trends,
)
from sonde.reading import TIME, Kind
from sonde.testing.alerts_contract import AlertsContract
from sonde.testing.commands_contract import CommandsContract
from sonde.testing.samples_contract import SamplesContract
from sonde.testing.store_feed import LOG, START, Feed, Row, building, random_rows

COLUMNS: Final[dict[type, str]] = {
    Kpis: "site_id zone_id sensor_type current_avg current_max sample_count last_updated",
    Trends: "timestamp site_id zone_id avg min max count",
    Alerts: (
        "alert_id rule device metric site zone labels type value peak threshold time fired_at resolved_at shelved_until state"
        " severity message retroactive"
    ),
    Heatmap: "site_id zone_id occupancy_rate avg_occupancy",
    Devices: "device_id site_id zone_id metric labels time kind value text quality",
    History: "device metric site zone labels time kind value text quality",
    FoundSeries: "series device metric site zone labels time kind value text quality",
    Samples: "series step time count min max avg kind text quality",
    Stale: "device_id site_id zone_id last_seen",
    Totals: "readings series devices alerts_firing parts part_bytes",
    Profiles: "device profile updated node",
    Commands: (
        "id device command parameters who state accepted_at expires_at node epoch handed_at delivered_at started_at"
        " finished_at changed_at message progress details"
    ),
    CommandSteps: "id device command step time message progress details",
    Ledger: "source lane sent stored duplicate refused set_aside lost missing",
    Gaps: "source lane epoch reason first_seq last_seq readings noticed before detail",
}
VIEWS: Final = {
    "readings": "time device metric site zone labels kind value text quality",
    "windows": "device metric site zone labels width start count sum min max avg last",
    "alerts": (
        "alert_id rule device metric site zone labels type severity state threshold value peak time fired_at resolved_at"
        " retroactive message shelved_until"
    ),
    "devices": "device site zone series last_seen profile",
    "gaps": "source lane epoch reason first_seq last_seq readings noticed detail",
}

QUESTIONS: Final[tuple[Question, ...]] = (
    Kpis(),
    Trends("co2", START, START + DAY),
    Alerts(),
    Heatmap(),
    Heatmap(by_hour=True),
    Devices(),
    History(limit=50),
    FoundSeries(),
    Samples((0, 1), START, START + DAY, 100),
    Samples((0, 1), START, START + DAY // 100, 100),
    Samples((0, 1), START, START + 90 * DAY, 100),
    Stale(START + DAY),
    Totals(),
    Profiles(),
    Commands(),
    CommandSteps(),
    Ledger(),
    Gaps(),
    *(
        Sql(f"select * from {view} order by {', '.join(str(n + 1) for n, _ in enumerate(columns.split()))}")
        for view, columns in VIEWS.items()
    ),
)
REFUSED: Final = (
    "",
    "-- nothing",
    "select 1; select 2",
    "select 1; drop table store.series",
    "insert into store.series values (1)",
    "with x as (insert into store.meta values (2) returning version) select * from x",
    "with x as (delete from store.series returning id) select * from x",
    "update store.meta set version = 2",
    "drop view readings",
    "create table t (a int)",
    "copy readings to '/tmp/x.csv'",
    "attach '/tmp/x.db'",
    "set memory_limit = '1TB'",
    "pragma database_list",
    "call pragma_version()",
    "explain select 1",
    "begin",
    "commit",
    "select * from no_such_table",
    "select no_such_column from readings",
    "select 1 +",
    "select \0",
    "selec 1",
)


def rows_of(store: Store, question: Question) -> list[dict[str, Any]]:
    """The rows of an answer, times in microseconds."""
    rows = store.ask(question).rows
    plain = {n: rows[n].cast(pa.int64()) if rows[n].type == TIME else rows[n] for n in rows.column_names}
    return list(pa.table(plain).to_pylist())


def tidy(store: Store) -> None:
    """All housekeeping that there is."""
    while store.maintain():
        pass


def alert(name: str, since: Micros, state: str = "firing", *, severity: str = "warning", series: int = 0) -> Alert:
    return Alert(name, "co2 high", series, "above", severity, state, 1000.0, since, 1100.0, 1200.0)


class StoreContract(SamplesContract, CommandsContract, AlertsContract):
    """Tests of one adapter, which follows the log :data:`LOG`."""

    @pytest.fixture
    def store(self) -> Iterator[Store]:
        """A new, empty one. Override it."""
        raise NotImplementedError

    @pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: type(q).__name__)
    def test_an_empty_store_answers_every_question_in_its_columns(self, store: Store, question: Question) -> None:
        answer = store.ask(question)
        if isinstance(question, Totals):
            assert answer.rows.to_pylist() == [dict.fromkeys(COLUMNS[Totals].split(), 0)]
        else:
            assert len(answer.rows) == 0
        if type(question) in COLUMNS:
            wanted = COLUMNS[type(question)].split()
            if isinstance(question, Heatmap) and question.by_hour:
                wanted.insert(2, "hour")
            assert answer.rows.column_names == wanted
        assert (answer.cursor.log, dict(answer.cursor.offsets)) == (LOG, {})

    @pytest.mark.parametrize("view", VIEWS)
    def test_the_views_have_the_columns_that_were_promised(self, store: Store, view: str) -> None:
        assert store.ask(Sql(f"select * from {view}")).rows.column_names == VIEWS[view].split()

    def test_what_was_committed_is_loaded(self, store: Store) -> None:
        feed, series = Feed(), building(1)
        stream = Stream("node", "e1", 2, 9, 100, ((3, 4, 20), (6, 6, 1)), (30, 77))
        rule = Definition("rule", "co2 high", {"above": 1000, "labels": ["a", None]}, START)
        rows = [Row(0, START, 1.0), Row(0, START + 5, 2.0), Row(2, START + 3, None, Kind.TEXT, "ok")]
        step = feed.step(rows, series, streams=[stream], definitions=[rule], alerts=[alert("a", START)])
        store.commit(step)
        state = store.load()
        assert list(state.progress) == [step.progress]
        assert list(state.series) == series
        came = step.progress.log_time
        assert dict(state.newest) == {0: Newest(START + 5, 2.0, came), 2: Newest(START + 3, None, came)}
        assert list(state.streams) == [stream]
        assert list(state.definitions) == [rule]
        assert list(state.alerts) == [alert("a", START)]

    def test_progress_that_is_not_as_expected_is_a_conflict_and_changes_nothing(self, store: Store) -> None:
        feed, series = Feed(), building(1)
        first, second = feed.step([Row(0, START, 1.0)], series), feed.step([Row(0, START, 2.0)])
        for wrong in (second, first, first):
            if wrong is second:
                with pytest.raises(Conflict) as ahead:
                    store.commit(wrong)
                assert ahead.value.known == 0
                assert store.load().progress == []
                store.commit(first)
            else:
                with pytest.raises(Conflict) as behind:
                    store.commit(wrong)
                assert behind.value.known == 1
        assert rows_of(store, Totals())[0]["readings"] == 1
        store.commit(second)
        assert store.ask(Totals()).cursor.offsets == {0: 2}

    def test_partitions_go_on_by_themselves(self, store: Store) -> None:
        first, second, series = Feed(), Feed(partition=1), building(1)
        store.commit(first.step([Row(0, START, 1.0)], series))
        store.commit(second.step())
        store.commit(first.step([Row(0, START, 1.0)]))
        assert store.ask(Totals()).cursor.offsets == {0: 2, 1: 1}

    @pytest.mark.parametrize("seed", range(3))
    def test_windows_are_those_of_all_readings_whatever_the_order_and_the_housekeeping(
        self, store: Store, seed: int
    ) -> None:
        feed, series = Feed(), building(2)
        for step in range(6):
            store.commit(feed.step(random_rows(seed * 10 + step, series, 300, since=START - step * DAY // 3), series))
            tidy(store)
        got = store.ask(Sql("select * from windows")).rows.to_pylist()
        width = {300: "5m", 900: "15m"}
        names = {one.id: one for one in series}
        found = {(r["device"], r["metric"], r["width"], r["start"]): r for r in got}
        wanted = feed.windows().to_pylist()
        assert len(found) == len(got) == len(wanted)
        for row in wanted:
            one = names[row["series"]]
            mine = found[one.device, one.metric, width[row["width"]], row["start"]]
            assert (mine["count"], mine["min"], mine["max"]) == (row["count"], row["min"], row["max"])
            assert mine["sum"] == pytest.approx(row["sum"], rel=1e-9)
            assert mine["avg"] == pytest.approx(row["sum"] / row["count"], rel=1e-9)
            assert mine["last"] == row["last"]

    def test_of_two_readings_at_one_time_the_later_in_the_log_is_the_last(self, store: Store) -> None:
        feed, series = Feed(), building(1)
        for value in (1.0, 3.0, 2.0):
            store.commit(feed.step([Row(0, START, value)], series))
            tidy(store)
        assert rows_of(store, Sql("select last, count from windows where width = '5m'")) == [{"last": 2.0, "count": 3}]
        assert [row["value"] for row in rows_of(store, Devices())] == [2.0]

    def test_mistake_22_equal_timestamps_are_both_kept(self, store: Store) -> None:
        feed, series = Feed(), building(1)
        store.commit(feed.step([Row(0, START, 1.0), Row(0, START, 2.0)], series))
        store.commit(feed.step([Row(0, START, 2.0)]))
        tidy(store)
        assert sorted(row["value"] for row in rows_of(store, History())) == [1.0, 2.0, 2.0]

    def test_mistake_17_averages_are_sum_over_count_and_sites_and_zones_stay_apart(self, store: Store) -> None:
        feed, series = Feed(), building(8)
        many = [Row(0, START + i, 10.0) for i in range(9)] + [Row(16, START, 20.0), Row(4, START, 99.0)]
        store.commit(feed.step(many, series))
        rows = rows_of(store, Trends("co2", START, START + DAY))
        assert [(r["site_id"], r["zone_id"], r["avg"], r["count"]) for r in rows] == [
            ("Site-0", "Zone-0", 11.0, 10),  # devices 0 and 4; an average of averages would be 15
            ("Site-1", "Zone-0", 99.0, 1),
        ]

    def test_trends_fold_any_multiple_of_a_width_and_refuse_the_rest(self, store: Store) -> None:
        feed, series = Feed(), building(1)
        store.commit(feed.step([Row(0, START + i * 60 * SECOND, float(i)) for i in range(120)], series))
        for width in (300, 900, 1800, 3600):
            rows = rows_of(store, Trends("co2", START, START + 2 * 3600 * SECOND, width))
            per = width // 60
            assert [r["timestamp"] for r in rows] == [START + i * width * SECOND for i in range(7200 // width)]
            assert [r["avg"] for r in rows] == [i * per + (per - 1) / 2 for i in range(7200 // width)]
        for width in (60, 400, 0, -300):
            with pytest.raises(Invalid, match="300"):
                store.ask(Trends("co2", START, START + DAY, width))
        late = rows_of(store, Trends("co2", START + SECOND, START + 3600 * SECOND + 1, 1800))
        assert [r["timestamp"] for r in late] == [START + 1800 * SECOND, START + 3600 * SECOND]

    def test_kpis_are_of_the_newest_window_of_each_group_however_quiet(self, store: Store) -> None:
        feed, series = Feed(), building(2)
        store.commit(
            feed.step(
                [Row(0, START, 400.0), Row(4, START - 3 * DAY, 500.0), Row(4, START - 3 * DAY + 1, 700.0)], series
            )
        )
        tidy(store)
        store.commit(feed.step([Row(0, START + DAY, 800.0), Row(4, START - 9 * DAY, 1.0)]))
        wanted = [
            {
                "site_id": "Site-0",
                "zone_id": "Zone-0",
                "sensor_type": "co2",
                "current_avg": 800.0,
                "current_max": 800.0,
                "sample_count": 1,
                "last_updated": START + DAY,
            },
            {
                "site_id": "Site-1",
                "zone_id": "Zone-0",
                "sensor_type": "co2",
                "current_avg": 600.0,
                "current_max": 700.0,
                "sample_count": 2,
                "last_updated": START - 3 * DAY + 1,
            },
        ]
        for _ in range(2):
            assert rows_of(store, Kpis()) == wanted
            assert rows_of(store, Kpis(site="Site-1")) == wanted[1:]
            tidy(store)

    def test_the_heatmap_is_the_share_of_windows_with_anyone_there(self, store: Store) -> None:
        feed, series = Feed(), building(1)
        rows = [Row(2, START + i * 300 * SECOND, 4.0 if i % 4 == 0 else 0.0) for i in range(24)]
        store.commit(feed.step(rows, series))
        wanted = {"site_id": "Site-0", "zone_id": "Zone-0", "occupancy_rate": 0.25, "avg_occupancy": 1.0}
        assert rows_of(store, Heatmap()) == [wanted]
        assert rows_of(store, Heatmap(until=START)) == []
        by_hour = rows_of(store, Heatmap(by_hour=True))
        assert [row["hour"] for row in by_hour] == [0, 1]
        assert by_hour[0] == {**wanted, "hour": 0}

    def test_history_filters_orders_limits_and_counts(self, store: Store) -> None:
        feed, series = Feed(), building(3)
        for step in range(5):
            store.commit(feed.step(random_rows(step, series, 200, since=START + step * DAY), series))
            if step % 2:
                tidy(store)
        names = {one.id: one for one in series}
        rows = [
            (t, s, v) for s, t, v in zip(*(_micros(feed.readings[c]) for c in ("series", "time", "value")), strict=True)
        ]
        cases: list[tuple[History, Any]] = [
            (History(limit=10_000), lambda t, s: True),
            (History(limit=7), lambda t, s: True),
            (History(limit=7, oldest_first=True), lambda t, s: True),
            (History(device="device-1", limit=30), lambda t, s: s.device == "device-1"),
            (
                History(metric="co2", site="Site-1", zone="Zone-0"),
                lambda t, s: s.metric == "co2" and s.site == "Site-1",
            ),
            (
                History(since=START + DAY, until=START + 2 * DAY, limit=5),
                lambda t, s: START + DAY <= t < START + 2 * DAY,
            ),
            (History(device="device-2", since=START + DAY), lambda t, s: s.device == "device-2" and t >= START + DAY),
            (History(until=START + DAY), lambda t, s: t < START + DAY),
            (History(until=START), lambda t, s: False),
            (History(device="nobody"), lambda t, s: False),
        ]
        for question, match in cases:
            wanted = sorted([r for r in rows if match(r[0], names[r[1]])], reverse=not question.oldest_first)
            answer = store.ask(question)
            got = rows_of(store, question)
            assert (answer.total, answer.stored) == (len(wanted), len(rows)), question
            assert [row["time"] for row in got] == [r[0] for r in wanted[: question.limit]], question
            if question.limit >= len(wanted):
                mine = sorted((r["time"], r["device"], r["metric"], r["value"]) for r in got)
                assert mine == sorted((t, names[s].device, names[s].metric, v) for t, s, v in wanted), question

    def test_what_comes_out_is_what_went_in(self, store: Store) -> None:
        feed = Feed()
        series = building(1)
        rows = [
            Row(0, START, 1.5, Kind.NUMBER),
            Row(0, START + 1, float(2**60), Kind.INTEGER, str(2**60 + 1)),
            Row(0, START + 2, 1.0, Kind.BOOLEAN),
            Row(0, START + 3, None, Kind.TEXT, "naïve ✓ 'quoted' \\"),
            Row(0, START + 4, None, Kind.JSON, '{"a":[1,null]}'),
            Row(0, START + 5, None, Kind.NONE, None, 1),
            Row(0, START + 6, 1.7e308),
            Row(0, START + 7, 1.7e308),
            Row(0, START + 8, -0.0),
        ]
        store.commit(feed.step(rows, series))
        for _ in range(2):
            got = rows_of(store, History(oldest_first=True))
            assert [Row(0, r["time"], r["value"], r["kind"], r["text"], r["quality"]) for r in got] == rows
            tidy(store)

    def test_alerts_are_set_by_id_and_retracted(self, store: Store) -> None:
        feed, series = Feed(), building(1)
        first = [
            alert("a", START, "pending"),
            alert("b", START + 1, severity="critical"),
            alert("c", START + 2, "resolved"),
            alert("d", START + 3, "acknowledged"),
        ]
        store.commit(feed.step((), series, alerts=first))
        assert [r["alert_id"] for r in rows_of(store, Alerts())] == ["d", "c", "b"]
        assert [r["alert_id"] for r in rows_of(store, Alerts(state="open"))] == ["d", "b"]
        assert [r["alert_id"] for r in rows_of(store, Alerts(state="pending"))] == ["a"]
        assert [r["alert_id"] for r in rows_of(store, Alerts(severity="critical"))] == ["b"]
        assert [r["alert_id"] for r in rows_of(store, Alerts(since=START + 2))] == ["d", "c"]
        limited = store.ask(Alerts(limit=1))
        assert (len(limited.rows), limited.total) == (1, 3)
        store.commit(feed.step(alerts=[alert("b", START + 1, "resolved")], retracted=["a"]))
        assert {a.id for a in store.load().alerts} == {"d"}
        assert rows_of(store, Alerts(state="pending")) == []
        assert rows_of(store, Totals())[0]["alerts_firing"] == 0

    def test_the_ledger_adds_up_and_closes(self, store: Store) -> None:
        feed = Feed()
        store.commit(feed.step(ledger=[LedgerLine("n", 2, 10, 6, 1, 1, 1, 0, 1, 2), LedgerLine("", 0, 5, 5)]))
        store.commit(feed.step(ledger=[LedgerLine("n", 2, 0, 0, 3, 0, 0, 2), LedgerLine("n", 2, 4, 4)]))
        rows = rows_of(store, Ledger())
        assert [(r["source"], r["lane"]) for r in rows] == [("", 0), ("n", 2)]
        assert rows[1]["sent"] == 14 + 4 + 1
        for r in rows:
            assert r["sent"] == sum(r[c] for c in ("stored", "duplicate", "refused", "set_aside", "lost", "missing"))

    def test_gaps_tell_what_is_missing_lost_and_set_aside(self, store: Store) -> None:
        feed = Feed()
        lost = Mark(0, 5, 1, "n", 2, "e", "lost", 7, 9, 30, START, "the outbox was full")
        store.commit(feed.step(marks=[lost], streams=[Stream("n", "e", 2, 9, 90, ((2, 3, 11),), (5,))]))
        rows = rows_of(store, Gaps())
        assert [(r["reason"], r["first_seq"], r["last_seq"], r["readings"]) for r in rows] == [
            ("missing", 2, 3, 11),
            ("lost", 7, 9, 30),
        ]
        assert (rows[0]["before"], rows[1]["noticed"], rows[1]["before"]) == (None, START, START)
        assert store.ask(Gaps(limit=1)).total == 2
        store.commit(feed.step(streams=[Stream("n", "e", 2, 9, 90)]))
        assert [r["reason"] for r in rows_of(store, Gaps())] == ["lost"]

    def test_gaps_of_the_node_that_declared_a_device_from_a_moment_on(self, store: Store) -> None:
        feed = Feed()
        nodes = [Definition("profile", "d", {}, 1, source="n"), Definition("profile", "e", {}, 1, source="m")]
        streams = [Stream("n", "e", 2, 9, 90, ((2, 3, 11, START), (5, 5, 7)), (5, 30)), Stream("m", "e", 3, 9, 90)]
        marks = [
            Mark(0, 5, 1, "n", 3, "e", "lost", 7, 9, 30, START + 5, "full"),
            Mark(0, 5, 2, "m", 3, "e", "lost", 1, 1, 3, START + 5, "full"),
        ]
        store.commit(feed.step(definitions=nodes, streams=streams, marks=marks))
        assert [(r["first_seq"], r["before"]) for r in rows_of(store, Gaps(device="d"))] == [
            (2, START),
            (5, None),
            (7, START + 5),
        ]
        assert [r["first_seq"] for r in rows_of(store, Gaps(device="d", since=START + 1))] == [5, 7]
        assert [r["first_seq"] for r in rows_of(store, Gaps(device="d", since=START + 6))] == [5]
        assert [r["source"] for r in rows_of(store, Gaps(device="e"))] == ["m"]
        assert rows_of(store, Gaps(device="nobody's")) == []
        assert store.load().streams == streams[::-1]

    def test_the_state_names_what_was_set_aside_or_purged(self, store: Store) -> None:
        """The newest first: whoever reads the log again has to leave it out."""
        feed = Feed()
        marks = [
            Mark(0, 5, 1, "n", 2, "e", "set_aside", 7, 9, 30, START, "came before"),
            Mark(0, 6, 0, "n", 2, "e", "lost", 7, 9, 30, START, "dropped"),
            Mark(0, 7, 2, "", 0, "", "purged", 0, 0, 4, START, "device a"),
        ]
        for mark in marks:
            store.commit(feed.step(marks=[mark]))
        assert list(store.load().marks) == [marks[2], marks[0]]

    def test_definitions_are_set_and_removed(self, store: Store) -> None:
        feed = Feed()
        profile = {"device": "d", "metrics": {"co2": {"unit": "ppm"}}}
        store.commit(feed.step(definitions=[Definition("profile", "d", {}, 1), Definition("rule", "r", {"a": 1}, 1)]))
        store.commit(feed.step(definitions=[Definition("profile", "d", profile, 5), Definition("rule", "r", None, 5)]))
        assert list(store.load().definitions) == [Definition("profile", "d", profile, 5)]
        (row,) = rows_of(store, Profiles())
        assert (row["device"], row["updated"]) == ("d", 5)
        assert rows_of(store, Profiles(device="e")) == []

    def test_devices_page_by_name(self, store: Store) -> None:
        feed, series = Feed(), building(10)
        store.commit(feed.step([Row(one.id, START, 1.0) for one in series], series))
        seen: list[str] = []
        while rows := rows_of(store, Devices(limit=3, after=seen[-1] if seen else "")):
            assert len(rows) <= 3 * 4
            seen += sorted({row["device_id"] for row in rows})
        assert seen == [f"device-{i}" for i in range(10)]
        assert store.ask(Devices(limit=3)).total == 10
        assert {r["site_id"] for r in rows_of(store, Devices(site="Site-1"))} == {"Site-1"}
        assert len(rows_of(store, Devices(device="device-3"))) == 4

    def test_names_and_filters_are_values_and_never_sql(self, store: Store) -> None:
        feed = Feed()
        odd = "d'; drop table store.series; --$limit %s {0}"
        series = [building(1)[0]._replace(device=odd, metric=odd, site=odd, zone=odd)]
        store.commit(feed.step([Row(0, START, 1.0)], series))
        tidy(store)
        assert len(rows_of(store, History(device=odd, metric=odd, site=odd, zone=odd))) == 1
        assert len(rows_of(store, Devices(device=odd))) == 1
        assert len(rows_of(store, Trends(odd, START, START + DAY, device=odd))) == 1
        assert rows_of(store, Alerts(state=odd, severity=odd)) == []
        assert len(rows_of(store, Sql("select 1 from readings where device = $1", parameters=(odd,)))) == 1

    def test_housekeeping_changes_no_answer(self, store: Store) -> None:
        feed, series = Feed(), building(4)
        for step in range(8):
            store.commit(feed.step(random_rows(step, series, 300, since=START + step * DAY // 4), series))
        but_parts = [q for q in QUESTIONS if not isinstance(q, Totals)]
        before = [_rounded(rows_of(store, question)) for question in but_parts]
        tidy(store)
        assert [_rounded(rows_of(store, question)) for question in but_parts] == before

    def test_every_answer_is_a_whole_number_of_commits(self, store: Store) -> None:
        feed, series, per = Feed(), building(2), 50
        wrong: list[str] = []
        done = threading.Event()

        def look() -> None:
            sql = Sql(
                "select (select count(*) from readings) as r, (select sum(count) from windows where width = '5m') as w"
            )
            while not done.is_set():
                try:
                    answer = store.ask(sql)
                except Retry:  # on a slow machine a query of users makes way for a commit
                    continue
                stored = answer.cursor.offsets.get(0, 0)
                if answer.rows.to_pylist() not in ([{"r": stored * per, "w": stored * per}], [{"r": 0, "w": None}]):
                    wrong.append(f"{answer.rows.to_pylist()} at {answer.cursor}")
                total = store.ask(Totals())
                if total.rows["readings"][0].as_py() != total.cursor.offsets.get(0, 0) * per:
                    wrong.append(f"{total.rows.to_pylist()} at {total.cursor}")

        def keep() -> None:
            while not done.is_set():
                store.maintain()

        threads = [threading.Thread(target=look), threading.Thread(target=look), threading.Thread(target=keep)]
        for thread in threads:
            thread.start()
        try:
            for step in range(30):
                store.commit(feed.step(random_rows(step, series, per), series))
        finally:
            done.set()
            for thread in threads:
                thread.join()
        assert wrong == []

    @pytest.mark.parametrize("text", REFUSED)
    def test_anything_but_one_select_is_refused(self, store: Store, text: str) -> None:
        with pytest.raises(Invalid):
            store.ask(Sql(text))
        assert store.load().progress == []

    def test_too_many_rows_are_refused_with_a_hint(self, store: Store) -> None:
        feed, series = Feed(), building(1)
        store.commit(feed.step([Row(0, START + i, 1.0) for i in range(100)], series))
        assert len(store.ask(Sql("select * from readings", rows=100)).rows) == 100
        with pytest.raises(Invalid, match="LIMIT"):
            store.ask(Sql("select * from readings", rows=99))


def _micros(column: pa.ChunkedArray) -> list[Any]:
    return list((column.cast(pa.int64()) if column.type == TIME else column).to_pylist())


def _rounded(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """``rows`` without the digits that depend on the order of a sum."""
    return [{k: float(f"{v:.9g}") if isinstance(v, float) else v for k, v in row.items()} for row in rows]
