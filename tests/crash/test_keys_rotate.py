"""Keys rotate while readings come in: nobody waits, nothing is refused, and every frame can be opened."""

import base64
import json
import random
import secrets
import shutil
import threading
from pathlib import Path

import pytest

from sonde.keyring import KeyRing, name_of
from sonde.log.uses import key_uses
from tests.crash.road import Up, check_ledger, check_windows, clients, seed, wait_for
from tests.crash.worlds import QUIET, SMALL


def rotate(up: Up, *more: str) -> str:
    done = up.command("keys", "rotate", *more)
    assert done.returncode == 0, done.stderr
    assert "seals now" in done.stderr, done.stderr
    return done.stdout.strip()


def check_rotating(up: Up, rounds: int) -> None:
    names = [KeyRing.load(up.data / "keys.json").active]
    with clients(up, 3) as under_way:
        for number in range(rounds):
            before = sum(len(client.confirmed) for client in under_way)
            wait_for(lambda b=before: sum(len(c.confirmed) for c in under_way) > b + 20, "readings coming in", 60)  # type: ignore[misc]
            names.append(rotate(up))
            if number % 2:
                rotate(up, "--outbox")
    for client in under_way:
        assert not client.busy, "a rotation kept somebody waiting"
        assert client.retried == 0
    up.wait_until_all_is_stored()
    uses = key_uses(up.data / "log")
    assert set(uses) == set(names), "each key has sealed something"
    for client in under_way:
        client.check()


def test_rotating_under_load_keeps_nobody_waiting(tmp_path: Path) -> None:
    with Up(tmp_path, "--no-simulator", *SMALL) as up:
        check_rotating(up, 2)
        name = KeyRing.load(up.data / "keys.json").active
        refused = up.command("keys", "retire", name)
        assert refused.returncode == 1
        assert "Let another one take over first" in refused.stderr
        listed = json.loads(up.command("keys", "list", "--json").stdout)
        assert [line["state"] for line in listed] == ["seals", "opens", "opens"]
        assert all(line["frames"] for line in listed)
        shown = " ".join(str(line) for line in listed) + up.said()
        for key in KeyRing.load(up.data / "keys.json").keys.values():
            assert base64.b64encode(key).decode() not in shown
        assert up.stop() == 0
        rebuilt = up.command("rebuild")
        assert "it equals what was there" in rebuilt.stdout, rebuilt.stdout + rebuilt.stderr


@pytest.mark.all
def test_rotating_and_killing_in_turns(tmp_path: Path) -> None:
    """A kill at any moment of a rotation: what was confirmed is there, and can be opened."""
    chance = random.Random(seed())
    with Up(tmp_path, *QUIET, *SMALL) as up:
        with clients(up, 2) as under_way:
            for _ in range(4):
                rotating = threading.Thread(target=up.command, args=("keys", "rotate"))
                rotating.start()
                wait_for(lambda: not rotating.is_alive() or chance.random() < 0.02, "a moment to strike")  # noqa: B023
                up.kill()
                rotating.join()
                up.start()
            before = sum(len(client.confirmed) for client in under_way)
            wait_for(lambda: sum(len(c.confirmed) for c in under_way) > before + 20, "readings coming in", 60)
        up.wait_until_all_is_stored()
        for client in under_way:
            client.check()
        assert set(key_uses(up.data / "log")) <= set(KeyRing.load(up.data / "keys.json").keys)
        check_windows(up)
        check_ledger(up)
        assert up.stop() == 0
        verified = up.command("log", "verify")
        assert verified.returncode == 0, verified.stdout
        assert "all opened" in verified.stdout


@pytest.mark.all
def test_a_key_of_the_configuration_rotates_too_when_its_file_changes(tmp_path: Path) -> None:
    keys = [secrets.token_bytes(32) for _ in range(2)]
    texts = [base64.b64encode(key).decode() for key in keys]
    file = tmp_path / "secret"
    file.write_text(texts[0])
    with Up(tmp_path, *QUIET, "--set", f"log.encryption_key_file={file}") as up:
        with clients(up, 1) as (client,):
            wait_for(lambda: len(client.confirmed) > 5, "readings coming in")
            file.write_text(f"{texts[1]},{texts[0]}")
            wait_for(lambda: name_of(keys[1]) in key_uses(up.data / "log"), "the new key sealing")
        assert not client.busy
        file.write_text("short")
        wait_for(lambda: b"encryption_key" in up.request("GET", "/health/ready")[1], "the useless key being named")
        assert up.request("GET", "/health/ready")[0] == 503
        file.write_text(f"{texts[1]},{texts[0]}")
        wait_for(lambda: up.request("GET", "/health/ready")[0] == 200, "it being well again")
        up.wait_until_all_is_stored()
        client.check()
        check_windows(up)
        check_ledger(up)
        assert not (up.data / "keys.json").exists()
        assert up.stop() == 0


@pytest.mark.all
def test_a_missing_key_that_comes_back_needs_no_restart(tmp_path: Path) -> None:
    with Up(tmp_path, *QUIET, *SMALL) as up:
        with clients(up, 1) as (client,):
            wait_for(lambda: len(client.confirmed) > 5, "readings coming in")
        up.wait_until_all_is_stored()
        kept = KeyRing.load(up.data / "keys.json")
        assert up.stop() == 0
        other = KeyRing.generate("other")
        other.save(up.data / "keys.json")
        shutil.rmtree(up.data / "store")  # its checkpoint too, so that all of the log has to be opened again
        up.start()
        wait_for(lambda: kept.active.encode() in up.request("GET", "/health/ready")[1], "the missing key being named")
        KeyRing(kept.active, dict(kept.keys)).save(tmp_path / "copy.json")
        added = up.command("keys", "add", "--key", f"file:{tmp_path / 'copy.json'}")
        assert added.stdout.strip() == kept.active, added.stderr
        up.wait_until_all_is_stored()
        client.check()
        assert up.stop() == 0
