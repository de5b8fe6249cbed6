"""What a store must do that follows a log of several partitions. Subclass :class:`PartitionsContract`, and give ``store`` as
a fixture; :class:`PartitionsAskedContract` if it answers questions too."""

import threading
from collections.abc import Iterator
from dataclasses import replace

import msgspec
import pytest

from sonde.changes import Alert, Correction, Definition, LedgerLine, Mark, Purge, Series, Stream
from sonde.clock import DAY, SECOND
from sonde.errors import Conflict
from sonde.ports import Store
from sonde.question import (
    Alerts,
    Corrections,
    Defined,
    FoundSeries,
    History,
    Ledger,
    Profiles,
    Reached,
    Totals,
    Trends,
)
from sonde.testing.asking import rows_of
from sonde.testing.store_feed import LOG, START, Feed, Row

A, B, C, D = (Series(0, f"device-{name}", "co2", "Site", "Zone", "{}") for name in "abcd")


def numbered(*series: Series) -> list[Series]:
    """Series with the numbers that a partition gives them: in the order in which it meets them."""
    return [one._replace(id=number) for number, one in enumerate(series)]


def names(series: Iterator[Series] | list[Series]) -> dict[str, int]:
    return {one.device: one.id for one in series}


class PartitionsContract:
    """Tests of one adapter, which follows the log :data:`sonde.testing.store_feed.LOG`."""

    @pytest.fixture
    def store(self) -> Iterator[Store]:
        """A new, empty one. Override it."""
        raise NotImplementedError

    def test_each_partition_goes_on_from_where_it_stands(self, store: Store) -> None:
        feeds = [Feed(partition=partition) for partition in range(3)]
        for steps, feed in enumerate(feeds):
            for _ in range(steps + 1):
                store.commit(feed.step([Row(0, START, 1.0)], numbered(A)))
        for partition in range(3):
            found = {p.partition: p.offset for p in store.load(partition).progress if p.log == LOG}
            assert found == {0: 1, 1: 2, 2: 3}, "of every partition, whichever is asked for"
        with pytest.raises(Conflict) as caught:
            store.commit(replace(feeds[2].step([Row(0, START, 1.0)]), expected=2))
        assert caught.value.known == 3

    def test_numbers_of_series_are_a_partition_s_own(self, store: Store) -> None:
        zero, one = Feed(partition=0), Feed(partition=1)
        store.commit(zero.step([Row(0, START, 1.0), Row(1, START, 2.0)], numbered(A, B)))
        store.commit(one.step([Row(0, START, 3.0), Row(1, START, 4.0)], numbered(C, D)))
        store.commit(zero.step([Row(2, START, 5.0)], [C._replace(id=2)]))
        store.commit(one.step([Row(2, START + 1, 6.0)], [A._replace(id=2)]))
        assert names(list(store.load(0).series)) == {"device-a": 0, "device-b": 1, "device-c": 2}
        assert names(list(store.load(1).series)) == {"device-c": 0, "device-d": 1, "device-a": 2}
        assert list(store.load(7).series) == []
        assert {n: v.value for n, v in store.load(0).newest.items()} == {0: 1.0, 1: 2.0, 2: 5.0}
        assert {n: v.value for n, v in store.load(1).newest.items()} == {0: 3.0, 1: 4.0, 2: 6.0}

    def test_what_a_partition_said_is_loaded_for_it_alone(self, store: Store) -> None:
        for partition in (0, 1):
            feed = Feed(partition=partition)
            store.commit(
                feed.step(
                    [Row(0, START, 1.0)],
                    numbered(A if partition else B),
                    streams=[Stream(f"node-{partition}", "e", 2, 5, 50)],
                    definitions=[Definition("rule", "high", {"above": partition}, START + partition)],
                    alerts=[_alert(f"alert-{partition}", 0)],
                    marks=[_mark(partition)],
                )
            )
        for partition in (0, 1):
            state = store.load(partition)
            assert [s.source for s in state.streams] == [f"node-{partition}"]
            assert [d.body for d in state.definitions] == [{"above": partition}]
            assert [(a.id, a.series) for a in state.alerts] == [(f"alert-{partition}", 0)]
            assert [m.partition for m in state.marks] == [partition]
        assert store.load(2).definitions == []

    def test_an_alert_of_a_zone_and_one_of_another_number(self, store: Store) -> None:
        store.commit(Feed(partition=0).step([], numbered(A, B)))
        one = Feed(partition=1)
        zone = msgspec.structs.replace(_alert("zone", -1), metric="co2", site="Site", zone="Zone")
        store.commit(one.step([], numbered(D, B), alerts=[zone, _alert("b", 1)]))
        assert sorted((a.id, a.series) for a in store.load(1).alerts) == [("b", 1), ("zone", -1)]
        store.commit(one.step(alerts=[msgspec.structs.replace(_alert("b", 1), state="resolved")], retracted=["zone"]))
        assert store.load(1).alerts == []

    def test_partitions_commit_at_the_same_time(self, store: Store) -> None:
        """Of the same series, new to all of them, in other orders each: no deadlock, and nothing is lost."""
        series, failures = [A, B, C, D], []

        def work(partition: int) -> None:
            feed = Feed(partition=partition)
            mine = numbered(*(series[partition:] + series[:partition]))
            for step in range(10):
                rows = [Row(one.id, START + step * SECOND, float(partition)) for one in mine]
                try:
                    store.commit(feed.step(rows, mine, ledger=[LedgerLine("web", 0, declared=4, stored=4)]))
                except Exception as error:
                    failures.append(error)
                    return

        threads = [threading.Thread(target=work, args=(partition,)) for partition in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert failures == []
        assert sorted((p.partition, p.offset) for p in store.load().progress) == [(n, 10) for n in range(4)]


class PartitionsAskedContract(PartitionsContract):
    """The same for a store that answers questions: what several partitions hold of a thing is merged in every answer."""

    def test_a_series_of_two_partitions_is_one_in_every_answer(self, store: Store) -> None:
        zero, one = Feed(partition=0), Feed(partition=1)
        store.commit(zero.step([Row(0, START, 1.0), Row(1, START, 10.0)], numbered(B, A)))
        store.commit(one.step([Row(0, START + 60 * SECOND, 3.0), Row(1, START + 1, 7.0)], numbered(A, C)))
        (totals,) = rows_of(store, Totals())
        assert (totals["readings"], totals["series"], totals["devices"]) == (4, 3, 3)
        found = {row["device"]: row for row in rows_of(store, FoundSeries())}
        assert {name: row["value"] for name, row in found.items()} == {
            "device-a": 3.0,
            "device-b": 1.0,
            "device-c": 7.0,
        }
        history = rows_of(store, History(device="device-a", limit=10))
        assert sorted(row["value"] for row in history) == [3.0, 10.0]

    def test_windows_of_two_partitions_are_one(self, store: Store) -> None:
        start = START // DAY * DAY
        zero, one = Feed(partition=0), Feed(partition=1)
        store.commit(zero.step([Row(0, start, 1.0), Row(0, start + SECOND, 2.0)], numbered(A)))
        store.commit(one.step([Row(1, start + 2 * SECOND, 9.0)], numbered(B, A)))
        (row,) = rows_of(store, Trends("co2", start, start + DAY))
        assert (row["count"], row["avg"], row["min"], row["max"]) == (3, 4.0, 1.0, 9.0)

    def test_ledger_lines_add_up(self, store: Store) -> None:
        for partition in (0, 1):
            line = LedgerLine("web", 0, declared=5, stored=4, duplicate=2, lost=1)
            store.commit(Feed(partition=partition).step(ledger=[line]))
        (row,) = rows_of(store, Ledger())
        assert (row["sent"], row["stored"], row["duplicate"], row["lost"], row["missing"]) == (14, 8, 4, 2, 0)

    def test_the_cursor_of_an_answer_names_every_partition(self, store: Store) -> None:
        for partition in (0, 1, 5):
            store.commit(Feed(partition=partition).step())
        assert dict(store.ask(Totals()).cursor.offsets) == {0: 1, 1: 1, 5: 1}
        reached = rows_of(store, Reached())
        assert sorted((row["partition"], row["next_offset"]) for row in reached) == [(0, 1), (1, 1), (5, 1)]

    def test_of_definitions_the_first_partition_s_count(self, store: Store) -> None:
        """They are in every partition; what owners of rules find refers to those of the first."""
        for partition in (1, 0, 2):
            rule = Definition("rule", "high", {"above": partition}, START + partition, who="anna")
            profile = Definition("profile", "device-a", {"device": "device-a"}, START + partition, "node-a")
            store.commit(Feed(partition=partition).step(series=numbered(A), definitions=[rule, profile]))
        (row,) = rows_of(store, Defined(("rule",)))
        assert (msgspec.json.decode(row["body"]), row["log_time"]) == ({"above": 0}, START)
        assert [row["device"] for row in rows_of(store, Profiles())] == ["device-a"]

    def test_alerts_of_all_partitions_are_there_under_their_names(self, store: Store) -> None:
        store.commit(Feed(partition=0).step([], numbered(A, B), alerts=[_alert("of-a", 0)]))
        store.commit(Feed(partition=1).step([], numbered(B, A), alerts=[_alert("of-b", 0)]))
        assert {row["alert_id"]: row["device"] for row in rows_of(store, Alerts())} == {
            "of-a": "device-a",
            "of-b": "device-b",
        }

    def test_the_owner_of_a_rule_settles_what_other_partitions_corrected(self, store: Store) -> None:
        rule = Definition("rule", "stuffy", {"id": "stuffy"}, START)
        zero, one = Feed(partition=0), Feed(partition=1)
        store.commit(zero.step([], numbered(A, B), definitions=[rule]))
        changed = Correction("stuffy", 0, START, 1, 4)
        store.commit(one.step([], numbered(B), definitions=[rule], corrections=[changed]))
        (row,) = rows_of(store, Corrections())
        assert (row["device"], row["partition"], row["offset"]) == ("device-b", 1, 4)
        store.commit(zero.step(settled=[Correction("stuffy", 1, 0, 1, 4)]))
        assert len(rows_of(store, Corrections())) == 1, "it was noted behind what was judged"
        store.commit(zero.step(settled=[Correction("stuffy", 1, 0, 1, 5)]))
        assert rows_of(store, Corrections()) == []

    def test_a_purge_of_everything_takes_what_its_partition_has(self, store: Store) -> None:
        zero, one = Feed(partition=0), Feed(partition=1)
        store.commit(zero.step([Row(0, START, 1.0)], numbered(A)))
        store.commit(one.step([Row(0, START, 2.0)], numbered(B)))
        store.commit(zero.step(purges=[Purge()]))
        assert [row["device"] for row in rows_of(store, History(limit=10))] == ["device-b"]
        store.commit(one.step(purges=[Purge((0,))]))
        assert rows_of(store, History(limit=10)) == []


def _alert(name: str, series: int) -> Alert:
    return Alert(name, "high", series, "above", "warning", "firing", 1000.0, START, 1100.0, 1200.0, fired_at=START)


def _mark(partition: int) -> Mark:
    return Mark(partition, 3, 0, "web", 0, "", "set_aside", 0, 0, 1, START, "why")
