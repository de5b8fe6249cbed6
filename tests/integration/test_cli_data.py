"""Commands on a data directory with readings in it, most of them with the server running and not."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from tests.integration.commands import Up, environment, sonde, wait_for

SELECT = "select time, device, value, text from readings where device like 'd%' order by time"
OFFICE = """"date","Temperature","CO2","Occupancy"
"1","2015-02-02 14:19:00",23.7,749.2,1
"2","2015-02-02 14:19:59",23.718,760.4,1
"3","2015-02-02 14:21:00",,769.75,0
"""


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A server with a few readings, one of which a spreadsheet would run."""
    folder = tmp_path_factory.mktemp("filled")
    with Up(folder, "--no-host", "--no-simulator") as up:
        readings = [
            {"device": "d1", "metric": "m", "value": 1.5, "time": "2026-01-01T00:00:01Z"},
            {"device": "d2", "metric": "note", "value": "=1+1", "time": "2026-01-01T00:00:02Z"},
            {"device": "d1", "metric": "m", "value": 2, "time": "2026-01-01T00:00:03.5Z", "labels": {"a": "b"}},
        ]
        assert up.request("POST", "/telemetry", readings)[0] == 202
        wait_for(lambda: up.count("d1") == 2, "readings being stored")
        yield up


def on(up: Up, *arguments: str, code: int = 0) -> str:
    return sonde(*arguments, "--data", str(up.data), cwd=up.folder, code=code).stdout


def test_sql_in_every_format_with_the_server_running_and_not(filled: Up) -> None:
    running = every_format(filled)
    assert filled.stop()[0] == 0
    assert every_format(filled) == running
    filled.start()


def every_format(up: Up) -> dict[str, str]:
    found = {name: on(up, "sql", SELECT, "--format", name) for name in ("table", "json", "csv")}
    assert found["table"].splitlines()[1].startswith("2026-01-01T00:00:01.000000Z  d1        1.5")
    assert json.loads(found["json"])[1] == {
        "time": "2026-01-01T00:00:02.000000Z",
        "device": "d2",
        "value": None,
        "text": "=1+1",
    }
    rows = list(csv.DictReader(io.StringIO(found["csv"])))
    assert rows[1]["text"] == "'=1+1"  # a spreadsheet has nothing to run
    assert rows[2]["time"] == "2026-01-01T00:00:03.500000Z"
    return found


def test_sql_as_files_for_other_programs(filled: Up, tmp_path: Path) -> None:
    for name in ("arrow", "parquet"):
        target = tmp_path / f"rows.{name}"
        with target.open("wb") as out:
            command = [sys.executable, "-m", "sonde", "sql", SELECT, "--data", str(filled.data), "--format", name]
            subprocess.run(command, stdout=out, stderr=subprocess.DEVNULL, env=environment(), check=True)
        table = (
            pyarrow.parquet.read_table(target)
            if name == "parquet"
            else pa.ipc.open_stream(target.read_bytes()).read_all()
        )
        assert table["device"].to_pylist() == ["d1", "d2", "d1"]
        assert pa.types.is_timestamp(table["time"].type)


def test_sql_that_is_no_select_is_refused_in_a_line(filled: Up) -> None:
    refused = sonde("sql", "delete from readings", "--data", str(filled.data), cwd=filled.folder, code=1)
    assert refused.stderr.startswith("sonde: ")
    assert refused.stderr.count("\n") == 1
    wrong = sonde("sql", "select nothing from nowhere", "--data", str(filled.data), cwd=filled.folder, code=1)
    assert "nowhere" in wrong.stderr


def test_sql_of_a_server_elsewhere_needs_a_token(filled: Up, tmp_path: Path) -> None:
    arguments = ("sql", SELECT, "--url", filled.url, "--format", "csv")
    assert "token" in sonde(*arguments, cwd=tmp_path, code=1).stderr
    token = filled.make_token("asker", "--scope", "admin")
    (tmp_path / "token").write_text(token + "\n")
    by_variable = sonde(*arguments, cwd=tmp_path, SONDE_TOKEN=token).stdout
    assert by_variable == sonde(*arguments, "--token-file", "token", cwd=tmp_path).stdout
    assert by_variable == sonde(*arguments, cwd=tmp_path, SONDE_TOKEN_FILE=str(tmp_path / "token")).stdout
    sonde("token", "revoke", "asker", "--data", str(filled.data), cwd=tmp_path)
    assert "does not answer" in sonde("sql", "select 1", "--url", "http://127.0.0.1:9", cwd=tmp_path, code=1).stderr


def test_sql_leaves_no_tokens_behind(filled: Up) -> None:
    before = on(filled, "token", "list", "--json")
    on(filled, "sql", "select 1")
    names = [token["name"] for token in json.loads(on(filled, "token", "list", "--json"))]
    assert names == [token["name"] for token in json.loads(before)]


def test_the_log_is_verified_while_it_is_written(filled: Up) -> None:
    found = json.loads(on(filled, "log", "verify", "--json"))
    assert found["sound"] is True
    assert found["readings"] >= 3
    assert found["opened"] == found["frames"]
    assert "the log is sound" in sonde("log", "verify", "--data", str(filled.data), cwd=filled.folder).stderr


def test_the_tail_of_the_log_is_json_lines(filled: Up) -> None:
    everything = [json.loads(line) for line in on(filled, "log", "tail", "-n", "1000").splitlines()]
    readings = [(line["device"], line["value"]) for line in everything if "device" in line]
    assert readings == [("d1", 1.5), ("d2", "=1+1"), ("d1", 2)]
    assert {"settings", "rule"} <= {line.get("kind") for line in everything}
    assert len([json.loads(line) for line in on(filled, "log", "tail", "-n", "3").splitlines()]) == 3
    assert on(filled, "log", "tail", "-n", "0") == ""


def test_the_log_is_exported_in_every_form(filled: Up, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in on(filled, "log", "export").splitlines()]
    assert sum("device" in line for line in lines) == 3
    on(filled, "log", "export", str(tmp_path / "all.parquet"))
    on(filled, "log", "export", str(tmp_path / "all.csv"))
    rows = list(csv.DictReader(io.StringIO((tmp_path / "all.csv").read_text())))
    assert [row["device"] for row in rows] == ["d1", "d2", "d1"]
    assert rows[1]["text"] == "'=1+1"
    table = pyarrow.parquet.read_table(tmp_path / "all.parquet")
    assert table["device"].to_pylist() == ["d1", "d2", "d1"]
    assert table["labels"].to_pylist()[2] == '{"a":"b"}'
    again = sonde("log", "export", str(tmp_path / "all.csv"), "--data", str(filled.data), cwd=tmp_path, code=1)
    assert "nothing is overwritten" in again.stderr


def test_damage_in_the_log_is_named_with_its_place(tmp_path: Path) -> None:
    with Up(tmp_path, "--no-host", "--no-simulator") as up:
        for n in range(5):
            up.send("d", n * 10, 10)
        assert up.stop()[0] == 0
        (segment,) = (up.data / "log" / "0000").glob("*.seg")
        data = bytearray(segment.read_bytes())
        data[len(data) // 2] ^= 1
        segment.write_bytes(data)
        found = json.loads(on(up, "log", "verify", "--json", code=1))
        assert found["sound"] is False
        assert found["damage"][0][0] == str(segment)
        assert found["damage"][0][1] > 0
        assert f"damaged    {segment} at byte" in on(up, "log", "verify", code=1)


def test_without_keys_the_log_can_be_verified_and_not_read(tmp_path: Path) -> None:
    with Up(tmp_path, "--no-host", "--no-simulator") as up:
        up.send("d", 0, 10)
        assert up.stop()[0] == 0
        (up.data / "keys.json").unlink()
        found = json.loads(on(up, "log", "verify", "--json"))
        assert (found["sound"], found["opened"]) == (True, 0)
        assert "key" in sonde("log", "tail", "--data", str(up.data), cwd=tmp_path, code=1).stderr


def test_a_replay_done_twice_stores_once_and_keeps_the_times(filled: Up, tmp_path: Path) -> None:
    """Mistake 7 on real files: zoneless local times are taken in the zone that is named."""
    (tmp_path / "office.csv").write_text(OFFICE)
    arguments = ("replay", str(tmp_path / "office.csv"), "--device", "office", "--timezone", "Europe/Brussels")
    for _ in range(2):
        done = sonde(*arguments, "--data", str(filled.data), cwd=tmp_path)
        assert "sent 8 readings from 3 rows" in done.stderr
        assert "1 cells had no value" in done.stderr
    wait_for(lambda: filled.count("office") >= 8, "the replay being stored")
    rows = filled.sql("select time, value from readings where device = 'office' and metric = 'CO2' order by time")
    assert rows == [
        ["2015-02-02T13:19:00.000000Z", 749.2],
        ["2015-02-02T13:19:59.000000Z", 760.4],
        ["2015-02-02T13:21:00.000000Z", 769.75],
    ]
    assert filled.count("office") == 8
    states = {t["name"]: t["state"] for t in json.loads(on(filled, "token", "list", "--json"))}
    assert states["replay"] == "revoked"
    assert not list((filled.data / "replay").glob("*.db"))


def test_a_replay_without_a_zone_or_a_server_says_what_is_missing(filled: Up, tmp_path: Path) -> None:
    (tmp_path / "office.csv").write_text(OFFICE)
    done = sonde("replay", "office.csv", "--data", str(filled.data), cwd=tmp_path, code=1)
    assert "--timezone" in done.stderr
    sonde("token", "create", "x", "--scope", "read", "--data", "idle", cwd=tmp_path)
    done = sonde("replay", "office.csv", "--timezone", "UTC", "--data", "idle", cwd=tmp_path, code=1)
    assert "no server runs on idle" in done.stderr
    done = sonde("replay", "office.csv", "--speed", "fast", "--data", "idle", cwd=tmp_path, code=1)
    assert "should be a number above 0, or max" in done.stderr


def test_a_replay_to_a_sink_elsewhere_with_a_node_token(filled: Up, tmp_path: Path) -> None:
    (tmp_path / "far.csv").write_text("time,v\n2026-01-01T00:00:00Z,1\n")
    token = filled.make_token("far", "--scope", "ingest", "--node", "far")
    done = sonde("replay", "far.csv", "--url", filled.url, cwd=tmp_path, SONDE_TOKEN=token)
    assert "sent 1 readings" in done.stderr
    assert not list(tmp_path.glob("sonde-data*"))
    wait_for(lambda: filled.count("far") == 1, "the reading being stored")


def test_a_full_disk_is_503_and_said_aloud(tmp_path: Path) -> None:
    with Up(tmp_path, "--no-host", "--no-simulator", "--set", "log.reserve=900TB") as up:
        status, answer = up.request("POST", "/telemetry", {"device": "d", "metric": "m", "value": 1})
        assert status == 503
        assert "the disk is full" in answer["detail"]
        status, answer = up.request("GET", "/health/ready")
        assert status == 503
        assert "the disk is full" in answer["detail"]
        assert up.sql("select count(*) from readings") == [[0]]
        assert up.stop()[0] == 0


def test_history_may_begin_at_the_start_and_nothing_is_deleted(tmp_path: Path) -> None:
    with Up(tmp_path, "--no-host", "--no-simulator", "--set", "api.clear_history=yes") as up:
        up.send("d", 0, 5)
        wait_for(lambda: up.count("d") == 5, "readings being stored")
        assert up.request("GET", "/historical-data")[1]["data"] == []
        up.request("POST", "/telemetry", {"device": "d", "metric": "m", "value": 1})
        wait_for(lambda: len(up.request("GET", "/historical-data")[1]["data"]) == 1, "the new reading")


def test_lost_identities_are_learnt_again_from_the_log(tmp_path: Path) -> None:
    with Up(tmp_path, "--no-host", "--no-simulator") as up:
        up.send("d", 0, 5)
        wait_for(lambda: up.count("d") == 5, "readings being stored")
        assert up.stop()[0] == 0
        for file in (up.data / "store").glob("identities.db*"):
            file.unlink()
        up.start()
        up.send("d", 0, 5)  # the same again
        up.send("e", 0, 1)
        wait_for(lambda: up.count("e") == 1, "the next reading being stored")
        assert up.count("d") == 5
