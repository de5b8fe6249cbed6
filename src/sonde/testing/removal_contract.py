"""What every adapter of port ``Store`` must do with floors and purges. Subclass :class:`RemovalContract`, and give ``store`` as
a fixture."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from sonde.changes import Alert, Definition, Happened, Purge
from sonde.clock import DAY, SECOND, Micros
from sonde.command import Command, State
from sonde.ports import Store
from sonde.question import (
    Alerts,
    Commands,
    CommandSteps,
    Devices,
    Heatmap,
    History,
    Kpis,
    Purgeable,
    Question,
    Sql,
    Totals,
    Trends,
)
from sonde.removal import PurgeOrder
from sonde.testing.asking import rows_of, tidy
from sonde.testing.store_feed import START, Feed, Row, building, random_rows

SERIES = building(3)
STEPS = 5
LAST = START + STEPS * DAY
_MORE = pytest.mark.all
SEALED = (
    "some is sealed",
    pytest.param("nothing is sealed", marks=_MORE),
    pytest.param("all is sealed", marks=_MORE),
)
QUESTIONS: tuple[Question, ...] = (
    Kpis(),
    Trends("co2", START, LAST + DAY),
    Trends("co2", START, LAST + DAY, width=3600),
    Heatmap(),
    Devices(),
    History(limit=10_000),
    History(limit=10_000, oldest_first=True, metric="co2"),
    Sql("select * from readings"),
    Sql("select * from windows"),
)


def floor(name: str, before: Micros) -> Definition:
    return Definition("floor", name, {"before": before}, before)


def alert(name: str, since: Micros, state: str = "resolved", *, series: int = 0) -> Alert:
    ended = since + 60 * SECOND if state == "resolved" else None
    return Alert(name, "high", series, "above", "warning", state, 1.0, since, 2.0, 2.0, since, ended)


class RemovalContract:
    """Tests of one adapter. What is compared with is a store that never had what is let go."""

    @pytest.fixture
    def make(self) -> Iterator[Callable[[], Store]]:
        """Makes new, empty stores. Override it."""
        raise NotImplementedError

    @pytest.mark.parametrize("sealed", SEALED)
    def test_what_is_below_a_floor_is_not_shown(self, make: Callable[[], Store], sealed: str) -> None:
        at = START + 3 * DAY + 7 * 3600 * SECOND
        store, feed = filled(make(), sealed)
        store.commit(feed.step(definitions=[floor("readings", at), floor("windows 300", START + 4 * DAY)]))
        for _ in ("before its rows go", "when they have gone"):
            times = [row["time"] for row in rows_of(store, History(limit=10_000))]
            assert len(times) == len([t for t in micros(feed.readings) if t >= at])
            assert min(times) >= at
            assert store.ask(History()).total == len(times) == rows_of(store, Totals())[0]["readings"]
            assert store.ask(History(until=START + 4 * DAY)).total == sum(t < START + 4 * DAY for t in times)
            counts = {
                row["width"]: (row["least"], row["number"])
                for row in rows_of(
                    store, Sql("select width, min(start) as least, sum(count) as number from windows group by 1")
                )
            }
            assert counts["15m"][1] == len(feed.readings), "windows of another width stay"
            assert counts["5m"] == (
                min(t // (300 * SECOND) * 300 * SECOND for t in micros(feed.readings) if t >= START + 4 * DAY),
                sum(t >= START + 4 * DAY for t in micros(feed.readings)),
            )
            tidy(store)

    def test_what_comes_below_a_floor_later_is_not_shown_and_harms_nothing(self, make: Callable[[], Store]) -> None:
        store, feed = filled(make(), "some is sealed")
        store.commit(feed.step(definitions=[floor("readings", LAST)]))
        store.commit(feed.step([Row(0, START, 1.0), Row(0, LAST + SECOND, 2.0)]))
        for _ in range(2):
            assert [row["value"] for row in rows_of(store, History())] == [2.0]
            assert rows_of(store, Totals())[0]["readings"] == 1
            tidy(store)
        assert store.load().newest[0].time == LAST + SECOND

    def test_alerts_that_ended_below_the_floor_go(self, make: Callable[[], Store]) -> None:
        store, feed = make(), Feed()
        kept = [alert("open", START, "firing"), alert("later", START + DAY)]
        store.commit(feed.step(series=SERIES, alerts=[alert("old", START), *kept]))
        late = alert("late", START + SECOND)
        store.commit(feed.step(definitions=[floor("alerts", START + DAY)], alerts=[late]))
        store.commit(feed.step(alerts=[msgspec.structs.replace(late, id="later still")]))
        assert {row["alert_id"] for row in rows_of(store, Alerts())} == {"open", "later"}

    def test_commands_that_were_over_below_the_floor_go_with_their_steps(self, make: Callable[[], Store]) -> None:
        store, feed = make(), Feed()
        commands = [
            Command(name, "d", "heat", {}, "ann", state, START, START + DAY, changed_at=at)
            for name, state, at in (
                ("old", State.SUCCEEDED, START + SECOND),
                ("waits", State.QUEUED, START + SECOND),
                ("later", State.FAILED, START + 2 * DAY),
            )
        ]
        steps = [Happened(c.id, "d", "heat", "accepted", START) for c in commands]
        store.commit(feed.step(commands=commands, happened=steps))
        store.commit(feed.step(definitions=[floor("commands", START + DAY)]))
        assert {row["id"] for row in rows_of(store, Commands())} == {"waits", "later"}
        assert {id_: len(rows_of(store, CommandSteps(id_))) for id_ in ("old", "waits", "later")} == {
            "old": 0,
            "waits": 1,
            "later": 1,
        }

    @pytest.mark.parametrize("sealed", SEALED)
    @pytest.mark.parametrize(
        "purge",
        [
            Purge((0, 1, 2, 3)),
            Purge((0, 5), START + 3 * DAY),
            Purge(None, START + 2 * DAY),
            Purge(None, None),
            Purge((), None),
            Purge((11,), START - DAY),
        ],
        ids=str,
    )
    def test_a_purge_takes_what_came_before_it_and_nothing_after(
        self, make: Callable[[], Store], purge: Purge, sealed: str
    ) -> None:
        """The step that brings it brings new readings too, of the same series and of times that are purged."""
        store, feed = filled(make(), sealed)
        again = random_rows(99, SERIES, 40, span=STEPS * DAY)
        store.commit(feed.step(again, purges=[purge]))
        never = make()
        plain = Feed(known=set())
        for number in range(STEPS):
            store_row = [row for row in step_rows(number) if not taken(purge, row)]
            never.commit(plain.step(store_row, SERIES))
        never.commit(plain.step(again))
        for _ in ("before its rows go", "when they have gone"):
            for question in QUESTIONS:
                assert plainly(rows_of(store, question)) == plainly(rows_of(never, question)), question
            assert rows_of(store, Totals())[0]["readings"] == rows_of(never, Totals())[0]["readings"]
            assert dict(store.load().newest) == dict(never.load().newest)
            tidy(store)
            store.commit(feed.step())
            never.commit(plain.step())

    def test_what_a_purge_would_take_is_counted(self, make: Callable[[], Store]) -> None:
        store, feed = filled(make(), "some is sealed")
        rows = [row for number in range(STEPS) for row in step_rows(number)]
        names = {one.id: one for one in SERIES}
        for order in (
            PurgeOrder("device-[01]"),
            PurgeOrder(metric="co2", before=START + 2 * DAY),
            PurgeOrder(before=START + DAY),
            PurgeOrder("nobody"),
        ):
            taken_away = [
                row
                for row in rows
                if row.series in (order.matching(SERIES) or ([] if order.device or order.metric else names))
                and (order.before is None or row.time < order.before)
            ]
            devices = {names[row.series].device for row in taken_away}
            assert rows_of(store, Purgeable(order)) == [{"readings": len(taken_away), "devices": len(devices)}], order
        assert feed.offset == STEPS

    def test_a_purge_takes_alerts_too(self, make: Callable[[], Store]) -> None:
        store, feed = make(), Feed()
        alerts = [alert("a", START, "firing"), alert("b", START), alert("c", START + DAY), alert("d", START, series=1)]
        store.commit(feed.step(series=SERIES, alerts=alerts))
        store.commit(feed.step(purges=[Purge((0,), START + DAY)]))
        assert {row["alert_id"] for row in rows_of(store, Alerts())} == {"c", "d"}
        store.commit(feed.step(purges=[Purge((0,))], alerts=[alert("e", START)]))
        assert {row["alert_id"] for row in rows_of(store, Alerts())} == {"d", "e"}


def step_rows(number: int) -> list[Row]:
    return random_rows(number, SERIES, 150, since=START + number * DAY)


def filled(store: Store, sealed: str) -> tuple[Store, Feed]:
    feed = Feed()
    for number in range(STEPS):
        store.commit(feed.step(step_rows(number), SERIES))
        if sealed == "all is sealed" or (sealed == "some is sealed" and number == 2):
            tidy(store)
    return store, feed


def taken(purge: Purge, row: Row) -> bool:
    of_it = purge.series is None or row.series in purge.series
    return of_it and (purge.before is None or row.time < purge.before)


def micros(readings: pa.Table) -> list[int]:
    return list(readings["time"].cast(pa.int64()).to_pylist())


def plainly(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """In an order of their own (equal times have none), without the digits that depend on the order of a sum."""
    rounded = [{k: float(f"{v:.9g}") if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    return sorted(rounded, key=repr)
