"""From a reading to somebody's web hook, at a real ``sonde up``: once, again after a crash, and not after a rebuild."""

import json
from pathlib import Path
from typing import Any

from tests.crash.road import JSON, Up, wait_for
from tests.hook import Hook, hook

RULE = ("--set=rule.co2-high.enabled=no", "--set=rule.stuffy.metric=co2", "--set=rule.stuffy.threshold=1000")
OPTIONS = ("--no-host", "--no-simulator", *RULE)


def options(receiver: Hook) -> tuple[str, ...]:
    settings = {"url": receiver.url, "allow_private": "yes", "gather": "0", "secret": "between us"}
    return (*OPTIONS, *(f"--set=webhook.ops.{name}={value}" for name, value in settings.items()))


def send(up: Up, value: float) -> None:
    """A reading of this moment: an alert from an older one would be history."""
    reading = {"device": "room", "metric": "co2", "value": value}
    assert up.request("POST", "/telemetry", json.dumps([reading]).encode(), JSON)[0] == 202


def told(receiver: Hook) -> list[tuple[str, bool]]:
    bodies: list[dict[str, Any]] = [json.loads(body) for _, _, body in receiver.got]
    return [(alert["event"], body["repeat"]) for body in bodies for alert in body["alerts"]]


def raise_alert(up: Up) -> None:
    send(up, 500.0)
    send(up, 1500.0)


def test_an_alert_reaches_a_hook_and_its_fate_is_written_down(tmp_path: Path) -> None:
    with hook("200 OK") as receiver, Up(tmp_path, *options(receiver)) as up:
        raise_alert(up)
        wait_for(lambda: len(told(receiver)) >= 1, "the alert being told", 60)
        send(up, 500.0)
        wait_for(lambda: any(event == "resolved" for event, _ in told(receiver)), "its end being told", 60)
        assert set(told(receiver)) == {("fired", False), ("resolved", False)}
        wait_for(lambda: {n["fate"] for n in up.get("/notifications")} == {"sent"}, "the fates", 60)
        assert up.stop() == 0
        count = len(receiver.got)
        assert up.command("rebuild").returncode == 0
        up.start()
        up.wait_until_all_is_stored()
        send(up, 1600.0)
        wait_for(lambda: len(receiver.got) > count, "the next alert being told", 60)
        assert [event for event, _ in told(receiver)].count("resolved") == told(receiver).count(("resolved", False))
        assert json.loads(receiver.got[count][2])["alerts"][0]["value"] == 1600.0
        assert up.stop() == 0


def test_a_kill_before_the_answer_tells_again_and_says_so(tmp_path: Path) -> None:
    with hook("200 OK") as receiver, Up(tmp_path, *options(receiver)) as up:
        receiver.hold()
        raise_alert(up)
        wait_for(lambda: len(receiver.got) == 1, "the message being on its way", 60)
        up.kill()
        receiver.release()
        up.start()
        wait_for(lambda: len(receiver.got) > 1, "the message coming again", 60)
        first, second = (json.loads(body) for _, _, body in receiver.got[:2])
        assert (first["id"], first["repeat"], second["repeat"]) == (second["id"], False, True)
        wait_for(lambda: up.get("/notifications")[0]["fate"] == "sent", "its fate", 60)
        assert up.stop() == 0


def test_a_trial_says_what_is_wrong(tmp_path: Path) -> None:
    with hook("404 Not Found") as receiver, Up(tmp_path, *OPTIONS) as up:
        target = ("--set", f"webhook.ops.url={receiver.url}")
        assert "nobody called 'webhook.night'" in up.command("notify", "test", "webhook.night", *target).stderr
        assert "allow_private" in up.command("notify", "test", "webhook.ops", *target).stderr
        allowed = (*target, "--set", "webhook.ops.allow_private=yes")
        refused = up.command("notify", "test", "webhook.ops", *allowed)
        assert (refused.returncode, "404" in refused.stderr) == (1, True)
        receiver.answer = receiver.answer.replace(b"404 Not Found", b"200 OK")
        assert up.command("notify", "test", "webhook.ops", *allowed).returncode == 0
        assert up.command("notify", "list").returncode == 0
