"""Alerts through kill -9, restarts and rebuilds of the real ``sonde up``: none is lost, none comes twice."""

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

from tests.crash.road import Up, seed, wait_for

QUIET = ("--no-host", "--no-simulator", "--set", "process.windows=5s,5m")
STUFFY = {
    "type": "above",
    "threshold": 900,
    "metric": "co2",
    "window": 5,
    "of": "avg",
    "across": "zone",
    "severity": "critical",
}
RULES: dict[str, dict[str, Any]] = {
    "hot": {"type": "above", "threshold": 30, "clear": 28, "metric": "temperature"},
    "silent": {"type": "no_data", "duration": 2, "metric": "pulse"},
    "stuffy": STUFFY,
    "wrong": {"type": "equals", "text": "error", "metric": "status"},
    "steep": {"type": "rate", "threshold": 5, "per": 1, "metric": "pressure"},
}


def put(up: Up, path: str, body: Any) -> Any:
    status, content = up.request("PUT", path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    assert status == 200, content
    return json.loads(content)


def send(up: Up, metric: str, value: float | str, **more: Any) -> None:
    body = {"device": "d", "metric": metric, "value": value, "site": "s", "zone": "z", "time": time.time(), **more}
    content = json.dumps(body).encode()
    status, answer = up.request("POST", "/telemetry", content, {"Content-Type": "application/json"})
    assert status == 202, answer


def firing(up: Up) -> dict[str, Any]:
    return {alert["rule"]: alert for alert in up.get("/alerts?state=open&limit=1000")}


def raise_all(up: Up) -> None:
    """Make every rule fire."""
    for name, rule in RULES.items():
        put(up, f"/alert-rules/{name}", rule)
    send(up, "pressure", 1.0, time=time.time() - 1)
    values: dict[str, float | str] = {
        "temperature": 35.0,
        "pulse": 1,
        "status": "error",
        "pressure": 100.0,
        "co2": 1000.0,
    }
    for metric, value in values.items():
        send(up, metric, value)
    wait_for(lambda: set(firing(up)) >= set(RULES), "all rules firing", 60)


def test_every_type_fires_once_and_survives_kills_and_a_rebuild(tmp_path: Path) -> None:
    with Up(tmp_path, *QUIET) as up:
        raise_all(up)
        before = firing(up)
        stuffy, silent = before["stuffy"], before["silent"]
        assert (stuffy["device"], stuffy["site"], stuffy["zone"], stuffy["value"]) == ("", "s", "z", 1000.0)
        assert silent["message"] == "pulse of d: no data for 2s"
        done = up.command("alert", "ack", stuffy["alert_id"], "--why", "windows are opened")
        assert done.returncode == 0, done.stderr
        done = up.command("alert", "shelve", silent["alert_id"], "2h")
        assert done.returncode == 0, done.stderr
        assert stuffy["alert_id"] in up.command("alert", "list").stdout
        assert "windows are opened" in up.command("alert", "show", stuffy["alert_id"]).stdout
        done = up.command("rule", "preview", "type=above", "metric=temperature", "threshold=30", "--since", "1h")
        assert "still firing" in done.stdout, done.stderr
        up.kill()
        up.start()
        after = firing(up)
        assert {rule: alert["alert_id"] for rule, alert in after.items()} == {
            rule: alert["alert_id"] for rule, alert in before.items()
        }
        assert (after["stuffy"]["state"], after["silent"]["state"]) == ("acknowledged", "shelved")
        history = up.get(f"/alerts/{stuffy['alert_id']}")["history"]
        assert [(e["event"], e["why"]) for e in history] == [("fired", ""), ("acknowledged", "windows are opened")]
        send(up, "pulse", 1)
        send(up, "temperature", 20.0)
        wait_for(lambda: not {"silent", "hot"} & set(firing(up)), "those over that are over")
        assert up.stop() == 0
        rows = stored(up)
        rebuilt = up.command("rebuild")
        assert rebuilt.returncode == 0, rebuilt.stderr
        up.start()
        assert stored(up) == rows


def stored(up: Up) -> Any:
    done = up.command("sql", "select * exclude (peak) from alerts order by all", "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_rules_set_by_people_survive_a_restart_until_the_configuration_speaks(tmp_path: Path) -> None:
    with Up(tmp_path, *QUIET) as up:
        mine = up.get("/alert-rules/co2-high")
        assert mine["source"] == "config"
        put(up, "/alert-rules/co2-high", {**mine["rule"], "threshold": 1234.0})
        removed, _ = up.request("DELETE", "/alert-rules/humidity-high")
        assert removed == 204
        assert "threshold=1234" in up.command("rule", "list").stdout
        wrong = up.command("rule", "set", "own", "type=above", "threshold=1", "window=7s", "of=avg")
        assert wrong.returncode == 1
        assert "multiple of a width that is kept: 5s, 5m" in wrong.stderr
        assert (
            up.command("rule", "set", "own", "type=below", "metric=co2", "threshold=100", "duration=5m").returncode == 0
        )
        assert up.stop() == 0
        up.start()
        rules = {rule["id"]: rule for rule in up.get("/alert-rules")}
        assert set(rules) == {"co2-high", "temperature-high", "own"}
        assert rules["co2-high"]["rule"]["threshold"] == 1234.0
        assert rules["own"]["rule"]["duration"] == 300.0
        assert up.stop() == 0
        (up.data / "config.ini").write_text("[rule.co2-high]\nmetric = co2\nthreshold = 1111\n")
        up.start()
        wait_for(lambda: up.get("/alert-rules/co2-high")["rule"]["threshold"] == 1111.0, "the configuration in force")
        assert up.get("/alert-rules/co2-high")["source"] == "config"
        assert up.stop() == 0


def test_an_idle_log_ticks_only_while_a_rule_waits(tmp_path: Path) -> None:
    with Up(tmp_path, *QUIET) as up:
        send(up, "pulse", 1)
        up.wait_until_all_is_stored()
        put(up, "/alert-rules/silent", RULES["silent"])
        wait_for(lambda: "silent" in firing(up), "an alert for want of data")
        assert up.request("DELETE", "/alert-rules/silent")[0] == 204
        assert firing(up) == {}
        assert up.stop() == 0


def kills(tmp_path: Path, rounds: int) -> None:
    """Values that go up and down while it is killed again and again: the alerts are those of the values."""
    chance = random.Random(seed())
    with Up(tmp_path, *QUIET) as up:
        put(up, "/alert-rules/hot", RULES["hot"])
        put(up, "/alert-rules/stuffy", STUFFY)
        start = time.time()
        sent: list[float] = []
        for number in range(rounds):
            for _ in range(chance.randint(1, 6)):
                sent.append(chance.choice([20.0, 29.0, 35.0]))
                moment = start + len(sent) / 1000
                send(up, "temperature", sent[-1], time=moment)
                send(up, "co2", sent[-1] * 40, time=moment)
            if number % 2:
                up.wait_until_all_is_stored()
            up.kill()
            up.start()
        up.wait_until_all_is_stored()
        raised = 0
        hot = False
        for value in sent:
            raised += not hot and value > 30
            hot = value > 30 or (hot and value > 28)
        found = up.sql("select count(*), count(*) filter (where state <> 'resolved') from alerts where rule = 'hot'")
        assert found == [[raised, int(hot)]]
        assert up.stop() == 0
        rows = stored(up)
        assert up.command("rebuild").returncode == 0
        assert stored(up) == rows


def test_kills_lose_and_repeat_no_alert(tmp_path: Path) -> None:
    kills(tmp_path, 3)


@pytest.mark.all
def test_many_kills_lose_and_repeat_no_alert(tmp_path: Path) -> None:
    kills(tmp_path, 25)
