"""Files that were harmed, lost, or put back from an older copy: repaired with a message, or refused naming the file; never
half believed. I1 and I2 hold where any file still has what was confirmed."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sonde.entry import Body, Entry, EntryKind
from sonde.frame import Sealer
from sonde.keyring import KeyRing
from sonde.log.segments import SegmentLog
from tests.crash.disks import flip
from tests.crash.road import Up, check_ledger, check_windows, seed, wait_for
from tests.crash.worlds import ROWS, World, count, make_world, missing, send

NOBODY: set[int] = set()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


def last_segment(up: Up) -> Path:
    return max((up.data / "log" / "0000").glob("*.seg"))


def first_part(up: Up) -> Path:
    return min((up.data / "store" / "parts").glob("readings*.parquet"))


def check_goes_on(up: Up, world: World, lost: set[int] = NOBODY) -> None:
    """All is there but for ``lost``, more is taken in, and it ends well."""
    up.wait_until_all_is_stored()
    assert missing(up, world.readings) == lost
    send(up, world.readings)
    up.wait_until_all_is_stored()
    assert missing(up, world.readings + ROWS) == lost
    check_windows(up)
    check_ledger(up)
    assert up.stop() == 0


# -- the log


def test_a_bit_flipped_in_the_log_below_what_is_stored(world: World, tmp_path: Path) -> None:
    """The store has it: nothing is lost, the file is named, and the offset keeps its meaning for ever."""
    with world.copy(tmp_path) as up:
        harmed = last_segment(up)
        flip(harmed, -100)
        up.start()
        assert f"log_damaged file={harmed}" in up.said()
        check_goes_on(up, world)


def test_a_bit_flipped_in_the_log_beyond_what_is_stored(world: World, tmp_path: Path) -> None:
    """It was the only copy: what it held is told with file and byte, everything else is there."""
    with world.copy(tmp_path) as up:
        put_older_store_back(up, world)
        harmed = last_segment(up)
        flip(harmed, harmed.stat().st_size // 2)
        up.start()
        up.wait_until_all_is_stored()
        lost = missing(up, world.readings)
        assert len(lost) == ROWS, "no fault was seen to strike"
        (gap,) = up.get("/gaps")
        assert gap["detail"].startswith("damaged: ")
        assert str(harmed) in gap["detail"]
        check_goes_on(up, world, lost)


def test_a_poison_frame_is_set_aside_and_the_rest_goes_on(world: World, tmp_path: Path) -> None:
    """Frames with a good seal around something that is no body, or a body that says nothing."""
    with world.copy(tmp_path) as up:
        log = SegmentLog(up.data / "log")
        sealer = Sealer(KeyRing.load(up.data / "keys.json"))
        offset = log.append(0, [sealer.seal_encoded(b"no body", 1, 3, 1), sealer.seal_encoded(b"", 0, 0, 2)])
        nonsense = Entry(kind=EntryKind.SETTINGS, source="?", payload=["windows"])
        log.append(0, [sealer.seal(Body([nonsense, Entry(kind=EntryKind.RULE, payload=7)]), 3)])
        log.close()
        up.start()
        up.wait_until_all_is_stored()
        gaps = up.get("/gaps")
        assert {gap["reason"] for gap in gaps} == {"set_aside"}
        assert sorted(gap["readings"] for gap in gaps if gap["detail"].startswith("poison: ")) == [0, 3]
        assert sorted(gap["source"] for gap in gaps) == ["", "", "", "?"]
        assert f"offset={offset} " in up.said()
        assert up.request("GET", "/health/ready")[0] == 200
        check_goes_on(up, world)


# -- the store


def test_a_bit_flipped_in_a_part(world: World, tmp_path: Path) -> None:
    """A question would believe it: it is found by itself, named, and made again from the log."""
    with world.copy(tmp_path) as up:
        harmed = first_part(up)
        flip(harmed, harmed.stat().st_size // 3)
        up.start()
        wait_for(lambda: str(harmed).encode() in up.request("GET", "/health/ready")[1], "the part being named")
        assert up.request("GET", "/health/ready")[0] == 503
        send(up, world.readings)  # it goes on taking readings in
        assert up.stop() == 0
        assert up.command("rebuild").returncode == 0
        up.start()
        up.wait_until_all_is_stored()
        assert missing(up, world.readings + ROWS) == set()
        assert up.request("GET", "/health/ready")[0] == 200
        check_windows(up)
        assert up.stop() == 0


@pytest.mark.parametrize("name", ["sonde.duckdb", "sonde.duckdb.wal"])
def test_a_bit_flipped_in_the_database(name: str, world: World, tmp_path: Path) -> None:
    with world.copy(tmp_path) as up:
        flip(up.data / "store" / name, 30_000 if name.endswith("wal") else -300_000)
        up.start()
        check_goes_on(up, world)
        assert "store_rebuild" in up.said(), "no fault was seen to strike"
        assert name.partition(".wal")[0] in up.said()


def test_identities_that_were_harmed_are_learnt_again(world: World, tmp_path: Path) -> None:
    with world.copy(tmp_path) as up:
        for file in (up.data / "store").glob("identities.db-*"):
            file.unlink()
        flip(up.data / "store" / "identities.db", 100)
        up.start()
        wait_for(up.answers, "questions being answered")
        send(up, 0, 3)  # sent before: still known
        check_goes_on(up, world)
        assert "identities_damaged" in up.said(), "no fault was seen to strike"


def put_older_store_back(up: Up, world: World) -> None:
    shutil.rmtree(up.data / "store")
    shutil.copytree(world.older / "store", up.data / "store")


def remove_store(up: Up, world: World) -> None:
    shutil.rmtree(up.data / "store")


def remove_database(up: Up, world: World) -> None:
    for file in (up.data / "store").glob("sonde.duckdb*"):
        file.unlink()


@pytest.mark.all
@pytest.mark.parametrize("fault", [put_older_store_back, remove_store, remove_database])
def test_a_store_that_is_behind_or_gone(fault: Callable[[Up, World], None], world: World, tmp_path: Path) -> None:
    with world.copy(tmp_path) as up:
        fault(up, world)
        up.start()
        check_goes_on(up, world)


def put_older_log_back(up: Up, world: World) -> None:
    shutil.rmtree(up.data / "log")
    shutil.copytree(world.older / "log", up.data / "log")


@pytest.mark.all
def test_a_log_that_is_older_than_the_store(world: World, tmp_path: Path) -> None:
    """The log is the truth: the store is made again from it, and what it knew beyond that is kept beside it."""
    with world.copy(tmp_path) as up:
        put_older_log_back(up, world)
        up.start()
        up.wait_until_all_is_stored()
        half = world.readings // 2
        assert missing(up, world.readings) == set(range(half, world.readings))
        assert "log_ends_early" in up.said()
        assert "store_set_aside" in up.said()
        assert any(up.data.glob("store.aside-*/sonde.duckdb"))
        send(up, half)  # not taken for a repetition of what the log never held
        up.wait_until_all_is_stored()
        assert count(up) == half + ROWS
        assert up.stop() == 0


@pytest.mark.all
def test_a_log_of_another_directory(world: World, tmp_path: Path) -> None:
    """Without its keys it waits and names the one that is missing; with them it is what counts from then on."""
    (tmp_path / "other").mkdir()
    with Up(tmp_path / "other", "--no-host", "--no-simulator") as other:
        send(other, 0)
        assert other.stop() == 0
    with world.copy(tmp_path) as up:
        shutil.rmtree(up.data / "log")
        shutil.copytree(other.data / "log", up.data / "log")
        up.start()
        (name,) = KeyRing.load(other.data / "keys.json").keys
        wait_for(lambda: name.encode() in up.request("GET", "/health/ready")[1], "the missing key being named")
        assert up.request("GET", "/health/ready")[0] == 503
        assert up.stop() == 0
        shutil.copy(other.data / "keys.json", up.data / "keys.json")
        up.start()
        up.wait_until_all_is_stored()
        assert count(up) == ROWS
        assert any(up.data.glob("store.aside-*/sonde.duckdb"))
        assert up.stop() == 0


# -- any file


def test_a_control_database_that_is_none_is_named(world: World, tmp_path: Path) -> None:
    with world.copy(tmp_path) as up:
        for file in up.data.glob("control.db-*"):
            file.unlink()
        flip(up.data / "control.db", 3)
        assert str(up.data / "control.db") in up.refuse_to_start()


@pytest.mark.all
def test_a_bit_flipped_anywhere(world: World, tmp_path: Path) -> None:
    """Twenty times, wherever it may be: it is harmless, or repaired, or the file is named."""
    dice = random.Random(seed())
    files = [file.relative_to(world.data) for file in world.data.rglob("*") if file.is_file() and file.stat().st_size]
    struck = 0
    for turn in range(20):
        folder, file = tmp_path / f"{turn}", dice.choice(files)
        with world.copy(folder) as up:
            at = dice.randrange((up.data / file).stat().st_size)
            flip(up.data / file, at, dice.randrange(8))
            struck += check_flipped(up, world, up.data / file, f"{file} at {at}, seed {seed()}")
        shutil.rmtree(folder)
    assert struck, "no fault was seen to strike"


def check_flipped(up: Up, world: World, file: Path, where: str) -> bool:
    """Whether somebody noticed."""
    begun, said = up.try_to_start()
    if not begun:
        assert file.name in said, (where, said)
        return True
    if up.request("GET", "/devices")[0] == 401:  # its token is what was hit
        assert file.name.startswith("control.db"), where
        return True
    try:
        up.wait_until_all_is_stored()
        if file.parent.name == "parts":
            wait_for(lambda: file.name.encode() in up.request("GET", "/health/ready")[1], "the part being named")
        else:
            assert missing(up, world.readings) == set()
            send(up, world.readings)
        assert up.stop() == 0
    except AssertionError as error:
        raise AssertionError(where, up.said()[-2000:]) from error
    return any(f" {level} " in up.said() for level in ("warning", "error"))
