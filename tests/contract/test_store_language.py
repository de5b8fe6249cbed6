"""A database that was made for a language sorts its own way. Answers come in the same order all the same, and pages join."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import pytest

from sonde.changes import Definition, LedgerLine, Mark, Series
from sonde.clock import SECOND
from sonde.ports import Store
from sonde.question import (
    Defined,
    Devices,
    Folded,
    FoundSeries,
    Gaps,
    Heatmap,
    Kpis,
    Ledger,
    Profiles,
    Question,
    Stale,
    Trends,
)
from sonde.rule import Rule
from sonde.store.memory import MemoryStore
from sonde.store.postgres.store import PostgresStore
from sonde.testing.store_feed import LOG, START, Feed, Row
from tests.servers.postgres import PostgresServer

pytestmark = pytest.mark.all

NAMES: Final = ("b", "A", "a", "_x", "B", "é", "Z", "-a", "a b", "ab", "1", "É", "ß", "日")
METRICS: Final = ("occupancy", "CO2")
SERIES: Final = [
    Series(number, name, METRICS[number % 2], f"{name}-site", f"{name.swapcase()}-zone", "{}")
    for number, name in enumerate(NAMES)
]
UNTIL: Final = START + 3600 * SECOND
RULE: Final = Rule(id="r", metric="*", type="above", threshold=1.0, window=300, of="avg", across="zone")
QUESTIONS: Final[Sequence[Question]] = (
    Kpis(),
    Trends(metric="CO2", width=300, since=START, until=UNTIL),
    Heatmap(since=START, until=UNTIL),
    Heatmap(since=START, until=UNTIL, by_hour=True),
    Devices(limit=100),
    FoundSeries(limit=100),
    Stale(before=UNTIL * 2, limit=100),
    Profiles(),
    Ledger(),
    Gaps(limit=100),
    Defined(("rule",)),
    Folded(RULE, since=START, until=UNTIL),
)


@pytest.fixture
def stores(postgres: PostgresServer) -> Iterator[tuple[MemoryStore, PostgresStore]]:
    """One in memory, and one in a database made for English."""
    with postgres.database("template template0 locale_provider icu icu_locale 'en-US'") as name:
        one, other = MemoryStore(LOG), PostgresStore(postgres.url(name), LOG)
        yield one, other
        one.close()
        other.close()


def filled(store: Store) -> None:
    rows = [Row(number, START + number * SECOND, 1.0 + number) for number in range(len(NAMES))]
    store.commit(
        Feed().step(
            rows,
            SERIES,
            definitions=[
                *(Definition("profile", name, {}, START, "n") for name in NAMES),
                *(Definition("rule", name, {"id": name}, START, "n") for name in NAMES),
            ],
            ledger=[LedgerLine(name, 2, 10, 6, 1, 1, 1, 0, 1, 2) for name in NAMES],
            marks=[Mark(0, 1, n, name, 2, "e", "lost", 7, 9, 30, START, "full") for n, name in enumerate(NAMES)],
        )
    )


def asked(store: Store, question: Question) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = store.ask(question).rows.to_pylist()
    return rows


def test_answers_come_in_the_order_of_bytes(
    stores: tuple[MemoryStore, PostgresStore], postgres: PostgresServer
) -> None:
    one, other = stores
    for store in stores:
        filled(store)
    for question in QUESTIONS:
        found = asked(other, question)
        assert found, question
        assert found == asked(one, question), question
    assert [row["device_id"] for row in asked(other, Devices(limit=100))] == sorted(NAMES)


def test_pages_join(stores: tuple[MemoryStore, PostgresStore]) -> None:
    _, other = stores
    filled(other)
    seen: list[str] = []
    while page := [row["device_id"] for row in asked(other, Devices(after=seen[-1] if seen else "", limit=3))]:
        seen += page
    assert seen == sorted(NAMES)
