"""``sonde doctor`` and ``sonde status``: each thing that is wrong is named, with how to mend it."""

import json
import os
import shutil
import socket
from pathlib import Path

import pytest

from sonde.assemble.doctor.examine import Patient, examine
from sonde.config import load
from sonde.directory import DataDirectory
from sonde.log.segments import read_id
from sonde.store.duckdb import DuckStore
from tests.integration.commands import Up, sonde, wait_for

OPTIONS = ("--no-host", "--no-simulator", "--set", "store.hot_time=1s", "--set", "log.segment=64KiB")


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a server that was stopped left behind, with parts and a checkpoint."""
    folder = tmp_path_factory.mktemp("left")
    with Up(folder, *OPTIONS) as up:
        up.send("d", 0, 500)
        wait_for(lambda: up.count("d") == 500, "readings being stored")
        told = json.loads(sonde("doctor", "--json", "--data", str(up.data), cwd=folder).stdout)
        assert ("server", "ok") in {(one["check"], one["state"]) for one in told}
        shown = sonde("status", "--data", str(up.data), cwd=folder).stdout
        assert "taken in" in shown
        assert "up to date" in shown
        assert json.loads(sonde("status", "--json", "--data", str(up.data), cwd=folder).stdout)["received"] == 500
        over = ("--url", up.url)
        token = up.make_token("reader", "--scope", "read")
        assert "ok  server" in sonde("doctor", *over, cwd=folder, SONDE_TOKEN=token).stdout
        assert "500" in sonde("status", *over, cwd=folder, SONDE_TOKEN=token).stdout
        assert "token" in sonde("doctor", *over, cwd=folder, code=1, SONDE_TOKEN="sonde_no").stdout
        assert up.stop()[0] == 0
    sonde("status", "--data", str(up.data), cwd=folder, code=1)
    seal(up.data)
    return folder


def seal(data: Path) -> None:
    """All that is stored into parts, and a checkpoint that names them."""
    log = read_id(data / "log")
    assert log is not None
    store = DuckStore(data / "store", log)
    store.roll()
    while store.maintain():
        pass
    store.close()


@pytest.fixture
def data(left: Path, tmp_path: Path) -> Path:
    shutil.copytree(left / "data", tmp_path / "data")
    return tmp_path


def findings(folder: Path, name: str, *options: str, wrong: bool = False) -> dict[str, list[tuple[str, str]]]:
    """State and what to do, by check; ``wrong`` says whether anything is. Port 8000 may be another's: one of its own."""
    data = folder / name
    file = data / "config.ini" if (data / "config.ini").exists() else None
    loaded = load(file, {}, (f"server.port={_free_port()}", *options))
    checks: dict[str, list[tuple[str, str]]] = {}
    for one in examine(Patient(DataDirectory(data), loaded)):
        checks.setdefault(one.check, []).append((one.state, one.mend))
    assert any(state == "wrong" for states in checks.values() for state, _ in states) == wrong, checks
    return checks


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_nothing_is_wrong(data: Path) -> None:
    found = findings(data, "data", "retention.warn_below=0")
    assert {state for states in found.values() for state, _ in states} == {"ok"}, found
    assert set(found) == {
        *("configuration", "version", "permissions", "port", "disk", "clock", "limits"),
        *("key", "log", "store", "audit trail"),
    }


def test_no_data_directory(tmp_path: Path) -> None:
    found = findings(tmp_path, "nowhere", wrong=True)
    assert found["version"][0][0] == "wrong"
    assert "sonde up" in found["version"][0][1]


def test_a_newer_format(data: Path) -> None:
    (data / "data" / "FORMAT").write_text('{"format": 99}')
    assert findings(data, "data", wrong=True)["version"][0][0] == "wrong"


def test_a_mistake_in_the_configuration(data: Path) -> None:
    (data / "data" / "config.ini").write_text("[retention]\nreedings = 5d\n")
    done = sonde("doctor", "--data", "data", cwd=data, code=1)
    assert "x   configuration" in done.stdout
    assert "readings" in done.stdout, "the nearest name is told"


def test_a_port_that_is_taken(data: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = findings(data, "data", f"server.port={port}", wrong=True)
    assert found["port"] == [("wrong", "Stop what has it (ss -ltnp shows it), or set [server] port")]


def test_too_little_room(data: Path) -> None:
    assert findings(data, "data", "log.reserve=900TB", wrong=True)["disk"][0][0] == "wrong"
    assert findings(data, "data", "retention.warn_below=900TB")["disk"][0][0] == "warning"


def test_a_key_that_is_gone_and_one_that_is_another(data: Path) -> None:
    keys = data / "data" / "keys.json"
    kept = keys.read_bytes()
    keys.unlink()
    assert findings(data, "data", wrong=True)["key"][0][0] == "wrong"
    keys.write_bytes(kept.replace(b'"key-', b'"yek-'))
    assert findings(data, "data", wrong=True)["key"][0][0] == "wrong"
    keys.write_bytes(kept)
    os.chmod(keys, 0o644)
    states = findings(data, "data")["permissions"]
    assert ("warning", f"chmod 600 {keys}") in states


def test_a_part_that_is_damaged_and_a_file_that_was_set_aside(data: Path) -> None:
    folder = data / "data" / "store"
    (folder / "sonde.duckdb.aside-1").write_bytes(b"")
    assert [state for state, _ in findings(data, "data")["store"]] == ["ok", "warning"]
    part = next((folder / "parts").glob("*.parquet"))
    part.write_bytes(part.read_bytes()[:-7])
    assert findings(data, "data", wrong=True)["store"][0][0] == "wrong"


def test_an_act_that_was_changed(data: Path) -> None:
    control = data / "data" / "control.db"
    content = control.read_bytes()
    assert b"token.create" in content
    control.write_bytes(content.replace(b"token.create", b"token.revoke"))
    assert findings(data, "data", wrong=True)["audit trail"][0][0] == "wrong"


def test_a_clock_that_is_behind(data: Path) -> None:
    newest = max((data / "data" / "store" / "checkpoints").glob("0*"))
    os.utime(newest, (4_000_000_000, 4_000_000_000))
    found = findings(data, "data", wrong=True)["clock"]
    assert found == [("wrong", "Set it: timedatectl set-ntp true")]
