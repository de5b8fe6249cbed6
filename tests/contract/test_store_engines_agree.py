"""The same steps into DuckDB and into PostgreSQL: every question has the same answer, in the same columns."""

import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from sonde.changes import Alert, AlertEvent, Correction, Definition, Happened, LedgerLine, Mark, Purge, Stream
from sonde.clock import DAY, SECOND, Micros
from sonde.command import Command, State
from sonde.errors import Invalid
from sonde.ports import Store
from sonde.question import (
    AlertEvents,
    Alerts,
    AlertsOf,
    Commands,
    CommandSteps,
    Corrections,
    Defined,
    Devices,
    Folded,
    FoundSeries,
    Gaps,
    Heatmap,
    History,
    Kpis,
    Ledger,
    Profiles,
    Purgeable,
    Question,
    Reached,
    ResolvedBeyond,
    Samples,
    Sql,
    Stale,
    Totals,
    Trends,
    Watched,
)
from sonde.reading import TIME, Kind
from sonde.removal import PurgeOrder
from sonde.rule import Rule
from sonde.store.memory import MemoryStore
from sonde.store.postgres.store import PostgresStore
from sonde.testing.answers import VIEWS
from sonde.testing.store_feed import LOG, START, Feed, Row, building

pytestmark = pytest.mark.all
SERIES = building(4)
SPAN = 6 * DAY
STUFFY = Rule(id="stuffy", metric="co2", type="above", threshold=20.0, window=900, of="avg", across="zone")


@pytest.fixture
def stores(database: str) -> Iterator[tuple[MemoryStore, PostgresStore]]:
    one, other = MemoryStore(LOG), PostgresStore(database, LOG)
    yield one, other
    one.close()
    other.close()


@pytest.mark.parametrize("seed", range(4))
def test_engines_agree(stores: tuple[MemoryStore, PostgresStore], seed: int) -> None:
    dice, feed = random.Random(seed), Feed()
    for number in range(12):
        step = feed.step(_rows(dice), SERIES, **_more(dice, number))
        for store in stores:
            store.commit(step)
        if dice.random() < 0.3:
            stores[1].maintain()
        if number % 4 == 3:
            for question in _questions(dice):
                assert _asked(stores[1], question) == _asked(stores[0], question), question


def _rows(dice: random.Random) -> list[Row]:
    rows = []
    for _ in range(dice.randrange(200)):
        series, time = dice.randrange(len(SERIES)), START + dice.randrange(SPAN // SECOND) * SECOND
        match dice.randrange(12):
            case 0:
                rows.append(Row(series, time, None, Kind.TEXT, dice.choice(["ok", "ü '", ""])))
            case 1:
                rows.append(Row(series, time, float(2**60), Kind.INTEGER, str(2**60 + 1)))
            case 2:
                rows.append(Row(series, time, None, Kind.NONE, None, 1))
            case 3:
                rows.append(Row(series, time, 1.0, Kind.BOOLEAN, None, dice.randrange(5)))
            case _:
                rows.append(Row(series, time, round(dice.gauss(20, 5), 2)))
    return rows


def _more(dice: random.Random, number: int) -> dict[str, Any]:
    """Of all else that a step may bring, something."""
    now = START + number * DAY // 2
    name = f"{dice.randrange(6)}"
    alert = Alert(f"a{name}", "high", dice.randrange(4), "above", "warning", "firing", 1.0, now, 2.0, 3.0, now)
    if dice.random() < 0.5:
        alert = msgspec.structs.replace(alert, state="resolved", resolved_at=now + SECOND)
    if dice.random() < 0.2:
        alert = msgspec.structs.replace(alert, id="zone", series=-1, metric="co2", site="Site-0", zone="Zone-0")
    found: dict[str, Any] = {
        "alerts": [alert],
        "events": [AlertEvent(0, number, now, alert.id, "fired", now, "anna", "why")],
        "streams": [Stream(f"n{name}", "e", 2, 9, 90, ((2, 3, 11),) if dice.random() < 0.5 else (), ())],
        "ledger": [LedgerLine(f"n{name}", 2, 10, 6, 1, 1, 1, 0, 1, 2)],
        "marks": [Mark(0, number, 0, f"n{name}", 2, "e", "lost", 7, 9, 30, now, "full")],
        "definitions": [
            Definition("profile", f"device-{name}", {"n": number} if dice.random() < 0.8 else None, now, "n")
        ],
        "corrections": [Correction("stuffy", dice.randrange(4), now, 0, number)],
        "commands": [
            Command(f"c{name}", "d", "heat", {"to": 6}, "ann", dice.choice(list(State)), now, now + DAY, changed_at=now)
        ],
        "happened": [Happened(f"c{name}", "d", "heat", "accepted", now, "so", None, [number])],
    }
    kept = {key: value for key, value in found.items() if dice.random() < 0.6}
    if "alerts" not in kept:
        kept.pop("events", None)  # what became of an alert comes with it
    if dice.random() < 0.15:
        some = tuple(dice.sample(range(len(SERIES)), 3)) if dice.random() < 0.7 else None
        kept["purges"] = [Purge(some, START + dice.randrange(SPAN // DAY) * DAY)]
    if dice.random() < 0.2:
        what = dice.choice(["readings", "windows 300", "windows 900", "alerts"])
        before = START + (number * 8 + dice.randrange(8)) * 900 * SECOND  # floors only rise
        kept["definitions"] = [Definition("floor", what, {"before": before}, now)]
    return kept


def _questions(dice: random.Random) -> list[Question]:
    since = START + dice.randrange(SPAN // SECOND) * SECOND
    until = since + dice.choice([3600, 86_400, 5 * 86_400]) * SECOND
    some = tuple(dice.sample(range(len(SERIES)), 3))
    listed: list[Question] = [
        *(
            Kpis(),
            Kpis("Site-1", 3600),
            Trends("co2", since, until),
            Trends("co2", START, until, 1800, device="device-1"),
        ),
        *(
            Trends("humidity", START, START + SPAN, 900, "Site-0", "Zone-1"),
            Heatmap(),
            Heatmap(since, until, "Site-0", by_hour=True),
        ),
        *(
            Devices(),
            Devices(site="Site-1", limit=1),
            History(limit=10_000),
            History(since=since, until=until, limit=10_000),
        ),
        *(History(device="device-2", limit=10_000), History(series=some, until=until, limit=10_000)),
        *(
            FoundSeries(),
            FoundSeries(("DEV", "co")),
            FoundSeries(series=some),
            Stale(since),
            Totals(),
            Profiles(),
            Ledger(),
        ),
        *(Samples(some, since, until, points) for points in (2, 20, 1000)),
        *(
            Alerts(),
            Alerts(state="open"),
            Alerts(severity="warning", since=since),
            AlertEvents(),
            AlertEvents(offset=3, limit=2),
        ),
        *(
            AlertsOf("high", since),
            Corrections(),
            Defined(("profile", "floor")),
            Reached(),
            ResolvedBeyond(dice.randrange(4)),
        ),
        *(
            Commands(),
            Commands(state="open"),
            Commands(state="queued"),
            CommandSteps(),
            CommandSteps(oldest_first=True),
            Gaps(),
        ),
        *(
            Folded(STUFFY, since, until),
            Folded(msgspec.structs.replace(STUFFY, across="site", window=3600), START, until),
        ),
        Folded(msgspec.structs.replace(STUFFY, across="series"), START, START + SPAN, some),
        Watched(Rule(id="r", type="above", threshold=1.0, device="*-[12]"), since, until),
        *(Purgeable(PurgeOrder("device-?", "co*", until)), Purgeable(PurgeOrder(before=since))),
        *(Sql(f"select * from {view}") for view in VIEWS),
    ]
    return listed


def _asked(store: Store, question: Question) -> object:
    try:
        answer = store.ask(question)
    except Invalid:
        return "invalid"
    rows = answer.rows
    kinds = [field.type for field in rows.schema] if not isinstance(question, Sql) else []
    plain = {n: rows[n].cast(pa.int64()) if rows[n].type == TIME else rows[n] for n in rows.column_names}
    told = sorted((_rounded(row) for row in pa.table(plain).to_pylist()), key=repr)
    return rows.column_names, kinds, told, answer.total, answer.stored, answer.cursor


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    """Without the digits that depend on the order of a sum."""
    return {name: float(f"{value:.9g}") if isinstance(value, float) else value for name, value in row.items()}


def test_times_before_the_first_and_after_the_last(stores: tuple[MemoryStore, PostgresStore]) -> None:
    feed = Feed()
    far: list[Micros] = [0, SECOND, 7_258_118_399 * SECOND]
    step = feed.step([Row(0, time, 1.0) for time in far], SERIES[:1])
    for store in stores:
        store.commit(step)
    asked: list[Question] = [
        History(),
        History(oldest_first=True, limit=1),
        Samples((0,), 0, 2**62, 10),
        Stale(2**62),
        Kpis(),
    ]
    for question in asked:
        assert _asked(stores[1], question) == _asked(stores[0], question), question
