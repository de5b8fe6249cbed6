"""A command from the click to the device's answer."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.crash.road import wait_for
from tests.e2e.browser import Desk, started


@pytest.fixture
def desk(chrome: Browser, tmp_path: Path) -> Iterator[Desk]:
    with started(tmp_path, "--no-host") as up:
        yield Desk(up, chrome)


def test_a_command_from_click_to_success(desk: Desk) -> None:
    wait_for(lambda: "demo-device" in {d["device_id"] for d in desk.up.get("/devices")}, "the demo device", 60)
    with desk.page("devices/demo-device") as page:
        form = page.locator("form.command")
        form.get_by_label("command").select_option("calibrate_sensors")
        form.get_by_label("duration").fill("99")
        form.get_by_role("button", name="Send").click()
        assert form.get_by_label("duration").evaluate("input => input.validity.rangeOverflow"), (
            "the template's bounds hold"
        )
        form.get_by_label("duration").fill("1")
        form.get_by_role("button", name="Send").click()
        progress = page.locator(".progress")
        expect(progress.locator("h3")).to_contain_text("succeeded")
        steps = progress.locator("li")
        expect(steps.first).to_contain_text("accepted")
        expect(steps.last).to_contain_text("succeeded")
        row = page.locator("table.history tbody tr").first
        expect(row).to_contain_text("calibrate_sensors")
        expect(row).to_contain_text("succeeded")
    assert desk.faults == []
