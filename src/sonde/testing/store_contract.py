"""What every adapter of port ``Store`` must do. Subclass :class:`StoreContract`, and give ``store`` as a fixture."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from sonde.changes import Definition, Newest, Stream
from sonde.clock import DAY
from sonde.errors import Conflict, Retry
from sonde.ports import Store
from sonde.question import Heatmap, Profiles, Question, Sql, Totals
from sonde.reading import Kind
from sonde.testing.alerts_contract import AlertsContract, of_series
from sonde.testing.answers import COLUMNS, QUESTIONS, VIEWS
from sonde.testing.asking import rows_of, tidy
from sonde.testing.commands_contract import CommandsContract
from sonde.testing.ledger_contract import LedgerContract
from sonde.testing.readings_contract import ReadingsContract
from sonde.testing.samples_contract import SamplesContract
from sonde.testing.sql_contract import SqlContract
from sonde.testing.store_feed import LOG, START, Feed, Row, building, random_rows
from sonde.testing.windows_contract import WindowsContract


class StoreContract(
    ReadingsContract, WindowsContract, SamplesContract, AlertsContract, CommandsContract, LedgerContract, SqlContract
):
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
        assert store.ask(Sql(f"select * from {view}")).rows.column_names == VIEWS[view].split()  # noqa: S608

    def test_what_was_committed_is_loaded(self, store: Store) -> None:
        feed, series = Feed(), building(1)
        stream = Stream("node", "e1", 2, 9, 100, ((3, 4, 20), (6, 6, 1)), (30, 77))
        rule = Definition("rule", "co2 high", {"above": 1000, "labels": ["a", None]}, START)
        rows = [Row(0, START, 1.0), Row(0, START + 5, 2.0), Row(2, START + 3, None, Kind.TEXT, "ok")]
        step = feed.step(rows, series, streams=[stream], definitions=[rule], alerts=[of_series("a")])
        store.commit(step)
        state = store.load()
        assert list(state.progress) == [step.progress]
        assert list(state.series) == series
        came = step.progress.log_time
        assert dict(state.newest) == {0: Newest(START + 5, 2.0, came), 2: Newest(START + 3, None, came)}
        assert list(state.streams) == [stream]
        assert list(state.definitions) == [rule]
        assert list(state.alerts) == [of_series("a")]

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

    def test_definitions_are_set_and_removed(self, store: Store) -> None:
        feed = Feed()
        profile = {"device": "d", "metrics": {"co2": {"unit": "ppm"}}}
        store.commit(feed.step(definitions=[Definition("profile", "d", {}, 1), Definition("rule", "r", {"a": 1}, 1)]))
        store.commit(feed.step(definitions=[Definition("profile", "d", profile, 5), Definition("rule", "r", None, 5)]))
        assert list(store.load().definitions) == [Definition("profile", "d", profile, 5)]
        (row,) = rows_of(store, Profiles())
        assert (row["device"], row["updated"]) == ("d", 5)
        assert rows_of(store, Profiles(device="e")) == []

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


def _rounded(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """``rows`` without the digits that depend on the order of a sum."""
    return [{k: float(f"{v:.9g}") if isinstance(v, float) else v for k, v in row.items()} for row in rows]
