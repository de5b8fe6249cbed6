"""Backups of what runs, and what is made of them: nothing that was confirmed before is lost, an interrupted one is none, and a
restored installation is nobody's twin."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sonde.assemble.backup.restore import restore
from sonde.assemble.backup.snapshot import MANIFEST, Manifest, Snapshot, faults, newest, paths_in
from sonde.assemble.backup.take import back_up
from sonde.config import Loaded, load
from sonde.directory import DataDirectory
from sonde.errors import Conflict, Damaged, Hold, Invalid, NewerFormat, NotFound
from sonde.keyring import KeyRing
from sonde.log.copying import lineage_of, pieces
from sonde.log.walk import ends, verify
from sonde.store.checkpoint import checkpoints
from tests.crash.disks import flip
from tests.crash.nodes import ROWS as NODE_ROWS
from tests.crash.nodes import HandMadeNode, stored_of, wait_until_stored
from tests.crash.road import Client, Up, check_ledger, check_windows, clients, create_token, wait_for
from tests.crash.worlds import QUIET, ROWS, SMALL, World, count, missing, send


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Sealed and growing segments, a checkpoint with parts, and what came after it; left by a kill."""
    folder = tmp_path_factory.mktemp("world")
    with Up(folder, *QUIET, *SMALL) as up:
        send(up, 0, 6)
        up.wait_until_all_is_stored()
        wait_for(lambda: any((up.data / "store" / "parts").glob("*.parquet")), "a part being written", 60)
        assert up.stop() == 0
        up.start()  # soon after each start there is a checkpoint
        wait_for(lambda: has_checkpoint_with_parts(up.data), "a checkpoint with parts", 60)
        send(up, 6 * ROWS, 2)
        up.wait_until_all_is_stored()
        up.kill()
    return World(up.data, up.data, up.token, 8 * ROWS)


def has_checkpoint_with_parts(data: Path) -> bool:
    found = checkpoints(data / "store" / "checkpoints")
    return bool(found) and bool(found[0].manifest.parts)


@pytest.fixture
def data(world: World, tmp_path: Path) -> DataDirectory:
    """A copy of the world that no server runs on."""
    shutil.copytree(world.data, tmp_path / "of-world")
    return DataDirectory(tmp_path / "of-world")


def settings_of(directory: DataDirectory) -> Loaded:
    return load(directory.config if directory.config.exists() else None)


def restored(snapshot: Path, folder: Path, token: str) -> Up:
    """A server, not started yet, on what a backup gives."""
    folder.mkdir()
    up = Up(folder, *QUIET, *SMALL)
    up.token = token
    restore(snapshot, up.data)
    return up


def manifest_of(snapshot: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((snapshot / MANIFEST).read_bytes())
    return found


# -- under load


def test_what_was_confirmed_before_a_backup_began_is_in_it(tmp_path: Path) -> None:
    with Up(tmp_path, *QUIET, *SMALL) as up:
        with clients(up, 2) as under_way:
            wait_for(lambda: all(len(c.confirmed) > 30 for c in under_way), "readings coming in")
            backups, before = [], []
            for _ in range(2):
                before = [set(client.confirmed) for client in under_way]
                wait_for(lambda: any((up.data / "store" / "checkpoints").glob("[0-9]*")), "a checkpoint", 60)
                made = up.command("backup", str(tmp_path / "backups"))
                assert made.returncode == 0, made.stderr
                backups.append(Path(made.stdout.strip()))
        assert not any(client.busy for client in under_way), "a backup kept somebody waiting"
        assert up.stop() == 0
    checked = up.command("backup", str(tmp_path / "backups"), "--verify")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    check_shared(*backups)
    with restored(tmp_path / "backups", tmp_path / "new", up.token) as again:
        again.wait_until_all_is_stored()
        for client, confirmed in zip(under_way, before, strict=True):
            client.up, client.confirmed = again, confirmed
            client.check()
        check_windows(again)
        check_ledger(again)
        stop = threading.Event()
        send_again(under_way, stop)
        again.wait_until_all_is_stored()
        for client in under_way:
            assert client.confirmed == client.sent
            client.check()
        assert again.stop() == 0
        assert "it equals what was there" in again.command("rebuild").stdout


def send_again(under_way: list[Client], stop: threading.Event) -> None:
    """Everything once more, as a client does that kept it: what the backup has is a repetition, the rest is not."""
    for client in under_way:
        for number in sorted(client.sent):
            assert client._try(number, client._body(number)), client.refusals
    stop.set()


def check_shared(first: Path, second: Path) -> None:
    """What does not change is there once."""
    stays = {f["path"]: f for f in manifest_of(first)["files"] if f.get("changed")}
    both = [f["path"] for f in manifest_of(second)["files"] if f["path"] in stays]
    assert any(path.startswith("log/") for path in both), "a sealed segment"
    for path in both:
        assert os.stat(first / path).st_ino == os.stat(second / path).st_ino, path
    assert not os.path.samefile(first / "control.db", second / "control.db")


# -- what a restored installation is to the others


def test_what_a_node_was_promised_after_the_backup_is_missing_in_the_ledger(tmp_path: Path) -> None:
    with Up(tmp_path, *QUIET, *SMALL) as up:
        node = HandMadeNode(up, create_token(up.data, "edge", "--scope", "ingest", "--node", "edge"), "d")
        assert node.send(1, 5)[0] == 200
        made = up.command("backup", str(tmp_path / "backups"))
        assert made.returncode == 0, made.stderr
        assert node.send(6, 10)[0] == 200  # and the node deletes them
        assert up.stop() == 0
    with restored(tmp_path / "backups", tmp_path / "new", up.token) as again:
        node.up = again
        status, answer = node.send(11, 12)
        assert (status, answer["durable_seq"]) == (200, 12)
        again.wait_until_all_is_stored()
        wait_until_stored(again, "edge", 12 * NODE_ROWS)
        assert stored_of(again, "edge") == {
            "sent": 12 * NODE_ROWS,
            "stored": 7 * NODE_ROWS,
            "missing": 5 * NODE_ROWS,
            "duplicate": 0,
            "refused": 0,
            "set_aside": 0,
            "lost": 0,
        }
        check_ledger(again, complete=False)
        other = HandMadeNode(again, node.token, "d", offset=10_000)
        assert other.send(3, 3, confirmed=2)[0] == 200  # the same seq with something else in it
        again.wait_until_all_is_stored()
        wait_for(lambda: stored_of(again, "edge")["set_aside"] == NODE_ROWS, "the conflict being set aside")
        assert node.stored() == node.values(1, 5) + node.values(11, 12)
        assert again.stop() == 0


def test_no_cursor_of_the_one_is_taken_for_one_of_the_other(world: World, data: DataDirectory, tmp_path: Path) -> None:
    made = back_up(data, settings_of(data), tmp_path / "backups")
    before = ends(data.log)
    first = restore(made.path, tmp_path / "one")
    second = restore(made.path, tmp_path / "two")
    ids = {lineage_of(data.log).id, first.log, second.log}
    assert len(ids) == 3, "each goes on under an id of its own"
    assert ends(tmp_path / "one" / "log") == before, "and where the backup ends"
    again = back_up(DataDirectory(tmp_path / "one"), load(), tmp_path / "backups-of-one")
    third = restore(again.path, tmp_path / "three")
    lineage = lineage_of(tmp_path / "three" / "log")
    assert [a.log for a in lineage.ancestors] == [lineage_of(data.log).id, first.log]
    assert third.log == lineage.id
    found = verify(tmp_path / "three" / "log", KeyRing.load(tmp_path / "three" / "keys.json"))
    assert (found.sound, found.frames) == (True, before[0][1])
    (tmp_path / "three" / "log" / "id").unlink()  # and a lost file is made again from the segments
    assert lineage_of(tmp_path / "three" / "log").id == third.log


# -- kills


def points(quick: tuple[str, ...], others: tuple[str, ...]) -> pytest.MarkDecorator:
    """Where to kill it: at a few points in the quick tests, at all of them in the others."""
    chosen = [*quick, *(pytest.param(point, marks=pytest.mark.all) for point in others)]
    return pytest.mark.parametrize("point", chosen)


_KILLED = """
import os, signal, sys
from pathlib import Path
from sonde.assemble.backup.take import back_up
from sonde.assemble.backup.restore import restore
from sonde.config import load
from sonde.directory import DataDirectory
what, source, target, point = sys.argv[1:]
def reached(name):
    if point in name:
        os.kill(os.getpid(), signal.SIGKILL)
if what == "backup":
    back_up(DataDirectory(Path(source)), load(), Path(target), reached=reached)
else:
    restore(Path(source), Path(target), reached=reached)
"""


def killed_at(what: str, source: Path, target: Path, point: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, what, str(source), str(target), point], check=False, timeout=120
    )
    assert done.returncode == -9, f"{point!r} was not reached"


@points(("parts/", "copied"), ("log/id", "checkpoint.json", ".seg", "control.db", "published"))
def test_a_backup_that_is_killed_is_none_and_the_next_one_is_whole(
    point: str, world: World, data: DataDirectory, tmp_path: Path
) -> None:
    folder = tmp_path / "backups"
    killed_at("backup", data.path, folder, point)
    if point == "published":
        assert faults(newest(folder)) == []
    else:
        assert paths_in(folder) == []
        with pytest.raises(NotFound, match="interrupted"):
            newest(folder)
    made = back_up(data, settings_of(data), folder)
    assert faults(made) == []
    assert not list(folder.glob(".*.partial"))
    check_restores(made, world, tmp_path / "new")


def check_restores(made: Snapshot, world: World, folder: Path) -> None:
    restore(made.path, folder)
    found = verify(folder / "log", KeyRing.load(folder / "keys.json"))
    assert found.sound
    assert found.opened == found.frames > 0
    assert not found.torn


@points(("log", "formatted"), ("log/id", "parts/", "control.db", "checkpoint", "noted"))
def test_a_restore_that_is_killed_is_no_installation_and_goes_on_when_it_is_called_again(
    point: str, world: World, data: DataDirectory, tmp_path: Path
) -> None:
    made = back_up(data, settings_of(data), tmp_path / "backups")
    target = tmp_path / "new"
    killed_at("restore", made.path, target, point)
    for use in (DataDirectory.open, DataDirectory.create):
        with pytest.raises(Hold, match=r"interrupted.*Run the same sonde restore again"):
            use(target)
    with pytest.raises(Conflict, match=r"another backup, .*, was being restored"):
        restore(back_up(data, settings_of(data), tmp_path / "backups").path, target)
    check_restores(made, world, target)
    assert DataDirectory.open(target).path == target


@pytest.mark.all
def test_backups_killed_at_any_moment_while_readings_come_in(tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    with Up(tmp_path, *QUIET, *SMALL) as up:
        with clients(up, 2) as under_way:
            wait_for(lambda: all(len(c.confirmed) > 30 for c in under_way), "readings coming in")
            command = [sys.executable, "-m", "sonde", "backup", str(folder), "--data", str(up.data)]
            for wait in (0.6, 1.0, 1.4, 1.8):
                backup = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                threading.Event().wait(wait)
                backup.kill()
                backup.wait()
                for path in paths_in(folder):
                    assert faults(newest(path)) == []
            before = [set(client.confirmed) for client in under_way]
            assert up.command("backup", str(folder)).returncode == 0
        up.kill()
    with restored(folder, tmp_path / "new", up.token) as again:
        again.wait_until_all_is_stored()
        for client, confirmed in zip(under_way, before, strict=True):
            client.up, client.confirmed = again, confirmed
            client.check()
        check_windows(again)
        assert again.stop() == 0


# -- the world's own backup, in and out of the store


@pytest.mark.all
def test_a_restored_store_goes_on_at_its_checkpoint(world: World, data: DataDirectory, tmp_path: Path) -> None:
    made = back_up(data, settings_of(data), tmp_path / "backups")
    assert made.manifest.checkpoint
    with restored(made.path, tmp_path / "new", world.token) as up:
        up.wait_until_all_is_stored()
        assert missing(up, world.readings) == set()
        assert "store_restored" in up.said()
        send(up, world.readings)
        up.wait_until_all_is_stored()
        assert count(up) == world.readings + ROWS
        check_windows(up)
        check_ledger(up)
        assert up.stop() == 0
        assert "it equals what was there" in up.command("rebuild").stdout


@pytest.mark.all
def test_older_backups_go_when_only_the_newest_are_kept(data: DataDirectory, tmp_path: Path) -> None:
    made = [back_up(data, settings_of(data), tmp_path / "backups", keep=2) for _ in range(4)]
    assert paths_in(tmp_path / "backups") == [snapshot.path for snapshot in made[-2:]]
    assert [faults(snapshot) for snapshot in made[-2:]] == [[], []]
    made[-1].path.rename(tmp_path / "backups" / "2999-01-01T00-00-00.000Z")  # the clock was set back since
    for number in ("002", "003"):
        last = back_up(data, settings_of(data), tmp_path / "backups")
        assert last.path.name == f"2999-01-01T00-00-00.000Z-{number}"
        assert newest(tmp_path / "backups").path == last.path


# -- keys


def test_a_backup_without_keys_holds_no_secret_and_says_what_it_needs(data: DataDirectory, tmp_path: Path) -> None:
    ring = KeyRing.load(data.keys)
    canary = "canary-5e1d"
    config = (
        f"[node]\ntoken = {canary}\n[log]\nurl = file:\nencryption_key =\n  {base64.b64encode(bytes(32)).decode()}\n"
    )
    data.config.write_text(config)
    loaded = load()
    loaded.file = data.config
    made = back_up(data, loaded, tmp_path / "backups", with_keys=False)
    assert made.manifest.keys == made.manifest.missing_keys == list(ring.keys)
    held = b"".join(path.read_bytes() for path in made.path.rglob("*") if path.is_file())
    secrets = [canary.encode(), base64.b64encode(bytes(32)), *(base64.b64encode(key) for key in ring.keys.values())]
    assert not [secret for secret in secrets if secret in held]
    assert "[node]" in (made.path / "config.ini").read_text()
    assert restore(made.path, tmp_path / "bare").missing_keys == list(ring.keys)
    assert restore(made.path, tmp_path / "whole", keys=data.keys).missing_keys == []
    assert verify(tmp_path / "whole" / "log", KeyRing.load(tmp_path / "whole" / "keys.json")).sound


def test_a_backup_with_its_keys_is_its_owners_alone(data: DataDirectory, tmp_path: Path) -> None:
    made = back_up(data, settings_of(data), tmp_path / "backups")
    assert made.manifest.missing_keys == []
    for path in made.path.rglob("*"):
        assert path.is_dir() or path.stat().st_mode & 0o077 == 0, path
    assert (tmp_path / "backups").stat().st_mode & 0o077 == 0


# -- what is wrong


def test_damage_in_a_backup_is_named_and_never_restored(data: DataDirectory, tmp_path: Path) -> None:
    made = back_up(data, settings_of(data), tmp_path / "backups")
    for file in made.manifest.files:
        if file.bytes and file.path.endswith((".seg", ".parquet", ".db")):
            harmed = made.path / file.path
            flip(harmed, file.bytes // 2, 3)
            assert faults(made) == [f"{harmed} does not hold what was written to it"]
            with pytest.raises(Damaged, match="does not hold what was written"):
                restore(made.path, tmp_path / "new")
            flip(harmed, file.bytes // 2, 3)
    assert faults(made) == []
    restore(made.path, tmp_path / "new")
    (made.path / "control.db").unlink()
    assert faults(made) == [f"{made.path / 'control.db'} is missing"]


def test_a_damaged_part_is_not_taken_for_a_good_one(data: DataDirectory, tmp_path: Path) -> None:
    whole = back_up(data, settings_of(data), tmp_path / "whole").manifest
    kept = {Path(file.path).name for file in whole.files}
    parts = [part for part in (data.store / "parts").glob("*.parquet") if part.name in kept]  # and not superseded
    part = max(parts, key=lambda p: p.stat().st_size)
    flip(part, part.stat().st_size // 2, 0)
    made = back_up(data, settings_of(data), tmp_path / "backups")  # the log reaches back to the beginning
    assert any(part.name in damage for damage in made.manifest.damage)
    assert part.name not in {Path(file.path).name for file in made.manifest.files}
    assert faults(made) == []


def test_a_batch_that_is_just_being_written_is_left_out(data: DataDirectory, tmp_path: Path) -> None:
    end = ends(data.log)
    last = sorted((data.log / "0000").glob("*.seg"))[-1]
    whole = last.stat().st_size
    with last.open("ab") as file:
        file.write(b"SNDB" + os.urandom(100))
    piece = pieces(data.log)[-1]
    assert (piece.bytes, piece.left_out) == (whole, 104)
    made = back_up(data, settings_of(data), tmp_path / "backups")
    assert any("104 bytes are torn" in damage for damage in made.manifest.damage)
    assert made.manifest.ends == end


@pytest.mark.all
def test_a_full_disk_is_named_and_the_next_attempt_uses_what_was_copied(data: DataDirectory, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    full = "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, -1))"
    script = _KILLED.replace("import os,", "import os, resource,").replace("os.kill(os.getpid(), signal.SIGKILL)", full)
    arguments = ["backup", str(data.path), str(folder), "checkpoint"]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert re.search(r"errors\.(Hold|Retry): .* (cannot|could not) be copied", done.stderr), done.stderr
    assert paths_in(folder) == []
    assert faults(back_up(data, settings_of(data), folder)) == []


def test_nothing_is_overwritten(data: DataDirectory, tmp_path: Path) -> None:
    made = back_up(data, settings_of(data), tmp_path / "backups")
    target = tmp_path / "there"
    target.mkdir()
    (target / "mine").write_text("precious")
    with pytest.raises(Conflict, match="is not empty: it holds mine"):
        restore(made.path, target)
    assert [p.name for p in target.iterdir()] == ["mine"]
    with pytest.raises(Conflict, match="is not empty"):
        restore(made.path, data.path)
    with pytest.raises(Invalid, match="inside the data directory"):
        back_up(data, settings_of(data), data.path / "backups")


def test_what_a_newer_sonde_made_is_refused(data: DataDirectory, tmp_path: Path) -> None:
    made = back_up(data, settings_of(data), tmp_path / "backups")
    newer = msgspec.structs.replace(made.manifest, data_format=99)
    (made.path / MANIFEST).write_bytes(msgspec.json.encode(newer))
    with pytest.raises(NewerFormat, match=r"format 99.*newer one"):
        restore(made.path, tmp_path / "new")
    (made.path / MANIFEST).write_bytes(b'{"format": 2, "anything": "else"}')
    with pytest.raises(NewerFormat, match="has format 2"):
        restore(tmp_path / "backups", tmp_path / "new")
    (made.path / MANIFEST).write_bytes(b"{")
    with pytest.raises(Damaged, match="manifest"):
        restore(tmp_path / "backups", tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert back_up(data, settings_of(data), tmp_path / "backups").path.exists(), "and keeps nobody from making another"


def test_manifests_keep_their_form() -> None:
    assert Manifest.__struct_fields__[:4] == ("format", "sonde", "made", "data_format")
