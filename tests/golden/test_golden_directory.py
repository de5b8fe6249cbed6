"""What released versions left behind, this one opens, answers the same, and makes again. What a newer one left, it refuses."""

import json
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import duckdb
import msgspec
import pytest

from sonde.assemble.backup.restore import restore
from sonde.config import load
from sonde.control.file import STEPS
from sonde.control.sqlite import SqliteControl
from sonde.directory import FORMAT, DataDirectory
from sonde.errors import Hold, NewerFormat
from tests.crash.road import Up, check_ledger, check_windows, wait_for
from tests.golden.make_directory import GOLDEN, answers

ARCHIVES = sorted(GOLDEN.glob("directory-*.tar.xz"))
every_version = pytest.mark.parametrize("archive", ARCHIVES, ids=[path.name for path in ARCHIVES])


@dataclass(frozen=True)
class Golden:
    """One version's directory, unpacked."""

    folder: Path
    expected: dict[str, Any]

    def up(self, data: Path | None = None) -> Up:
        """A server, not started yet."""
        up = Up((data or self.folder / "data").parent, "--no-host", "--no-simulator")
        up.token = self.expected["token"]
        return up

    @property
    def backup(self) -> Path:
        return next((self.folder / "backups").iterdir())


def unpack(archive: Path, folder: Path) -> Golden:
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    return Golden(folder, json.loads((folder / "expected.json").read_bytes()))


def check_answers(up: Up, expected: dict[str, Any]) -> None:
    up.wait_until_all_is_stored()
    found = json.loads(json.dumps(answers(up)))
    assert found.keys() == expected.keys()
    for name, rows in expected.items():
        assert found[name] == rows, name
    check_windows(up)
    check_ledger(up, complete=False)


@every_version
def test_it_is_opened_answered_from_and_made_again(archive: Path, tmp_path: Path) -> None:
    golden = unpack(archive, tmp_path)
    with golden.up() as up:
        check_answers(up, golden.expected["data"])
        assert "frames" in up.command("log", "verify").stdout
        assert up.command("log", "verify").returncode == 0
        assert up.stop() == 0
        rebuilt = up.command("rebuild")
        assert "it equals what was there" in rebuilt.stdout, rebuilt.stdout[:2000] + rebuilt.stderr


@every_version
@pytest.mark.all
def test_it_is_made_again_from_the_log_alone(archive: Path, tmp_path: Path) -> None:
    golden = unpack(archive, tmp_path)
    store = golden.folder / "data" / "store"
    store.rename(tmp_path / "elsewhere")
    with golden.up() as up:
        check_answers(up, golden.expected["data"])
        assert up.stop() == 0


@every_version
@pytest.mark.all
def test_its_backup_is_restored(archive: Path, tmp_path: Path) -> None:
    golden = unpack(archive, tmp_path)
    (tmp_path / "new").mkdir()
    restore(golden.backup, tmp_path / "new" / "data")
    with golden.up(tmp_path / "new" / "data") as up:
        check_answers(up, golden.expected["backup"])
        assert up.stop() == 0


@every_version
@pytest.mark.all
def test_a_store_of_another_version_is_made_again(archive: Path, tmp_path: Path) -> None:
    golden = unpack(archive, tmp_path)
    set_version(golden.folder / "data" / "store", 99)
    with golden.up() as up:
        check_answers(up, golden.expected["data"])
        assert "the store's version is 99" in up.said()
        assert up.stop() == 0


@every_version
@pytest.mark.all
def test_a_store_of_another_version_stays_when_the_log_was_cut(archive: Path, tmp_path: Path) -> None:
    """A log without its beginning cannot make the store again: nothing is deleted, and the hint says what to do."""
    golden = unpack(archive, tmp_path)
    data = golden.folder / "data"
    set_version(data / "store", 99)
    for segment in sorted((data / "log" / "0000").glob("*.seg"))[:-1]:
        segment.unlink()
        segment.with_suffix(".idx").unlink(missing_ok=True)
    parts = sorted(path.name for path in (data / "store" / "parts").iterdir())
    with golden.up() as up:
        wait_for(lambda: b"made by another Sonde" in up.request("GET", "/health/ready")[1], "the store being held")
        status, body = up.request("GET", "/health/ready")
        assert status == 503
        assert b"restore a backup" in body
        assert up.stop() == 0
    assert sorted(path.name for path in (data / "store" / "parts").iterdir()) == parts


def set_version(store: Path, version: int) -> None:
    """As if another Sonde had made the store and its checkpoints."""
    with duckdb.connect(str(store / "sonde.duckdb")) as connection:
        connection.execute("update store.meta set version = ?", [version])
    for file in (store / "checkpoints").glob("*/checkpoint.json"):
        manifest = json.loads(file.read_bytes())
        file.write_text(json.dumps({**manifest, "version": version}))


# -- what a newer one left


def test_a_directory_of_a_newer_format_is_refused_with_what_to_do(tmp_path: Path) -> None:
    directory = DataDirectory.create(tmp_path / "data")
    (directory.path / "FORMAT").write_bytes(msgspec.json.encode({"format": FORMAT + 1}))
    for command in (["up", "--port", "0", "--plain"], ["keys", "list"]):
        done = subprocess.run(
            [sys.executable, "-m", "sonde", *command, "--data", str(directory.path)],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 1
        assert f"has format {FORMAT + 1}, and this Sonde reads up to {FORMAT}" in done.stderr
        assert "Start it with the Sonde that wrote it, or a newer one" in done.stderr
    assert sorted(path.name for path in directory.path.iterdir()) == ["FORMAT"]


def test_a_configuration_for_a_newer_sonde_says_so(tmp_path: Path) -> None:
    file = tmp_path / "config.ini"
    file.write_text("# Settings of Sonde 99.1.0. Take the ; away.\n[server]\nport = 8000\n")
    assert load(file).settled().server.port == 8000, "what is understood is taken"
    file.write_text(file.read_text() + "[hyperspace]\ndrive = on\n")
    said = " ".join(map(str, load(file).faults))
    assert "there is no section [hyperspace]" in said
    assert "it was written for Sonde 99.1.0, and this is" in said
    with pytest.raises(Hold):
        load(file).settled()


def test_a_control_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    SqliteControl(path).close()
    with apsw.Connection(str(path)) as connection:
        connection.execute(f"pragma user_version = {len(STEPS) + 1}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(NewerFormat, match=r"newer Sonde .* Go on with the Sonde that wrote it"):
        SqliteControl(path)
    assert path.read_bytes() == before


def test_there_is_a_directory_of_this_version() -> None:
    assert ARCHIVES
