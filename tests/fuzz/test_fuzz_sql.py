"""Broken, spliced and hostile SQL: every text is answered or refused as Sonde refuses, and changes nothing."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from sonde.errors import Invalid, Retry
from sonde.question import Sql
from sonde.store.duckdb import DuckStore
from sonde.testing.store_feed import LOG, Feed, building, random_rows

SEEDS = (
    "select * from readings where device = 'device-1' order by time desc limit 5",
    "with a as (select * from windows) select device, sum(count) from a group by device having sum(count) > 1",
    "select 1; drop table store.series",
    "with x as (insert into store.meta values (7, 'x') returning version) select * from x",
    "with x as (delete from store.series returning id) select count(*) from x",
    "select * from read_text('/etc/passwd')",
    "from query('delete from store.series')",
    "select * from (values (1, 'a'), (2, 'b')) t(x, y) cross join range(3)",
    "create or replace view readings as select 1",
    "set threads = 1; select 1",
    "select * from force_checkpoint() union all select * from checkpoint()",
    "attach ':memory:' as other; use other",
    "begin; update store.progress set next_offset = 0; commit",
    "pivot windows on metric using sum(count)",
    "select json_extract(labels, '$.a') from readings where labels <> '{}' /* ' */ -- \"",
    "select case when value > 1 then 'ä' else $$;$$ end, list(value), {'a': 1} from readings group by all",
)
WORDS = (
    ";", "'", '"', "$$", "--", "/*", "*/", "(", ")", ",", "\0", "\ud800", "é", "\x1b", "?", "$1", "$a",
    " union all ", " insert into store.meta values (3, '') ", " returning * ", " delete from store.series ", " select ",
    " from ", " with x as (", " drop table store.series ", " checkpoint ", " copy ", " pragma ", " set ", " limit 1 ",
    " read_text('/etc/passwd') ", "1e999", "-9223372036854775809", "[", "{", "::", "interval", " lateral ", " order by ",
)  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DuckStore]:
    store = DuckStore(tmp_path, LOG)
    feed, series = Feed(), building(2)
    store.commit(feed.step(random_rows(1, series, 100), series))
    yield store
    store.close()


def broken(dice: random.Random) -> str:
    """A seed, or two spliced, with something cut out, put in, doubled or swapped."""
    text = dice.choice(SEEDS)
    if dice.random() < 0.3:
        other = dice.choice(SEEDS)
        text = text[: dice.randrange(len(text))] + other[dice.randrange(len(other)) :]
    for _ in range(dice.randrange(4)):
        at = dice.randrange(len(text) + 1)
        match dice.randrange(4):
            case 0:
                text = text[:at] + dice.choice(WORDS) + text[at:]
            case 1:
                text = text[:at] + text[at + dice.randrange(8) :]
            case 2:
                text = text[:at] + text[max(0, at - 9) :]
            case _:
                text = text[:at] + chr(dice.choice([dice.randrange(32, 127), dice.randrange(0x250)])) + text[at + 1 :]
    return text


def inside(store: DuckStore) -> object:
    """Everything that a query must leave alone."""
    counts = store.ask(Sql("select (select count(*) from readings), (select count(*) from store.series)"))
    tables = store.ask(Sql("select table_name, table_type from information_schema.tables order by all"))
    return counts.rows.to_pylist(), tables.rows.to_pylist(), str(counts.cursor), store.load()


@pytest.mark.parametrize("tries", [300, pytest.param(5000, marks=pytest.mark.all)])
def test_sql_is_answered_or_refused_and_changes_nothing(store: DuckStore, tries: int) -> None:
    before = inside(store)
    answered = refused = 0
    for seed in range(tries):
        text = broken(random.Random(seed))
        try:
            rows = store.ask(Sql(text, seconds=2.0)).rows
            answered += 1
            assert "root:" not in str(rows), text
        except Invalid:
            refused += 1
        except Retry as error:
            assert "too long" in str(error), text  # noqa: PT017  # a splice may multiply tables
    assert answered > tries / 20
    assert refused > tries / 20
    assert inside(store) == before
