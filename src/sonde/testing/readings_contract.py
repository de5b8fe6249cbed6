"""What every store must keep of readings. Part of :class:`sonde.testing.store_contract.StoreContract`."""

from typing import Any

from sonde.clock import DAY
from sonde.ports import Store
from sonde.question import Devices, History
from sonde.reading import Kind
from sonde.testing.asking import micros, rows_of, tidy
from sonde.testing.store_feed import START, Feed, Row, building, random_rows


class ReadingsContract:
    """Tests of history and of devices; the fixture ``store`` is the contract's."""

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

    def test_mistake_22_equal_timestamps_are_both_kept(self, store: Store) -> None:
        feed, series = Feed(), building(1)
        store.commit(feed.step([Row(0, START, 1.0), Row(0, START, 2.0)], series))
        store.commit(feed.step([Row(0, START, 2.0)]))
        tidy(store)
        assert sorted(row["value"] for row in rows_of(store, History())) == [1.0, 2.0, 2.0]

    def test_history_filters_orders_limits_and_counts(self, store: Store) -> None:
        feed, series = Feed(), building(3)
        for step in range(5):
            store.commit(feed.step(random_rows(step, series, 200, since=START + step * DAY), series))
            if step % 2:
                tidy(store)
        names = {one.id: one for one in series}
        rows = [
            (t, s, v) for s, t, v in zip(*(micros(feed.readings[c]) for c in ("series", "time", "value")), strict=True)
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
