"""A browser on a real ``sonde up``: Debian's Chromium, driven by Playwright."""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from playwright.sync_api import Browser, Page, StorageState, expect, sync_playwright

from tests.crash.road import JSON, Up

PATIENCE = 60_000
"""Milliseconds that a page may take: the machine may be busy with other tests."""
WIDE, PHONE = (1440, 900), (390, 844)
_LEFT_ALONE = re.compile(
    r"WebSocket connection|ERR_CONNECTION_REFUSED|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET|ERR_SOCKET"
)
expect.set_options(timeout=PATIENCE)


def chromium() -> str:
    """Where Chromium is."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    assert found, "Chromium is missing: apt-get install chromium, or set CHROMIUM to where it is"
    return found


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """A browser without a profile."""
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        try:
            yield opened
        finally:
            opened.close()


@dataclass
class Desk:
    """Pages on one server, signed in once. ``faults`` are what their consoles said that they should not have."""

    up: Up
    browser: Browser
    faults: list[str] = field(default_factory=list)
    _signed_in: StorageState | None = None

    def link(self) -> str:
        """A new sign-in link."""
        done = self.up.command("token", "link")
        assert done.returncode == 0, done.stderr
        return done.stdout.strip().split()[-1].replace("localhost", "127.0.0.1")

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.up.port}"

    @contextlib.contextmanager
    def page(
        self, view: str = "overview", *, size: tuple[int, int] = WIDE, dark: bool = False, away: bool = False
    ) -> Iterator[Page]:
        """A page on a view, signed in. With ``away`` its console may complain that the server is not there."""
        if self._signed_in is None:
            self._signed_in = self._sign_in()
        context = self.browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if dark else "light",
            storage_state=self._signed_in,
            has_touch=size is PHONE,
            timezone_id="UTC",
            locale="en-GB",
        )
        page = context.new_page()
        self.watch(page, away=away)
        try:
            page.goto(f"{self.address}/#/{view}", timeout=PATIENCE)
            yield page
        finally:
            context.close()

    def watch(self, page: Page, *, away: bool = False) -> None:
        """Note what the console says."""
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on(
            "console",
            lambda said: (
                self.faults.append(said.text)
                if said.type in {"error", "warning"}
                and not (away and _LEFT_ALONE.search(said.text + said.location["url"]))
                else None
            ),
        )

    def _sign_in(self) -> StorageState:
        context = self.browser.new_context()
        page = context.new_page()
        self.watch(page)
        page.goto(self.link(), timeout=PATIENCE)
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator("#app header")).to_be_visible()
        state = context.storage_state()
        context.close()
        return state

    def send(self, readings: list[dict[str, Any]]) -> None:
        """Send readings; they are durable when this returns."""
        status, body = self.up.request("POST", "/telemetry", json.dumps(readings).encode(), JSON)
        assert status == 202, body

    def series(self, search: str) -> list[int]:
        """The numbers of the series that a search finds."""
        return [item["series"] for item in self.up.get(f"/series?search={quote(search)}")]


def rows(page: Page) -> list[tuple[str, str]]:
    """Time and value of all rows of the table view with one series, oldest first."""
    more = page.locator("main button.more", has_text="Show more;")
    while more.count():
        more.click()
    cells = page.locator("table.readings tbody tr").evaluate_all(
        "all => all.map(row => [row.cells[0].innerText, row.cells[1].innerText])"
    )
    return [(str(time), str(value)) for time, value in reversed(cells)]


def started(path: Path, *options: str) -> Up:
    """``sonde up`` on a folder of its own; use it in a ``with``."""
    path.mkdir(parents=True, exist_ok=True)
    return Up(path, *options)
