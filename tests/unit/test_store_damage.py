"""Files of the store that are damaged, lost, moved or foreign: noticed, named, and never half believed."""

import random
import shutil
import sqlite3
from pathlib import Path

import pytest

from sonde.clock import DAY
from sonde.errors import Damaged, Hold, NotFound, Retry, SondeError
from sonde.question import History, Question, Sql, Totals
from sonde.store.checkpoint import checkpoints
from sonde.store.duckdb import DuckStore
from sonde.store.memory import MemoryStore
from sonde.store.read_only import open_read_only
from sonde.store.schema import VERSION
from sonde.testing.asking import rows_of, tidy
from sonde.testing.store_feed import LOG, START, Feed, building, random_rows

SERIES = building(3)
STEPS = 12


def fill(store: DuckStore, feed: Feed, steps: int) -> None:
    while feed.offset < steps:
        store.commit(feed.step(random_rows(feed.offset, SERIES, 150, since=START, span=2 * DAY), SERIES))
        tidy(store)


def made(path: Path, steps: int = STEPS) -> Feed:
    """A store of so many steps in ``path``, closed; the last of them are not sealed."""
    store, feed = DuckStore(path, LOG, hot_rows=400, window_rows=300, checkpoint_seconds=0.0), Feed()
    fill(store, feed, steps)
    store.close()
    return feed


def check(store: DuckStore, steps: int) -> None:
    wanted = MemoryStore(LOG)
    fill(wanted, Feed(), steps)
    assert wanted.equals(store) == []
    wanted.close()


def flip(file: Path, dice: random.Random) -> None:
    data = bytearray(file.read_bytes())
    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    file.write_bytes(data)


@pytest.mark.parametrize("rounds", [8, pytest.param(80, marks=pytest.mark.all)])
def test_every_flipped_bit_of_a_part_is_noticed(tmp_path: Path, rounds: int) -> None:
    made(tmp_path / "a")
    for seed in range(rounds):
        dice = random.Random(seed)
        shutil.copytree(tmp_path / "a", tmp_path / f"b{seed}")
        store = DuckStore(tmp_path / f"b{seed}", LOG, tidies=False)
        try:
            name = dice.choice(rows_of(store, Sql("select name from store.parts order by name")))["name"]
            flip(tmp_path / f"b{seed}" / "parts" / name, dice)
            with pytest.raises(Damaged) as damaged:
                store.verify_parts()
            assert damaged.value.file.endswith(name)
        finally:
            store.close()


@pytest.mark.parametrize("question", [History(limit=100_000), Sql("select * from readings"), Sql("from windows")])
def test_a_question_that_meets_damage_names_the_part(tmp_path: Path, question: Question) -> None:
    made(tmp_path)
    store = DuckStore(tmp_path, LOG)
    try:
        content = "windows" if question == Sql("from windows") else "readings"
        sql = Sql(f"select name from store.parts where content = '{content}' limit 1")
        part = tmp_path / "parts" / rows_of(store, sql)[0]["name"]
        data = part.read_bytes()
        part.write_bytes(data[:4] + bytes(len(data) - 8) + data[-4:])
        with pytest.raises(Damaged) as damaged:
            store.ask(question)
        assert damaged.value.file == str(part)
    finally:
        store.close()


def test_a_restore_that_meets_damage_names_the_part(tmp_path: Path) -> None:
    made(tmp_path)
    for part in (tmp_path / "parts").iterdir():
        part.write_bytes(bytes(part.stat().st_size))
    with pytest.raises(Damaged, match="parquet"):
        DuckStore.restore(tmp_path, LOG)


def tidy_often(store: DuckStore, times: int) -> None:
    for _ in range(times):
        tidy(store)


def test_damage_in_a_part_is_found_without_a_question_and_healed_from_a_whole_log(tmp_path: Path) -> None:
    """A flipped bit that Parquet's readers believe: told by the housekeeping until it is gone, and never merged."""
    feed = made(tmp_path)
    store = DuckStore(tmp_path, LOG)
    names = [row["name"] for row in rows_of(store, Sql("select name from store.parts"))]
    tidy_often(store, len(names))  # all is well
    store.close()
    part = tmp_path / "parts" / names[-1]
    flip(part, random.Random(1))
    store = DuckStore(tmp_path, LOG)
    with pytest.raises(Damaged):
        tidy_often(store, len(names))
    with pytest.raises(Damaged) as damaged:
        tidy(store)
    assert damaged.value.file == str(part)
    store.close()
    store = DuckStore.restore(tmp_path, LOG, ends={0: (0, feed.offset)})
    check(store, STEPS)  # the checkpoint from before the merge that made it
    assert not part.exists()
    store.close()


def test_a_part_that_is_short_or_gone_is_noticed_at_the_start(tmp_path: Path) -> None:
    made(tmp_path)
    store = DuckStore(tmp_path, LOG)
    part = tmp_path / "parts" / rows_of(store, Sql("select name from store.parts limit 1"))[0]["name"]
    store.close()
    data = part.read_bytes()
    part.write_bytes(data[:-1])
    with pytest.raises(Damaged, match="bytes"):
        DuckStore(tmp_path, LOG)
    part.unlink()
    with pytest.raises(Damaged, match="missing"):
        DuckStore(tmp_path, LOG)
    part.write_bytes(data)
    DuckStore(tmp_path, LOG).close()


@pytest.mark.parametrize("rounds", [10, pytest.param(100, marks=pytest.mark.all)])
def test_a_flipped_bit_of_the_database_is_never_believed(tmp_path: Path, rounds: int) -> None:
    """Either an error of Sonde's, or a store that is whole: as it was, or at an earlier step (the log has the rest)."""
    feed = made(tmp_path / "a", 6)
    noticed = 0
    for seed in range(rounds):
        copy = tmp_path / f"b{seed}"
        shutil.copytree(tmp_path / "a", copy)
        flip(copy / "sonde.duckdb", random.Random(seed))
        try:
            store = DuckStore(copy, LOG)
        except SondeError:
            noticed += 1
            continue
        try:
            offset = store.load().progress[0].offset
            assert offset <= feed.offset
            check(store, offset)
        except SondeError:
            noticed += 1
        finally:
            store.close()
    assert noticed, "no flip struck anything that matters"


@pytest.mark.parametrize("content", [b"", b"not a database", b"\0" * 5000])
def test_a_file_that_is_no_database_is_damage_and_a_restore_heals_it(tmp_path: Path, content: bytes) -> None:
    feed = made(tmp_path)
    (tmp_path / "sonde.duckdb").write_bytes(content)
    with pytest.raises(Damaged):
        DuckStore(tmp_path, LOG)
    store = DuckStore.restore(tmp_path, LOG)
    try:
        offset = store.load().progress[0].offset
        assert 0 < offset <= feed.offset
        check(store, offset)
        fill(store, Feed(offset=offset, known={one.id for one in SERIES}), STEPS + 2)
        check(store, STEPS + 2)
        assert list(tmp_path.glob("sonde.duckdb.aside-*")), "the damaged file was not kept"
    finally:
        store.close()


def test_a_foreign_database_is_damage(tmp_path: Path) -> None:
    made(tmp_path)
    (tmp_path / "sonde.duckdb").unlink()
    foreign = sqlite3.connect(tmp_path / "sonde.duckdb")
    foreign.execute("create table a (b int)")
    foreign.close()
    with pytest.raises(Damaged):
        DuckStore(tmp_path, LOG)


def test_a_damaged_checkpoint_makes_way_for_the_one_before(tmp_path: Path) -> None:
    made(tmp_path)
    newest, older = checkpoints(tmp_path / "checkpoints")
    flip(newest.path / "latest.parquet", random.Random(1))
    store = DuckStore.restore(tmp_path, LOG)
    assert store.load().progress[0].offset == older.offsets[0]
    check(store, older.offsets[0])
    store.close()
    (older.path / "checkpoint.json").write_text("{")
    store = DuckStore.restore(tmp_path, LOG)
    assert store.load().progress == []
    store.close()


def test_a_checkpoint_must_go_with_the_log(tmp_path: Path) -> None:
    made(tmp_path)
    newest, older = (point.offsets[0] for point in checkpoints(tmp_path / "checkpoints"))
    for ends, wanted in (((0, newest), newest), ((0, newest - 1), older), ((0, 1), 0)):
        store = DuckStore.restore(tmp_path, LOG, ends={0: ends}, tidies=False)
        assert [p.offset for p in store.load().progress] == [wanted] * bool(wanted)
        store.close()
    store = DuckStore.restore(tmp_path, "another log", tidies=False)
    assert store.load().progress == []
    store.close()


def test_what_a_log_that_was_cut_holds_no_more_is_never_let_go_of(tmp_path: Path) -> None:
    made(tmp_path)
    newest = checkpoints(tmp_path / "checkpoints")[0].offsets[0]
    before = sorted(path.name for path in tmp_path.rglob("*"))
    with pytest.raises(Hold, match=r"no checkpoint .* no longer reaches back"):
        DuckStore.restore(tmp_path, LOG, ends={0: (newest + 1, newest + 5)})
    for file in (tmp_path / "checkpoints").glob("*/checkpoint.json"):
        file.write_bytes(file.read_bytes().replace(b'"version":%d' % VERSION, b'"version":%d' % (VERSION - 1)))
    with pytest.raises(Hold, match=rf"version {VERSION - 1}; this one's is {VERSION}"):
        DuckStore.restore(tmp_path, LOG, ends={0: (1, newest + 5)})
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_a_restored_store_beside_the_old_one_leaves_its_files_alone(tmp_path: Path) -> None:
    feed = made(tmp_path)
    old = DuckStore(tmp_path, LOG, tidies=False)
    new = DuckStore.restore(tmp_path, LOG, file="rebuilt.duckdb", tidies=False, hot_rows=300)
    try:
        offset = new.load().progress[0].offset
        fill(new, Feed(offset=offset, known={one.id for one in SERIES}), feed.offset)
        assert old.equals(new) == []
        old.verify_parts()
        new.verify_parts()
    finally:
        old.close()
        new.close()


def test_differences_are_told(tmp_path: Path) -> None:
    made(tmp_path / "a", 3)
    made(tmp_path / "b", 4)
    one, other = DuckStore(tmp_path / "a", LOG), DuckStore(tmp_path / "b", LOG)
    try:
        found = one.equals(other)
        assert any(line.startswith("readings: only the second has") for line in found)
        assert any("windows" in line for line in found)
        assert other.equals(other) == []
    finally:
        one.close()
        other.close()


def test_another_version_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path)
    monkeypatch.setattr("sonde.store.restoring.VERSION", 99)
    with pytest.raises(Damaged, match=f"version is {VERSION}"):
        DuckStore(tmp_path, LOG)


def test_a_store_that_was_moved_finds_its_parts(tmp_path: Path) -> None:
    feed = made(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "it's moved")
    with open_read_only(tmp_path / "it's moved") as reader:
        answer = reader.ask(Sql("select count(*) as n from readings"))
        assert answer.rows.to_pylist() == [{"n": len(feed.readings)}]
    store = DuckStore(tmp_path / "it's moved", LOG)
    check(store, feed.offset)
    store.close()


def test_a_store_without_a_server_is_asked_and_left_as_it_is(tmp_path: Path) -> None:
    feed = made(tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    with open_read_only(tmp_path) as reader:
        answer = reader.ask(Totals())
        assert answer.rows["readings"][0].as_py() == len(feed.readings)
        assert str(answer.cursor) == f"{LOG}.0-{feed.offset}"
        with pytest.raises(SondeError):
            reader.ask(Sql("delete from store.series"))
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before
    with pytest.raises(NotFound):
        open_read_only(tmp_path / "nowhere")


def test_one_program_at_a_time(tmp_path: Path) -> None:
    made(tmp_path, 1)
    store = DuckStore(tmp_path, LOG)
    try:
        with pytest.raises((Retry, Damaged)) as refused:
            open_read_only(tmp_path)
        assert isinstance(refused.value, Retry), refused.value
    finally:
        store.close()
