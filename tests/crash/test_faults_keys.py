"""Keys of the log that are lost, exchanged, damaged or added: it holds and names the key, overwrites nothing, and goes on
when the key is back."""

import json
import secrets
import shutil
from pathlib import Path

import pytest

from sonde.keyring import KeyRing
from tests.crash.disks import flip
from tests.crash.road import Up, check_ledger, check_windows, wait_for
from tests.crash.worlds import ROWS, World, make_world, missing, send


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


def log_of(up: Up) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (up.data / "log" / "0000").iterdir()}


def forget_store(up: Up) -> None:
    """So that all of the log has to be opened again."""
    shutil.rmtree(up.data / "store")


def check_goes_on(up: Up, confirmed: int) -> None:
    up.wait_until_all_is_stored()
    assert missing(up, confirmed) == set()
    wait_for(lambda: up.request("GET", "/health/ready")[0] == 200, "it being ready")
    check_windows(up)
    check_ledger(up)
    assert up.stop() == 0


def test_a_lost_key_is_named_and_everything_waits_for_it(world: World, tmp_path: Path) -> None:
    with world.copy(tmp_path) as up:
        keys, before = up.data / "keys.json", log_of(up)
        kept = KeyRing.load(keys)
        keys.unlink()
        said = up.refuse_to_start()
        assert said.startswith(f"sonde: the key file {keys} is gone"), said
        assert not keys.exists()
        other = KeyRing.generate("another")
        other.save(keys)
        forget_store(up)
        up.start()
        name = f"the key '{kept.active}' is not in the key ring".encode()
        wait_for(lambda: name in up.request("GET", "/health/ready")[1], "the missing key being named")
        assert up.request("GET", "/health/ready")[0] == 503
        assert up.request("GET", "/devices")[0] == 503
        assert {n: d for n, d in log_of(up).items() if n in before} == before
        send(up, world.readings)  # it is taken in, and sealed with the key that is there
        assert up.stop() == 0
        KeyRing(kept.active, {**kept.keys, **other.keys}).save(keys)
        up.start()
        check_goes_on(up, world.readings + ROWS)


def test_another_key_of_the_same_name_is_refused_before_it_seals_anything(world: World, tmp_path: Path) -> None:
    with world.copy(tmp_path) as up:
        keys, before = up.data / "keys.json", log_of(up)
        kept = KeyRing.load(keys)
        KeyRing(kept.active, {kept.active: secrets.token_bytes(32)}).save(keys)
        said = up.refuse_to_start()
        assert said.startswith(f"sonde: {keys}: '{kept.active}' is not the key of that name that sealed the log"), said
        assert log_of(up) == before
        kept.save(keys)
        up.start()
        check_goes_on(up, world.readings)


def test_a_key_added_seals_from_then_on_and_the_old_one_still_opens(world: World, tmp_path: Path) -> None:
    with world.copy(tmp_path) as up:
        keys = up.data / "keys.json"
        kept, added = KeyRing.load(keys), KeyRing.generate("added")
        KeyRing("added", {**kept.keys, **added.keys}).save(keys)
        up.start()
        before = log_of(up)
        send(up, world.readings)
        written = b"".join(data[len(before.get(name, b"")) :] for name, data in log_of(up).items())
        assert b"added" in written, "the new key was not used"
        assert kept.active.encode() not in written
        assert up.stop() == 0
        forget_store(up)
        up.start()
        check_goes_on(up, world.readings + ROWS)


@pytest.mark.parametrize("place", [0, 20, 60], ids=["no JSON", "no name", "another key"])
def test_a_key_file_that_took_harm_is_named(place: int, world: World, tmp_path: Path) -> None:
    with world.copy(tmp_path) as up:
        keys, before = up.data / "keys.json", log_of(up)
        flip(keys, place, 1)
        said = up.refuse_to_start()
        assert said.startswith(f"sonde: {keys}"), said
        assert "backup" in said
        assert log_of(up) == before
        assert json.loads((up.data / "FORMAT").read_bytes()) == {"format": 1}
