"""An alert from its rule to its acknowledgement."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.crash.road import wait_for
from tests.e2e.browser import Desk, started


@pytest.fixture
def desk(chrome: Browser, tmp_path: Path) -> Iterator[Desk]:
    with started(tmp_path, "--no-simulator", "--no-host") as up:
        yield Desk(up, chrome)


def send(desk: Desk, value: float, ago: float = 0.0) -> None:
    when = time.time_ns() // 1000 - int(ago * 1_000_000)
    desk.send([{"device": "boiler", "metric": "water", "value": value, "time": when}])


def test_an_alert_from_rule_to_acknowledgement(desk: Desk) -> None:
    send(desk, 95.0, 3600)
    send(desk, 60.0, 1800)
    wait_for(lambda: bool(desk.series("water")), "the series being known")
    with desk.page("alerts?tab=rules") as page:
        page.get_by_role("button", name="New rule").click()
        form = page.get_by_role("form", name="New rule")
        form.get_by_label("name").fill("water-hot")
        form.get_by_label("threshold").fill("80")
        form.get_by_label("metric").fill("water")
        form.get_by_role("button", name="Try on the last day").click()
        expect(form.locator(".preview")).to_contain_text("it would have fired once")
        form.get_by_role("button", name="Save").click()
        expect(page.locator("table.rules")).to_contain_text("water-hot")
        page.get_by_role("tab", name="Alerts").click()
        send(desk, 99.0)
        row = page.locator("table.open tbody tr")
        expect(row).to_contain_text("firing")
        expect(page.locator(".badge")).to_have_text("1")
        page.locator("body").press("a")
        row.get_by_label("Why").fill("somebody is on the way")
        row.get_by_role("button", name="Acknowledge").click()
        expect(row).to_contain_text("acknowledged")
        expect(page.locator(".badge")).to_have_count(0)
    (alert,) = desk.up.get("/alerts?state=acknowledged")
    events = desk.up.get(f"/alerts/{alert['alert_id']}")["history"]
    assert [event["event"] for event in events] == ["fired", "acknowledged"]
    assert events[1]["why"] == "somebody is on the way"
    assert desk.faults == []
