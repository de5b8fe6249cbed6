"""Rules set and removed, alerts acknowledged and shelved, and rules tried on the past: over a real socket."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from sonde.changes import Alert, Changes, Progress
from sonde.clock import SECOND
from tests.api_world import LOG, MINUTE, NOW, House, build, client_of, filled_store

HOT = {"type": "above", "threshold": 30.0, "metric": "temperature", "severity": "critical"}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    store = filled_store(tmp_path / "store")
    yield build(lambda: store)
    store.close()


@pytest.fixture
def admin(house: House) -> Iterator[httpx.Client]:
    with client_of(house) as client:
        yield client


def acts(house: House) -> list[tuple[str, str, str]]:
    return [(act.who, act.what, act.on) for _, act in house.audit.read(None, 100)]


def test_a_rule_is_set_read_changed_and_removed(house: House, admin: httpx.Client) -> None:
    made = admin.put("/alert-rules/hot", json=HOT)
    assert made.status_code == 200, made.text
    item = made.json()
    assert (item["id"], item["source"], item["who"]) == ("hot", "api", "admin")
    assert item["rule"]["threshold"] == 30.0
    assert admin.get("/alert-rules/hot").json() == item
    assert admin.put("/alert-rules/hot", json={**item["rule"], "threshold": 31.0}).json()["rule"]["threshold"] == 31.0
    assert [one["id"] for one in admin.get("/alert-rules").json()] == ["hot"]
    assert admin.delete("/alert-rules/hot").status_code == 204
    assert admin.get("/alert-rules/hot").status_code == 404
    assert admin.delete("/alert-rules/hot").status_code == 404
    assert acts(house) == [
        ("admin", "rule.remove", "hot"),
        ("admin", "rule.set", "hot"),
        ("admin", "rule.set", "hot"),
    ]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "rule"),
        ({"type": "above"}, "rule.threshold"),
        ({"type": "sideways", "threshold": 1}, "rule.type"),
        ({**HOT, "id": "cold"}, "rule.id"),
        ({"type": "rate", "threshold": 5}, "rule.per"),
        ({"type": "rate", "threshold": 0, "per": 60}, "rule.threshold"),
        ({"type": "equals"}, "rule.text"),
        ({"type": "equals", "text": "x", "threshold": 1}, "rule.threshold"),
        ({"type": "no_data"}, "rule.duration"),
        ({**HOT, "window": 300}, "rule.of"),
        ({**HOT, "of": "avg"}, "rule.of"),
        ({**HOT, "across": "zone"}, "rule.across"),
        ({**HOT, "window": 7, "of": "avg"}, "rule.window"),
        ({"type": "equals", "text": "x", "window": 300, "of": "last"}, "rule.window"),
        ({**HOT, "message": "{nonsense}"}, "rule.message"),
        ({**HOT, "colour": "red"}, "rule"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_and_the_field_named(
    admin: httpx.Client, body: dict[str, Any], field: str
) -> None:
    refused = admin.put("/alert-rules/hot", json=body)
    assert (refused.status_code, refused.json()["field"]) == (422, field)
    assert admin.get("/alert-rules").json() == []


def test_an_alert_is_acknowledged_and_shelved_with_who_and_why(house: House, admin: httpx.Client) -> None:
    done = admin.post("/alerts/alert-2/acknowledge", json={"why": "on my way"})
    assert done.status_code == 200, done.text
    assert done.json()["state"] == "acknowledged"
    shelved = admin.post("/alerts/alert-2/shelve", json={"until": "2026-01-02T00:00:00Z"}).json()
    assert (shelved["state"], shelved["shelved_until"]) == ("shelved", "2026-01-02T00:00:00.000000Z")
    assert [(e["event"], e["who"], e["why"]) for e in shelved["history"]] == [
        ("acknowledged", "admin", "on my way"),
        ("shelved", "admin", ""),
    ]
    assert admin.get("/alerts/alert-2").json() == shelved
    assert acts(house) == [("admin", "alert.shelve", "alert-2"), ("admin", "alert.acknowledge", "alert-2")]


def test_what_is_over_or_has_not_begun_is_a_conflict(admin: httpx.Client) -> None:
    for id_, status in (("alert-1", 409), ("alert-3", 409), ("nothing", 404)):
        assert admin.post(f"/alerts/{id_}/acknowledge", json={}).status_code == status
        assert admin.post(f"/alerts/{id_}/shelve", json={"until": "2026-01-02T00:00:00Z"}).status_code == status
    assert admin.get("/alerts/nothing").status_code == 404


@pytest.mark.parametrize("until", ["2025-12-31T00:00:00Z", "2028-01-01T00:00:00Z", "tomorrow", ""])
def test_a_shelf_ends_at_a_moment_to_come(admin: httpx.Client, until: str) -> None:
    refused = admin.post("/alerts/alert-2/shelve", json={"until": until})
    assert (refused.status_code, refused.json()["field"]) == (422, "until")


@pytest.mark.parametrize(("scope", "reads", "acts_", "edits"), [("read", 200, 403, 403), ("command", 403, 200, 403)])
def test_each_needs_its_scope(house: House, scope: str, reads: int, acts_: int, edits: int) -> None:
    with client_of(house, scope) as client:
        assert client.get("/alert-rules").status_code == reads
        assert client.post("/alerts/alert-2/acknowledge", json={}).status_code == acts_
        assert client.put("/alert-rules/hot", json=HOT).status_code == edits
        assert client.delete("/alert-rules/hot").status_code == edits


SPAN = {"since": "2025-12-31T00:00:00Z", "until": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("rule", "count", "seconds"),
    [
        ({"type": "above", "threshold": 0, "metric": "occupancy"}, 3, 3 * 3600.0),
        ({"type": "above", "threshold": 0, "metric": "occupancy", "duration": 600}, 3, 3 * 3000.0),
        ({"type": "above", "threshold": 550, "metric": "co2", "window": 300, "of": "avg", "across": "site"}, 1, 6900.0),
        ({"type": "rate", "threshold": 0.5, "per": 60, "metric": "occupancy", "zone": "Zone-02"}, 1, 60.0),
        ({"type": "equals", "text": 'a "quoted" ü\n'}, 1, 1200.0),
        ({"type": "no_data", "duration": 300, "metric": "cpu"}, 2, 2 * 900.0),
        ({"type": "no_data", "duration": 300, "metric": "co2"}, 0, 0.0),
    ],
)
def test_a_preview_tells_what_a_rule_would_have_done(
    admin: httpx.Client, rule: dict[str, Any], count: int, seconds: float
) -> None:
    answer = admin.post("/alert-rules/preview", json={"rule": rule, **SPAN})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["count"], found["firing_seconds"]) == (count, seconds)
    assert len(found["alerts"]) == count
    assert admin.get("/alert-rules").json() == []


def test_a_preview_is_bounded(admin: httpx.Client) -> None:
    rule = {"type": "above", "threshold": 0}
    for since, until in (("2026-01-01T00:00:00Z", "2025-01-01T00:00:00Z"), ("2020-01-01T00:00:00Z", SPAN["until"])):
        refused = admin.post("/alert-rules/preview", json={"rule": rule, "since": since, "until": until})
        assert refused.json()["field"] == "until"


def test_an_alert_of_a_zone_has_no_device(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "store")
    plain = Alert("z", "stuffy", -1, "above", "info", "firing", 900.0, NOW - MINUTE, 950.0, 950.0, NOW)
    alert = msgspec.structs.replace(plain, metric="co2", site="s", zone="z")
    store.commit(Changes(expected=7, progress=Progress(LOG, 0, 8, NOW + SECOND), alerts=[alert]))
    with client_of(build(lambda: store)) as client:
        shown = client.get("/alerts/z").json()
        assert [shown[n] for n in ("device", "metric", "site", "zone")] == ["", "co2", "s", "z"]
        assert "z" in [one["alert_id"] for one in client.get("/alerts?state=open").json()]
    store.close()
