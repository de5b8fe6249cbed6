"""An open page while its server is killed, is started again, and takes in what comes late."""

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.crash.road import wait_for
from tests.e2e.browser import Desk, rows, started

MINUTE = 60_000_000


@pytest.fixture
def desk(chrome: Browser, tmp_path: Path) -> Iterator[Desk]:
    """A server with nothing but what the test sends."""
    with started(tmp_path, "--no-simulator", "--no-host") as up:
        yield Desk(up, chrome)


def reading(value: float, time: int, device: str = "press") -> dict[str, Any]:
    return {"device": device, "metric": "force", "value": value, "time": time, "site": "Hall", "zone": "North"}


def now() -> int:
    return time.time_ns() // 1_000_000 * 1000


class Sender:
    """Sends a reading every tenth of a second, and again until it is durable: the server may be away for a while."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.sent = 0

    def __enter__(self) -> "Sender":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def go_on(self) -> None:
        """Until ten more were sent."""
        seen = self.sent
        wait_for(lambda: self.sent > seen + 10, "readings going in again", 60)

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            one = [reading(float(self.sent), now())]
            while not self._try(one) and not self._stop.wait(0.1):
                pass
            self.sent += 1

    def _try(self, readings: list[dict[str, Any]]) -> bool:
        try:
            self._desk.send(readings)
        except (OSError, AssertionError):
            return False
        return True


def values(page: Page) -> list[float]:
    return [float(value) for _, value in rows(page)]


def stored(desk: Desk) -> list[float]:
    return [row[0] for row in desk.up.sql("select value from readings where device = 'press' order by time")]


@pytest.mark.all
def test_a_page_outlives_its_server_without_a_hole(desk: Desk) -> None:
    desk.send([reading(5000.0, now() - MINUTE)])
    wait_for(lambda: bool(desk.series("force")), "the series being known")
    with desk.page(f"explore?series={desk.series('force')[0]}&as=table", away=True) as page, Sender(desk) as sender:
        page.evaluate("window.same = true")
        expect(page.locator("table.readings tbody tr").nth(20)).to_be_visible()
        for _ in range(2):
            desk.up.kill()
            expect(page.locator(".banner")).to_contain_text("Connection lost")
            assert page.locator("table.readings tbody tr").count() > 20, "what was known stays"
            desk.up.start()
            expect(page.locator(".banner")).to_have_count(0)
            expect(page.locator(".state")).to_contain_text("connected")
            sender.go_on()
        sender.__exit__()
        desk.up.wait_until_all_is_stored()
        wanted = stored(desk)
        expect(page.locator("table.readings tbody th").first).to_be_visible()
        wait_for(lambda: len(values(page)) >= len(wanted), "the page showing what is stored", 60)
        assert values(page) == wanted
        assert len(wanted) >= sender.sent
        assert page.evaluate("window.same") is True, "nothing was loaded again"
    assert desk.faults == []


def test_late_data_mends_an_open_chart(desk: Desk) -> None:
    end = now() - 10 * MINUTE
    desk.send([reading(float(i), end - (40 - i) * 1_000_000) for i in range(40) if not 15 <= i < 25])
    wait_for(lambda: bool(desk.series("force")), "the series being known")
    span = f"since={(end - MINUTE) // 1000}&until={(end + MINUTE) // 1000}"
    with desk.page(f"explore?series={desk.series('force')[0]}&{span}") as page:
        readings = page.locator("table.legend tbody td").nth(7)
        expect(readings).to_have_text("30")
        page.evaluate("window.same = true")
        desk.send([reading(float(i), end - (40 - i) * 1_000_000) for i in range(15, 25)])
        expect(readings).to_have_text("40")
        expect(page.locator(".mended")).to_be_visible()
        page.locator("body").press("t")
        expect(page.locator("table.readings tbody tr")).to_have_count(40)
        assert values(page) == [float(i) for i in range(40)]
        assert page.evaluate("window.same") is True
    assert desk.faults == []


@pytest.mark.all
def test_late_data_mends_buckets_too(desk: Desk) -> None:
    end = now() // (3600 * 1_000_000) * 3600 * 1_000_000 - 60 * MINUTE
    desk.send([reading(10.0 + i % 7, end - i * 1_000_000, "mill") for i in range(8000)])
    wait_for(lambda: bool(desk.series("mill")), "the series being known")
    number = desk.series("mill")[0]
    span = f"since={(end - 150 * MINUTE) // 1000}&until={end // 1000}"
    with desk.page(f"explore?series={number}&{span}&as=table") as page:
        expect(page.locator("table.readings caption")).to_contain_text("mean (least – greatest)")
        rows(page)  # all of them, not only the newest
        desk.send([reading(99.0, end - 60 * MINUTE + 500_000, "mill")])
        top = page.locator("table.readings tbody td", has_text="99.0)")
        expect(top).to_have_count(1)
        expect(page.locator(".mended")).to_be_visible()
        live = rows(page)
        page.reload()
        expect(page.locator("table.readings tbody tr").nth(150)).to_be_visible()
        rows(page)
        expect(top).to_have_count(1)
        assert rows(page) == live, "what the page folded is what the store folds"
    assert desk.faults == []


def test_a_link_that_no_longer_fits_says_so(desk: Desk) -> None:
    desk.send([reading(1.0, now())])
    wait_for(lambda: bool(desk.series("force")), "the series being known")
    with desk.page("explore?series=0&log=another") as page:
        expect(page.locator(".problem")).to_contain_text("another log")
    with desk.page("explore?find=Hall/North/force") as page:
        expect(page).to_have_url(re.compile(r"series=\d+"))
        expect(page.locator("table.legend tbody tr")).to_have_count(1)
    assert desk.faults == []
