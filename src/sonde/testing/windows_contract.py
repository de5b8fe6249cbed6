"""What every store must fold, and tell of windows. Part of :class:`sonde.testing.store_contract.StoreContract`."""

import pytest

from sonde.clock import DAY, SECOND
from sonde.errors import Invalid
from sonde.ports import Store
from sonde.question import Devices, Heatmap, Kpis, Sql, Trends
from sonde.testing.asking import rows_of, tidy
from sonde.testing.store_feed import START, Feed, Row, building, random_rows


class WindowsContract:
    """Tests of windows and what is made of them; the fixture ``store`` is the contract's."""

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
