"""The whole of ``sonde up`` as a process: first start, stop, second start, and a store that has to be made again."""

import http.client
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sonde.api.auth import COOKIE
from sonde.assemble import server
from tests.integration.commands import Up, environment, sonde, wait_for

QUIET = ("--no-host", "--no-simulator")
SMALL = ("--set", "store.hot_readings=1000", "--set", "store.hot_time=1s", "--set", "log.segment=64KiB")


def test_a_first_start_takes_readings_in_and_answers_within_a_second(tmp_path: Path) -> None:
    with Up(tmp_path, *QUIET) as up:
        up.token = up.make_token("me", "--scope", "ingest", "--scope", "read")
        reading = {"device": "boiler", "metric": "temperature", "value": 71.5, "time": "2026-01-01T12:00:00Z"}
        assert up.request("POST", "/telemetry", reading) == (202, {"status": "accepted", "accepted": 1})
        sent = time.monotonic()
        found: list[object] = []
        while not found:
            status, answer = up.request("GET", "/historical-data?device_id=boiler")
            assert status == 200
            found = answer["data"]
            assert time.monotonic() - sent < 1.0, "the reading cannot be asked for within a second"
        assert answer["data"][0]["value"] == 71.5
        assert answer["data"][0]["timestamp"] == "2026-01-01T12:00:00.000000Z"
        printed = sonde("sql", "select time, value from readings", "--data", str(up.data), cwd=tmp_path).stdout
        assert printed == "time                         value\n2026-01-01T12:00:00.000000Z   71.5\n"
        code, seconds = up.stop()
        assert (code, seconds < 10) == (0, True)
    assert not (up.data / "server.json").exists()
    offline = sonde("sql", "select time, value from readings", "--data", str(up.data), cwd=tmp_path)
    assert offline.stdout == printed


def test_host_and_building_send_from_the_start_and_what_stops_is_kept(tmp_path: Path) -> None:
    with Up(tmp_path, "--set", "sensor.building.rate=200", "--set", "sensor.host.interval=200ms") as up:
        wait_for(
            lambda: up.sql("select count(*) from readings where site <> ''")[0][0] > 100, "the building's readings"
        )
        wait_for(lambda: up.sql("select count(*) from readings where metric = 'cpu'")[0][0] > 5, "the host's readings")
        assert up.request("GET", "/health/ready")[0] == 200
        units = up.request("GET", "/telemetry-types")[1]["telemetry_types"]
        assert "co2" in units
        assert up.stop()[0] == 0
        up.start()
        wait_for(lambda: up.sql("select count(*) from readings")[0][0] > 200, "going on")
        ledger = up.request("GET", "/ledger")[1]
        for line in ledger if isinstance(ledger, list) else ledger["ledger"]:
            assert line["missing"] == line["set_aside"] == line["lost"] == line["duplicate"] == 0
        seqs = up.sql("select count(*) from gaps")
        assert seqs == [[0]]


def test_the_first_start_prints_a_link_that_signs_in_once(tmp_path: Path) -> None:
    with Up(tmp_path, *QUIET) as up:
        (line,) = [line for line in up.output.splitlines() if "sign in" in line]
        link = line.split()[2]
        assert link.startswith(f"{up.url}/sign-in?link=")
        secret = link.partition("=")[2]
        assert up.request("GET", f"/sign-in?link={secret}", token="")[0] == 200
        (token,) = [t for t in listed(up) if t["name"] == "admin"]
        assert token["scopes"] == ["admin"]
        another = sonde("token", "link", "--data", str(up.data), cwd=tmp_path).stdout.strip()
        assert another.startswith(f"{up.url}/sign-in?link=")
        assert another != link
        up.stop()
        up.start()
        assert len([t for t in listed(up) if t["name"] == "admin"]) == 1


def listed(up: Up) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(
        sonde("token", "list", "--json", "--data", str(up.data), cwd=up.folder).stdout
    )
    return found


def test_a_revoked_token_is_refused_within_seconds(tmp_path: Path) -> None:
    with Up(tmp_path, *QUIET) as up:
        token = up.make_token("edge", "--scope", "ingest")
        reading = {"device": "a", "metric": "b", "value": 1}
        assert up.request("POST", "/telemetry", reading, token)[0] == 202
        assert up.request("GET", "/devices", token=token)[0] == 403
        sonde("token", "revoke", "edge", "--data", str(up.data), cwd=tmp_path)
        wait_for(lambda: up.request("POST", "/telemetry", reading, token)[0] == 401, "the revocation being seen", 5)


def test_two_on_one_directory_the_second_refuses(tmp_path: Path) -> None:
    with Up(tmp_path, *QUIET) as up:
        assert up.process is not None
        refused = sonde("up", "--data", str(up.data), "--port", "0", cwd=tmp_path, code=1)
        assert f"data is in use by process {up.process.pid}. Stop that one first" in refused.stderr
        refused = sonde("rebuild", "--data", str(up.data), cwd=tmp_path, code=1)
        assert "is in use by process" in refused.stderr
        assert up.request("GET", "/health")[0] == 200


def test_a_port_in_use_says_what_to_do(tmp_path: Path) -> None:
    with Up(tmp_path, *QUIET) as up:
        port = up.url.rpartition(":")[2]
        refused = sonde("up", "--data", "other", "--port", port, cwd=tmp_path, code=1)
        assert f"cannot listen at 127.0.0.1 port {port} (Address already in use). Name another with" in refused.stderr
        assert not (tmp_path / "other" / "server.json").exists()


def test_the_port_may_come_from_the_environment(tmp_path: Path) -> None:
    with Up(tmp_path, *QUIET) as up:
        port = up.url.rpartition(":")[2]
        assert f"port {port}" in sonde("up", "--data", "other", cwd=tmp_path, code=1, PORT=port).stderr


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"")
    refused = sonde("up", "--data", "photos", "--port", "0", cwd=tmp_path, code=1)
    assert "is not a data directory of Sonde: it holds cat.jpg" in refused.stderr


def test_keys_that_are_gone_stop_the_start(tmp_path: Path) -> None:
    with Up(tmp_path, *QUIET) as up:
        up.stop()
    keys = up.data / "keys.json"
    kept = keys.read_bytes()
    keys.unlink()
    refused = sonde("up", "--data", str(up.data), "--port", "0", cwd=tmp_path, code=1)
    assert f"the key file {keys} is gone" in refused.stderr
    keys.write_bytes(kept)
    with up:
        assert up.request("GET", "/health")[0] == 200


def test_wrong_settings_stop_the_start_in_one_line(tmp_path: Path) -> None:
    refused = sonde("up", "--set", "server.prot=1", cwd=tmp_path, code=1)
    assert refused.stderr == "sonde: --set server.prot: there is no such key; did you mean port?\n"
    assert not (tmp_path / "sonde-data").exists()


def test_killed_and_started_again_everything_confirmed_is_there_once(tmp_path: Path) -> None:
    with Up(tmp_path, *QUIET, *SMALL) as up:
        for turn in range(3):
            for batch in range(20):
                up.send("d", (turn * 20 + batch) * 50, 50)
            up.kill()
            up.start()
        wait_for(lambda: up.count("d") == 3000, "all readings being stored")
        assert up.sql("select count(distinct value) from readings where device = 'd'") == [[3000]]
        up.send("d", 0, 50)  # the same again changes nothing
        up.send("e", 0, 1)
        wait_for(lambda: up.count("e") == 1, "the next reading being stored")
        assert up.count("d") == 3000


# -- the store made again by itself


def lose(up: Up, before: Path) -> None:
    for file in (up.data / "store").glob("sonde.duckdb*"):
        file.unlink()


def lose_all(up: Up, before: Path) -> None:
    shutil.rmtree(up.data / "store")


def damage(up: Up, before: Path) -> None:
    with (up.data / "store" / "sonde.duckdb").open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(64 * 1024))


def put_an_older_one_back(up: Up, before: Path) -> None:
    """The store is behind by what came since; that is no damage, it catches up."""
    shutil.rmtree(up.data / "store")
    shutil.copytree(before / "store", up.data / "store")


@pytest.mark.parametrize(
    "fault", [lose, *(pytest.param(f, marks=pytest.mark.all) for f in (lose_all, damage, put_an_older_one_back))]
)
def test_a_store_that_is_no_use_is_made_again_by_itself(fault: Callable[[Up, Path], None], tmp_path: Path) -> None:
    with Up(tmp_path, *QUIET, *SMALL) as up:
        up.send("d", 0, 1500)
        wait_for(lambda: up.count("d") == 1500, "readings being stored")
        assert up.stop()[0] == 0
        shutil.copytree(up.data, tmp_path / "before")
        up.start()
        up.send("d", 1500, 1500)
        wait_for(lambda: up.count("d") == 3000, "more readings being stored")
        assert up.stop()[0] == 0
        fault(up, tmp_path / "before")
        up.start()
        up.send("d", 3000, 10)  # the sink takes in from the start
        wait_for(lambda: answers(up), "questions being answered again")
        wait_for(lambda: up.count("d") == 3010, "all readings being there again")
        assert up.sql("select count(distinct value) from readings where device = 'd'") == [[3010]]
        assert up.sql("select sum(count) from windows where device = 'd' and width = '5m'") == [[3010]]
        if fault is not put_an_older_one_back:
            assert "store_rebuild" in up.output
        assert up.stop()[0] == 0
        assert "it equals what was there" in sonde("rebuild", "--data", str(up.data), cwd=tmp_path).stdout


def test_an_older_log_under_a_newer_store_is_noticed_and_nothing_is_thrown_away(tmp_path: Path) -> None:
    with Up(tmp_path, *QUIET, *SMALL) as up:
        up.send("d", 0, 500)
        wait_for(lambda: up.count("d") == 500, "readings being stored")
        assert up.stop()[0] == 0
        shutil.copytree(up.data / "log", tmp_path / "older")
        up.start()
        up.send("d", 500, 2500)
        wait_for(lambda: up.count("d") == 3000, "more readings being stored")
        assert up.stop()[0] == 0
        shutil.rmtree(up.data / "log")
        shutil.copytree(tmp_path / "older", up.data / "log")
        up.start()
        wait_for(lambda: answers(up), "questions being answered again")
        wait_for(lambda: up.count("d") == 500, "what the log says")
        assert "log_ends_early" in up.output
        assert (up.data / "store.aside-1" / "sonde.duckdb").exists()
        up.send("d", 500, 10)  # not taken for a repetition of what the log never held
        wait_for(lambda: up.count("d") == 510, "new readings")


def answers(up: Up) -> bool:
    status, answer = up.request("POST", "/sql", {"sql": "select 1"})
    assert status in {200, 503}, answer
    if status == 503:
        assert "the store is being made again" in answer["detail"]
    return bool(status == 200)


# -- stopping


def test_stopping_under_load_confirms_or_refuses_and_ends_in_time(tmp_path: Path) -> None:
    with Up(tmp_path, "--set", "sensor.building.rate=1000") as up:
        token = up.make_token("load", "--scope", "ingest")
        url, ended = up.url, threading.Event()
        confirmed = [0, 0, 0]
        threads = [threading.Thread(target=load, args=(url, token, confirmed, i, ended)) for i in range(3)]
        for thread in threads:
            thread.start()
        wait_for(lambda: min(confirmed) > 20, "load")
        code, seconds = up.stop()
        ended.set()
        for thread in threads:
            thread.join()
        assert (code, seconds < 10) == (0, True)
        up.start()
        wait_for(lambda: all(up.count(f"load-{i}") >= confirmed[i] for i in range(3)), "all that was confirmed")
        for i in range(3):
            assert up.count(f"load-{i}") <= confirmed[i] + 1  # the last one may have been stored and not confirmed


def load(url: str, token: str, confirmed: list[int], number: int, ended: threading.Event) -> None:
    while not ended.is_set():
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
        try:
            n = confirmed[number]
            body = json.dumps({"device": f"load-{number}", "metric": "m", "value": n, "event_id": f"{number}-{n}"})
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            connection.request("POST", "/telemetry", body.encode(), headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status in {202, 503}
            confirmed[number] += answer.status == 202
        except (OSError, http.client.HTTPException):
            return
        finally:
            connection.close()


def test_the_cookie_of_the_commands_is_that_of_the_api() -> None:
    assert server.COOKIE == COOKIE


def test_the_node_alone_loads_neither_database_nor_web_framework(tmp_path: Path) -> None:
    """Looked at in the process that runs, after it has sent."""
    (tmp_path / "spy.py").write_text(
        "import sys\n"
        "def read():\n"
        "    return {'heavy': ' '.join(sorted({'duckdb', 'fastapi', 'uvicorn', 'starlette'} & set(sys.modules)))}\n"
    )
    with Up(tmp_path, *QUIET) as up:
        token = up.make_token("edge", "--scope", "ingest", "--node", "edge")
        options = [f"node.sink={up.url}", "sensor.spy.kind=function", "sensor.spy.function=spy:read"]
        node = subprocess.Popen(
            [sys.executable, "-m", "sonde", "node", "--data", "edge", *(a for o in options for a in ("--set", o))],
            cwd=tmp_path,
            env=environment(SONDE_NODE_TOKEN=token),
        )
        try:
            wait_for(lambda: up.count("spy") > 0, "the node's readings")
            assert up.sql("select distinct text from readings where device = 'spy'") == [[""]]
            assert up.sql("select count(*) from readings where metric = 'cpu'")[0][0] > 0
            node.terminate()
            assert node.wait(10) == 0
        finally:
            node.kill()
            node.wait()
