"""The demo device in a real ``sonde up``, commanded in every way there is."""

import json
import subprocess
import threading
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from websockets.sync.client import connect

from sonde.client import Client, DeviceNews, Outcome
from sonde.errors import Conflict, NotFound, Reject
from tests.crash.road import Up, wait_for

DEVICE = "demo-device"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with Up(tmp_path_factory.mktemp("up"), "--no-host", "--set", "sensor.building.enabled=no") as running:
        with client_of(running) as client:
            wait_for(lambda: is_there(client), "the demo device waiting for commands", 60)
        yield running
        assert running.stop() == 0


def is_there(client: Client) -> bool:
    try:
        return client.check(DEVICE, "get_status").online
    except NotFound:
        return False


@pytest.fixture
def client(up: Up) -> Iterator[Client]:
    with client_of(up) as made:
        yield made


def client_of(up: Up) -> Client:
    return Client(f"http://127.0.0.1:{up.port}", up.token)


def test_every_command_of_the_demo_device(client: Client) -> None:
    assert "35" in client.command(DEVICE, "set_sensor_value", {"sensor_id": "temperature", "value": "35"}).message
    assert client.command(DEVICE, "set_sensor_value", {"sensor_id": "system_status", "value": "warning"}).ok
    status = client.command(DEVICE, "get_status").details
    assert (status["status"], status["values"]["system_status"]) == ("warning", "warning")
    assert status["values"]["temperature"] > 30
    assert client.command(DEVICE, "reset_sensors").ok
    status = client.command(DEVICE, "get_status").details
    assert status["status"] == "operational"
    assert 20 < status["values"]["temperature"] < 25
    for sensor, value in (("temperature", "99"), ("temperature", "warm"), ("system_status", "sleepy")):
        refused = client.command(DEVICE, "set_sensor_value", {"sensor_id": sensor, "value": value})
        assert (refused.state, value in refused.message) == ("failed", True)


def test_the_update_interval_changes_and_readings_follow(client: Client) -> None:
    assert client.command(DEVICE, "set_update_interval", {"interval": 0.1}).ok
    wait_for(lambda: max(gaps(client), default=9.0) < 1.0, "quicker readings", 60)
    assert client.command(DEVICE, "set_update_interval", {"interval": 60}).ok
    assert client.command(DEVICE, "set_sensor_value", {"sensor_id": "humidity", "value": "77"}).ok

    def newest() -> Any:
        return client.query("/historical-data", id="humidity", limit=1).data["data"][0]["value"]

    wait_for(lambda: newest() > 70, "a command being followed by a reading at once", 60)
    assert client.command(DEVICE, "set_update_interval", {"interval": 2}).ok


def gaps(client: Client) -> list[float]:
    """Seconds between the newest readings."""
    rows = client.query("/historical-data", id="humidity", limit=5).data["data"]
    times = [float(row["timestamp"][17:26]) + 60 * float(row["timestamp"][14:16]) for row in rows]
    return [(later - earlier) % 3600 for later, earlier in pairwise(times)]


def test_calibration_is_pending_first_and_a_success_later(client: Client) -> None:
    told: list[Outcome] = []
    done = client.command(DEVICE, "calibrate_sensors", {"duration": 1}, tell=told.append)
    assert (done.ok, done.progress, done.message) == (True, 1.0, "calibrated in 1 s")
    assert "running" in [outcome.state for outcome in told]

    def statuses() -> list[str]:
        found = client.query("/historical-data", type="command_result", id=done.id, order="oldest").data["data"]
        return [record["value"]["status"] for record in found]

    wait_for(lambda: statuses()[-1:] == ["success"], "the result in history", 60)
    assert set(statuses()[:-1]) == {"pending"}
    assert client.command(DEVICE, "calibrate_sensors", wait=False).parameters == {"duration": 5}


def test_the_same_key_runs_once_and_a_late_cancel_is_refused(client: Client) -> None:
    first = client.command(DEVICE, "get_status", key="once")
    again = client.command(DEVICE, "get_status", key="once")
    assert (first.id, first.details) == (again.id, again.details)
    with pytest.raises(Conflict, match="succeeded"):
        client.cancel(first.id)


def test_wrong_ones_never_reach_the_device(client: Client) -> None:
    with pytest.raises(Reject, match="31"):
        client.command(DEVICE, "calibrate_sensors", {"duration": 31})
    with pytest.raises(NotFound, match="get_status"):
        client.command(DEVICE, "explode")
    with pytest.raises(NotFound):
        client.command("nobody", "get_status")


def test_the_live_feed_gives_commands_and_tells_what_became_of_them(up: Up) -> None:
    headers = {"Authorization": f"Bearer {up.token}"}
    with connect(f"ws://127.0.0.1:{up.port}/ws", additional_headers=headers) as plain:
        asked = {"type": "command", "command": "calibrate_sensors", "parameters": {"duration": 1}, "request_id": 7}
        plain.send(json.dumps(asked))
        accepted: Any = None
        statuses: list[str] = []
        while statuses[-1:] != ["success"]:
            message = json.loads(plain.recv(timeout=60))
            assert message["type"] != "error", message
            if message["type"] == "accepted":
                accepted = message
            if message["type"] == "command_result" and accepted and message["id"] == accepted["id"]:
                assert message["value"]["command"] == "calibrate_sensors"
                statuses.append(message["value"]["status"])
        assert accepted is not None
        assert (accepted["request_id"], accepted["device"]) == (7, DEVICE)
        assert statuses[0] == "pending"
        plain.send(json.dumps({"type": "command", "command": "explode", "request_id": 8}))
        wrong = next(m for m in iter(lambda: json.loads(plain.recv(timeout=60)), None) if m["type"] == "error")
        assert (wrong["request_id"], wrong["status"]) == (8, 404)


def test_who_follows_hears_of_commands(up: Up, client: Client) -> None:
    heard: list[DeviceNews] = []
    ready = threading.Event()
    follow = client.follow(device=DEVICE)

    def listen() -> None:
        for event in follow.events():
            ready.set()
            if isinstance(event, DeviceNews):
                heard.append(event)

    listening = threading.Thread(target=listen)
    listening.start()
    try:
        wait_for(lambda: ready.is_set() or client.command(DEVICE, "get_status").ok, "anything being heard", 60)
        id_ = client.command(DEVICE, "get_status").id
        wait_for(lambda: any(e.id == id_ and e.value["status"] == "success" for e in heard), "the result", 60)
    finally:
        follow.close()
        listening.join(30)


def sonde(up: Up, *arguments: str) -> subprocess.CompletedProcess[str]:
    return up.command(*arguments)


def test_from_the_terminal(up: Up) -> None:
    done = sonde(up, "command", DEVICE, "calibrate_sensors", "duration=1")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "running" in done.stderr
    assert "calibrated in 1 s" in done.stderr
    status = sonde(up, "command", DEVICE, "get_status")
    assert json.loads(status.stdout)["status"] in {"operational", "warning"}
    failed = sonde(up, "command", DEVICE, "set_sensor_value", "sensor_id=pressure", "value=2")
    assert (failed.returncode, "failed" in failed.stderr, "980" in failed.stderr) == (1, True, True)
    wrong = sonde(up, "command", DEVICE, "calibrate_sensors", "duration=soon", "more=1")
    assert (wrong.returncode, "duration" in wrong.stderr, "more" in wrong.stderr) == (1, True, True)
    unknown = sonde(up, "command", DEVICE, "explode")
    assert (unknown.returncode, "get_status" in unknown.stderr) == (1, True)


@pytest.mark.all
def test_from_the_terminal_without_waiting(up: Up) -> None:
    dry = sonde(up, "command", DEVICE, "set_update_interval", "interval=1.5", "--dry-run")
    assert (dry.returncode, "would be taken" in dry.stderr, "is there" in dry.stderr) == (0, True, True)
    given = sonde(up, "command", DEVICE, "get_status", "--no-wait", "--expires", "60s")
    id_ = given.stdout.strip()
    assert (given.returncode, len(id_)) == (0, 32)
    wait_for(lambda: "succeeded" in sonde(up, "commands", "show", id_).stderr, "the command's end", 60)
    listed = json.loads(sonde(up, "commands", "list", "--device", DEVICE, "--json").stdout)
    assert id_ in [item["id"] for item in listed]
    assert "get_status" in sonde(up, "commands", "list", "--state", "succeeded").stdout
    assert sonde(up, "commands", "cancel", id_).returncode == 1
    assert "KEY=VALUE" in sonde(up, "command", DEVICE, "get_status", "loud").stderr


def test_the_metrics_of_commands(up: Up, client: Client) -> None:
    assert client.command(DEVICE, "get_status").ok
    text = up.request("GET", "/metrics")[1].decode()
    assert "sonde_downlinks 1.0" in text
    assert 'sonde_commands_total{state="succeeded"}' in text
