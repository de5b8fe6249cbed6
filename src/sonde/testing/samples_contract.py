"""What every store must give a chart. Part of :class:`sonde.testing.store_contract.StoreContract`."""

import pyarrow as pa
import pytest

from sonde.clock import DAY, SECOND, Micros
from sonde.ports import Store
from sonde.question import FoundSeries, History, Samples, Stale
from sonde.reading import Kind
from sonde.testing.asking import rows_of, tidy
from sonde.testing.store_feed import START, Feed, Row, building, random_rows


class SamplesContract:
    """Tests of the questions that charts ask; the fixture ``store`` is the contract's."""

    def test_few_readings_are_samples_as_they_came(self, store: Store) -> None:
        feed, series = Feed(), building(1)
        rows = [Row(0, START + i * SECOND, float(i)) for i in range(5)] + [
            Row(0, START + 5 * SECOND, None, Kind.NONE, None, 1),
            Row(1, START, 7.0, Kind.INTEGER),
            Row(2, START, None, Kind.TEXT, "ok"),
            Row(3, START, 1.0),
        ]
        store.commit(feed.step(rows, series))
        for _ in range(2):
            found = rows_of(store, Samples((0, 1, 2), START, START + DAY, 10))
            assert [(r["series"], r["time"], r["avg"], r["text"], r["quality"]) for r in found] == [
                *((0, START + i * SECOND, float(i), None, 0) for i in range(5)),
                (0, START + 5 * SECOND, None, None, 1),
                (1, START, 7.0, None, 0),
                (2, START, None, "ok", 0),
            ]
            assert {r["step"] for r in found} == {0}
            assert [r["time"] for r in rows_of(store, Samples((0,), START + SECOND, START + 3 * SECOND))] == [
                START + SECOND,
                START + 2 * SECOND,
            ]
            tidy(store)

    @pytest.mark.parametrize("span", [DAY // 24, DAY, 20 * DAY])
    def test_buckets_keep_the_extremes_and_average_over_readings(self, store: Store, span: Micros) -> None:
        feed, series = Feed(), building(1)
        for step in range(3):
            store.commit(feed.step(random_rows(step, series, 400, span=span), series))
            if step == 1:
                tidy(store)
        found = rows_of(store, Samples((0, 2), START, START + span, 20))
        wide = found[0]["step"]
        assert wide > 0
        assert max(sum(r["series"] == s for r in found) for s in (0, 2)) <= 20
        wanted = _bucketed(feed, (0, 2), wide)
        assert [(r["series"], r["time"]) for r in found] == sorted(wanted)
        for row in found:
            values = wanted[row["series"], row["time"]]
            assert (row["count"], row["min"], row["max"]) == (len(values), min(values), max(values))
            assert row["avg"] == pytest.approx(sum(values) / len(values))

    def test_where_nothing_was_measured_there_is_no_bucket(self, store: Store) -> None:
        feed, series = Feed(), building(1)
        rows = [Row(0, START + i * SECOND, 1.0) for i in (*range(300), *range(3000, 3300))]
        store.commit(feed.step(rows, series))
        found = rows_of(store, Samples((0,), START, START + 3300 * SECOND, 100))
        assert sum(r["count"] for r in found) == 600
        assert not [r for r in found if START + 300 * SECOND <= r["time"] < START + 3000 * SECOND - found[0]["step"]]

    def test_only_numbers_that_count_are_in_a_bucket(self, store: Store) -> None:
        feed, series = Feed(), building(1)
        odd = [Row(0, START + i, 9e9, quality=3) for i in range(50)] + [Row(0, START + 60, None, Kind.TEXT, "x")]
        store.commit(feed.step([*odd, *(Row(0, START + 100 + i, 5.0) for i in range(50))], series))
        (row,) = rows_of(store, Samples((0,), START, START + 60 * SECOND, 10))
        assert (row["count"], row["min"], row["max"]) == (50, 5.0, 5.0)

    @pytest.mark.parametrize("span", [DAY // 24, DAY])
    def test_buckets_of_words_say_what_all_their_readings_say(self, store: Store, span: Micros) -> None:
        feed, series = Feed(), building(1)
        said = ["ok" if i < 50 else "warning" for i in range(99)] + ["ok"]
        rows = [Row(2, START + i * span // 100, None, Kind.TEXT, text) for i, text in enumerate(said)]
        numbers = [Row(0, START + i * span // 100, float(i)) for i in range(100)]
        store.commit(feed.step([*rows, *numbers], series))
        for _ in range(2):
            found = rows_of(store, Samples((0, 2), START, START + span, 20))
            assert found[0]["step"] > 0
            words = [r["text"] for r in found if r["series"] == 2]
            assert list(dict.fromkeys(words)) in (["ok", "warning", None], ["ok", None, "warning"])
            assert (words[0], words[-1]) == ("ok", None)
            assert {r["count"] for r in found if r["series"] == 2} == {0}
            assert sum(r["count"] for r in found if r["series"] == 0) == 100
            assert {r["text"] for r in found if r["series"] == 0} == {None}
            assert rows_of(store, Samples((2,), START, START + span, 20)) == [r for r in found if r["series"] == 2]
            tidy(store)

    def test_series_are_found_by_words_in_any_of_their_names(self, store: Store) -> None:
        feed, series = Feed(), building(4)
        store.commit(feed.step([Row(one.id, START + one.id, 1.5) for one in series], series))
        for words, wanted in {
            (): 16,
            ("co2",): 4,
            ("CO2", "site-1"): 2,
            ("device-3",): 4,
            ("device-3", "zone-1", "hum"): 1,
            ("nothing",): 0,
            ("%",): 0,
            ("_",): 0,
        }.items():
            answer = store.ask(FoundSeries(words))
            assert (len(answer.rows), answer.total) == (wanted, wanted), words
        umlaut = building(1)[0]._replace(id=99, device="BÜRO 1", metric="CO₂")
        store.commit(feed.step([Row(99, START, 1.0)], [umlaut]))
        assert store.ask(FoundSeries(("büro", "Co₂"))).rows["device"].to_pylist() == ["BÜRO 1"]
        assert store.ask(FoundSeries(("b\0", "\0"))).total == 0
        assert store.ask(History(device="a\0b", site="\0")).total == 0
        beyond = (2**31, 2**63, -1)
        assert store.ask(FoundSeries(series=beyond)).total == 0
        assert store.ask(History(series=beyond)).total == 0
        assert len(store.ask(Samples(beyond, START, START + DAY)).rows) == 0
        few = store.ask(FoundSeries(("co2",), limit=1))
        assert (few.rows["device"].to_pylist(), few.total) == (["device-0"], 4)
        (one,) = rows_of(store, FoundSeries(series=(5,)))
        assert (one["series"], one["device"], one["metric"], one["time"]) == (5, "device-1", "humidity", START + 5)
        assert len(rows_of(store, History(series=(5, 2)))) == 2

    def test_what_is_quiet_comes_quietest_first(self, store: Store) -> None:
        feed, series = Feed(), building(4)
        store.commit(feed.step([Row(4 * d, START + d * SECOND, 1.0) for d in range(4)], series))
        found = store.ask(Stale(START + 2 * SECOND, limit=1))
        assert (found.rows["device_id"].to_pylist(), found.total) == (["device-0"], 2)
        assert rows_of(store, Stale(START)) == []


def _bucketed(feed: Feed, series: tuple[int, ...], step: Micros) -> dict[tuple[int, Micros], list[float]]:
    wanted: dict[tuple[int, Micros], list[float]] = {}
    times = feed.readings["time"].cast(pa.int64()).to_pylist()
    for one, time, value in zip(
        feed.readings["series"].to_pylist(), times, feed.readings["value"].to_pylist(), strict=True
    ):
        if one in series:
            wanted.setdefault((one, time // step * step), []).append(value)
    return wanted
