"""The dashboard in a browser, on a real ``sonde up`` with the simulated building."""

import csv
import re
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.crash.road import wait_for
from tests.e2e.browser import PHONE, WIDE, Desk, started

VIEWS = {
    "overview": "table.zones",
    "explore": ".results button",
    "alerts": "main h1",
    "heatmap": "main h1",
    "devices": ".results a",
    "ledger": "table.sums",
}
ALL = [(view, size, dark) for view in VIEWS for size in (WIDE, PHONE) for dark in (False, True)]
QUICK = [(view, (WIDE, PHONE)[number % 2], number % 4 < 2) for number, view in enumerate(VIEWS)]
COMBINATIONS = [one if one in QUICK else pytest.param(*one, marks=pytest.mark.all) for one in ALL]


@pytest.fixture(scope="module")
def desk(chrome: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with started(tmp_path_factory.mktemp("up"), "--set", "sensor.building.rate=40") as up:
        yield Desk(up, chrome)


@pytest.fixture(autouse=True)
def _quiet(desk: Desk) -> Iterator[None]:
    """No console says anything wrong in any of these tests."""
    yield
    faults, desk.faults = desk.faults, []
    assert faults == []


def picked(desk: Desk, page: Page, search: str = "site-01 zone-01 co2") -> None:
    """Open Explore on one series."""
    page.goto(f"{desk.address}/#/explore?series={desk.series(search)[0]}")
    expect(page.locator("table.legend tbody tr")).to_have_count(1)


def test_signing_in_and_out(desk: Desk) -> None:
    context = desk.browser.new_context()
    page = context.new_page()
    desk.watch(page)
    page.goto(f"{desk.address}/")
    expect(page.locator("main")).to_contain_text("Sign in to see the dashboard")
    page.goto(desk.link())
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator(".state")).to_contain_text("connected")
    expect(page.locator("table.zones").first).to_contain_text("Zone-01")
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("main")).to_contain_text("Sign in to see the dashboard")
    context.close()


def test_who_signs_out_asks_nothing_any_more(desk: Desk) -> None:
    context = desk.browser.new_context()
    page = context.new_page()
    desk.watch(page)
    page.goto(desk.link())
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator(".state")).to_contain_text("connected")
    page.route(
        "**/sign-out", lambda route: route.fulfill(status=204)
    )  # an answer with which a browser stays on its page
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator(".banner")).to_contain_text("no longer signed in")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    refused = page.evaluate("import('/static/ask.js').then(m => m.ask('/session')).catch(trouble => trouble.status)")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    assert (refused, asked) == (401, [])
    context.close()


@pytest.mark.parametrize(("view", "size", "dark"), COMBINATIONS)
def test_every_view_is_accessible_and_fits(desk: Desk, view: str, size: tuple[int, int], dark: bool) -> None:
    if view == "explore":
        view = f"explore?series={desk.series('site-01 zone-01 co2')[0]}"
    with desk.page(view, size=size, dark=dark) as page:
        name = view.partition("?")[0]
        expect(page.locator(VIEWS[name] if "?" not in view else "table.legend tbody tr").first).to_be_visible()
        found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]})
        serious = [f for f in found.response["violations"] if f["impact"] in {"serious", "critical"}]
        assert not serious, [(f["id"], [n["html"][:200] for n in f["nodes"][:3]]) for f in serious]
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= size[0], f"{view} is {width} px wide"


def test_a_live_chart_moves(desk: Desk) -> None:
    with desk.page() as page:
        picked(desk, page)
        count = page.locator("table.legend tbody td").nth(7)
        expect(count).to_have_text(re.compile(r"\d"))
        before = int(re.sub(r"\D", "", count.inner_text()))
        wait_for(lambda: int(re.sub(r"\D", "", count.inner_text())) > before, "the chart taking readings in", 60)
        expect(page.locator(".plot canvas")).to_be_visible()


def test_what_is_looked_at_stands_in_the_url(desk: Desk) -> None:
    with desk.page() as page:
        picked(desk, page)
        page.get_by_role("button", name="1 h", exact=True).click()
        expect(page).to_have_url(re.compile(r"span=3600"))
        page.locator("body").press("ArrowLeft")
        expect(page.locator(".paused")).to_be_visible()
        expect(page).to_have_url(re.compile(r"since=\d+&until=\d+"))
        page.locator("body").press("t")
        expect(page).to_have_url(re.compile(r"as=table"))
        shared = page.url
        with desk.page(shared.partition("#/")[2]) as other:
            expect(other.locator(".paused")).to_be_visible()
            expect(other.get_by_role("button", name="table", exact=True)).to_have_attribute("aria-pressed", "true")
        page.locator("body").press("l")
        expect(page.locator(".paused")).to_have_count(0)


def test_keys_reach_everything(desk: Desk) -> None:
    with desk.page() as page:
        expect(page.locator("table.zones").first).to_be_visible()
        for number, view in enumerate(VIEWS, 1):
            page.locator("body").press(str(number))
            expect(page).to_have_url(re.compile(rf"#/{view}"))
        page.locator("body").press("2")
        page.locator("body").press("/")
        expect(page.locator("#search")).to_be_focused()
        page.keyboard.type("zone-02 humidity")
        expect(page.locator(".count")).to_contain_text(re.compile(r"^9 series"))
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        expect(page.locator("table.legend tbody tr")).to_have_count(1)
        page.keyboard.press("Escape")
        page.locator("body").press("?")
        expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog", name="Keys")).to_have_count(0)


def test_a_view_can_be_taken_along(desk: Desk) -> None:
    with desk.page() as page:
        picked(desk, page)
        page.locator("body").press("ArrowLeft")
        expect(page.locator(".paused")).to_be_visible()
        page.get_by_role("button", name="Export").click()
        with page.expect_download() as download:
            page.get_by_role("button", name="Every reading, CSV").click()
        lines = list(csv.DictReader(download.value.path().read_text().splitlines()))
        since, until = re.findall(r"(?:since|until)=(\d+)", page.url)
        number = re.findall(r"series=(\d+)", page.url)[0]
        stored = desk.up.get(f"/samples?series={number}&since={since}&until={until}&points=4000")[0]
        assert [float(line["value"]) for line in lines] == stored["value"]
        with page.expect_download() as drawn:
            page.get_by_role("button", name="As drawn, Parquet").click()
        assert drawn.value.path().read_bytes()[:4] == b"PAR1"


def test_the_dashboard_is_small_and_whole(desk: Desk) -> None:
    with desk.page() as page:
        expect(page.locator(".state")).to_contain_text("connected")
        loaded = page.evaluate("performance.getEntriesByType('resource').map(entry => entry.name)")
    assert all(url.startswith(desk.address) for url in loaded)
    own = {url.removeprefix(desk.address) for url in loaded if "/static/" in url}
    assert len(own) > 20
    assert sum(len(desk.up.request("GET", path)[1]) for path in own) < 250_000, own
