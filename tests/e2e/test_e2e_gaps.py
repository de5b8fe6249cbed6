"""Gaps and series of words in Explore, in a browser, on a real ``sonde up`` and with a node that leaves things out."""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from sonde.entry import EntryKind, Lane
from sonde.ports import Outgoing, StreamId
from sonde.reading import Batch, encode
from sonde.transport.uplink_wire import CONTENT_ENCODING, CONTENT_TYPE, LENGTH, pack
from tests.crash.road import Up, create_token, wait_for
from tests.e2e.browser import PHONE, WIDE, Desk, started

ROWS: Final = 10
SECOND: Final = 1_000_000
AMBER: Final = """() => {
  const warn = getComputedStyle(document.documentElement).getPropertyValue("--warn").trim();
  const wanted = [1, 3, 5].map((i) => parseInt(warn.slice(i, i + 2), 16));
  return [...document.querySelectorAll(".plot canvas")].reduce((sum, canvas) => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let found = 0;
    for (let i = 0; i < data.length; i += 4) {
      found += data[i + 3] > 64 && wanted.every((c, k) => Math.abs(c - data[i + k]) < 12);
    }
    return sum + found;
  }, 0);
}"""
"""How many pixels of the charts have the colour of warnings."""
WORDS: Final = ["running"] * 40 + ["starting"] * 3 + ["running"] * 30 + ["blocked"] * 17


@dataclass
class Node:
    """A node with two pumps that keeps back what it is told to. Entry ``seq`` has ten readings of a pump, one a second."""

    up: Up
    token: str
    begin: int = field(default_factory=lambda: (int(time.time()) - 600) * SECOND)

    def declare(self, *devices: str) -> None:
        said = [json.dumps({"device": device, "metrics": {"flow": {"unit": "l/min"}}}).encode() for device in devices]
        self.send(Lane.CONTROL, [_outgoing(EntryKind.PROFILE, seq, seq, 0, 0, one) for seq, one in enumerate(said, 1)])

    def measure(self, device: str, epoch: str, first: int, last: int) -> None:
        entries = []
        for seq in range(first, last + 1):
            times = [self.begin + (seq * ROWS + i) * SECOND for i in range(ROWS)]
            values = [20 + (seq * ROWS + i) % 60 / 10 for i in range(ROWS)]
            content = encode(Batch.build(device=device, metric="flow", time=times, value=values))
            entries.append(_outgoing(EntryKind.READINGS, seq, seq, ROWS, seq * ROWS, content))
        self.send(Lane.LIVE, entries, epoch)

    def lose(self, entries: int) -> None:
        lost = {"until": entries, "readings": entries * ROWS, "reason": "dropped: the outbox was full"}
        content = json.dumps(lost).encode()
        self.send(Lane.BACKLOG, [_outgoing(EntryKind.TOMBSTONE, 1, entries, entries * ROWS, entries * ROWS, content)])

    def send(self, lane: int, entries: Sequence[Outgoing], epoch: str = "0123456789abcdef") -> None:
        body, length = pack(StreamId(epoch, lane), entries[0].seq - 1, entries)
        headers = {
            "Authorization": f"Bearer {self.token}",
            "Content-Type": CONTENT_TYPE,
            "Content-Encoding": CONTENT_ENCODING,
            LENGTH: str(length),
        }
        status, answer = self.up.request("POST", "/uplink", body, headers)
        assert status == 200, answer


def _outgoing(kind: EntryKind, seq: int, until: int, readings: int, count: int, content: bytes) -> Outgoing:
    return Outgoing(kind, seq, until, readings, count, hashlib.sha256(content).digest()[:16], content)


@pytest.fixture(scope="module")
def desk(chrome: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with started(tmp_path_factory.mktemp("gaps"), "--no-host", "--no-simulator") as up:
        yield Desk(up, chrome)


@pytest.fixture(scope="module")
def node(desk: Desk) -> Node:
    made = Node(desk.up, create_token(desk.up.data, "cellar", "--scope", "ingest", "--node", "cellar"))
    made.declare("pump-1", "pump-2")
    made.measure("pump-1", "0123456789abcdef", 1, 4)
    made.measure("pump-1", "0123456789abcdef", 7, 55)  # 5 and 6 are kept back
    made.measure("pump-2", "fedcba9876543210", 1, 55)
    said = [
        {"device": "pump-1", "metric": "state", "value": word, "time": made.begin + i * 6 * SECOND}
        for i, word in enumerate(WORDS)
    ]
    desk.send(said)
    desk.up.wait_until_all_is_stored()
    return made


@pytest.fixture(autouse=True)
def _quiet(desk: Desk) -> Iterator[None]:
    """No console says anything wrong in any of these tests."""
    yield
    faults, desk.faults = desk.faults, []
    assert faults == []


def explored(desk: Desk, node: Node, *searches: str, more: str = "") -> str:
    """The place of a view of series over the ten minutes that the node measured."""
    numbers = ",".join(str(desk.series(search)[0]) for search in searches)
    since = node.begin // 1000
    return f"explore?series={numbers}&since={since}&until={since + 560_000}{more}"


def check_accessible(page: Page) -> None:
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]})
    serious = [f for f in found.response["violations"] if f["impact"] in {"serious", "critical"}]
    assert not serious, [(f["id"], [n["html"][:200] for n in f["nodes"][:3]]) for f in serious]


@pytest.mark.parametrize(
    ("size", "dark"), [(WIDE, False), pytest.param(PHONE, True, marks=pytest.mark.all)], ids=["wide", "phone"]
)
def test_a_series_of_words_is_drawn(desk: Desk, node: Node, size: tuple[int, int], dark: bool) -> None:
    with desk.page(explored(desk, node, "pump-1 state"), size=size, dark=dark) as page:
        expect(page.locator(".wordkey li")).to_have_text(["blocked", "running", "starting"])
        expect(page.locator(".panel .how")).to_have_text("every reading, 90")
        plot = page.locator(".plot .u-over")
        box = plot.bounding_box()
        assert box is not None
        value = page.locator("table.legend td.value")
        for share, word in ((0.2, "running"), (41.5 * 6 / 560, "starting"), (0.9, "blocked")):
            plot.hover(position={"x": box["width"] * share, "y": 8})
            expect(value).to_have_text(word)
        check_accessible(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]


def test_words_that_are_too_many_say_several_where_they_change(desk: Desk, node: Node) -> None:
    said = ["auto"] * 1000 + ["auto", "hand"] * 100 + ["hand"] * 800
    desk.send(
        [
            {"device": "pump-1", "metric": "mode", "value": word, "time": node.begin + i * SECOND // 4}
            for i, word in enumerate(said)
        ]
    )
    desk.up.wait_until_all_is_stored()
    with desk.page(explored(desk, node, "pump-1 mode")) as page:
        expect(page.locator(".wordkey li")).to_have_text(["auto", "hand"])
        expect(page.locator(".panel .how")).to_contain_text("hatched where it says several things")
        plot = page.locator(".plot .u-over")
        box = plot.bounding_box()
        assert box is not None
        for seconds, word in ((100, "auto"), (275, "several"), (400, "hand")):
            plot.hover(position={"x": box["width"] * seconds / 560, "y": 8})
            expect(page.locator("table.legend td.value")).to_have_text(word)


def test_a_declared_loss_is_told(desk: Desk, node: Node) -> None:
    node.lose(3)
    desk.up.wait_until_all_is_stored()
    number = desk.series("pump-2 flow")[0]
    with desk.page(f"explore?series={number}&span=3600") as page:
        told = page.locator(".gaplist li", has_text="lost by node cellar")
        expect(told).to_contain_text("30 readings lost by node cellar: dropped: the outbox was full, between")
        expect(told).to_contain_text("backlog lane")
        wait_for(lambda: int(page.evaluate(AMBER)) > 0, "a band being drawn", 60)
        check_accessible(page)


def test_a_gap_is_seen_until_it_is_filled(desk: Desk, node: Node) -> None:
    with desk.page(explored(desk, node, "pump-1 flow")) as page:
        told = page.locator(".gaplist li", has_text="missing")
        expect(told).to_contain_text("20 readings of node cellar are missing, between")
        wait_for(lambda: int(page.evaluate(AMBER)) > 0, "a band being drawn", 60)
        check_accessible(page)
        page.locator("body").press("t")
        expect(page.locator("table.readings")).to_be_visible()
        expect(told).to_contain_text("20 readings of node cellar are missing")
        check_accessible(page)
        page.locator("body").press("t")
        expect(page.locator(".plot canvas")).to_be_visible()
        node.measure("pump-1", "0123456789abcdef", 5, 6)
        expect(told).to_have_count(0)
        expect(page.locator(".panel .how")).to_have_text("every reading, 550")
        wait_for(lambda: int(page.evaluate(AMBER)) == 0, "the band going away", 60)
