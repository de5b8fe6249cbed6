"""How fast the dashboard is in a browser: the first chart, and frames a second while live with 100,000 points.

Run it with ``python -m bench.page``; it starts ``sonde up`` on a folder of its own, and Debian's Chromium.
"""

import json
import statistics
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page

from tests.crash.road import wait_for
from tests.e2e.browser import Desk, browser, started

POINTS = 1_000_000
LOADS = 7
_FRAMES = """async () => {
  const { default: uPlot } = await import('/static/vendor/uplot.js');
  const now = Date.now() / 1000, n = 100000, box = document.createElement('div');
  document.body.append(box);
  const x = Array.from({ length: n }, (_, i) => now - (n - i) * 0.009), y = x.map(t => Math.sin(t) * 10 + Math.random());
  const plot = new uPlot({ width: 1100, height: 360, series: [{}, { stroke: '#06c' }] }, [x, y], box);
  const spent = [];
  let frames = 0;
  const end = performance.now() + 4000;
  await new Promise(done => requestAnimationFrame(function turn() {
    const began = performance.now();
    x.push(Date.now() / 1000); y.push(Math.random());
    plot.setData([x, y], false);
    plot.setScale('x', { min: Date.now() / 1000 - 900, max: Date.now() / 1000 });
    spent.push(performance.now() - began);
    frames += 1;
    performance.now() < end ? requestAnimationFrame(turn) : done();
  }));
  spent.sort((a, b) => a - b);
  return { frames: frames / 4, median: spent[spent.length >> 1], worst: spent[Math.floor(spent.length * 0.99)] };
}"""
_SHOWN = """() => new Promise(done => {
  const shown = () => document.querySelector('.plot canvas') && document.querySelector('table.legend tbody td.value');
  const look = () => shown() ? done(performance.now()) : requestAnimationFrame(look);
  look();
})"""
_LONG = """() => {
  window.long = [];
  const seen = list => list.getEntries().forEach(entry => window.long.push(entry.duration));
  new PerformanceObserver(seen).observe({ entryTypes: ['longtask'] });
}"""


def _send(desk: Desk) -> None:
    """A series of a million readings, up to now."""
    now = time.time_ns() // 1000
    for part in range(POINTS // 100_000):
        first = now - (POINTS - part * 100_000) * 80_000
        times = [first + i * 80_000 for i in range(100_000)]
        body = {"device": "mill", "metric": "force", "time": times, "value": [float(i % 977) for i in range(100_000)]}
        status, said = desk.up.request(
            "POST", "/telemetry", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        assert status == 202, said


def _first_chart(page: Page, address: str) -> float:
    """Milliseconds from the navigation to the first chart with its numbers."""
    page.goto("about:blank")
    page.goto(address)
    return float(page.evaluate(_SHOWN))


def main() -> None:
    """Measure, and print a line for each."""
    with (
        tempfile.TemporaryDirectory() as folder,
        browser() as chrome,
        started(Path(folder), "--no-simulator", "--no-host") as up,
    ):
        desk = Desk(up, chrome)
        _send(desk)
        up.wait_until_all_is_stored()
        wait_for(lambda: bool(desk.series("force")), "the series being known")
        number = desk.series("force")[0]
        with desk.page() as page:
            short = [_first_chart(page, f"{desk.address}/#/explore?series={number}") for _ in range(LOADS)]
            whole = [_first_chart(page, f"{desk.address}/#/explore?series={number}&span=86400") for _ in range(LOADS)]
            print(f"first chart, 15 minutes: {statistics.median(short):.0f} ms (median of {LOADS})")
            print(f"first chart, {POINTS:,} points in view: {statistics.median(whole):.0f} ms")
            answer = up.request("GET", f"/samples?series={number}&since={(time.time() - 86400):.0f}&points=1100")[1]
            print(f"its answer: {len(answer) / 1000:.0f} kB")
            page.evaluate(_LONG)
            for key in ("ArrowLeft", "ArrowLeft", "-", "+", "l"):
                page.locator("body").press(key)
                page.wait_for_timeout(400)
            print(f"longest task while panning and zooming: {max(page.evaluate('window.long'), default=0):.0f} ms")
            print(f"100,000 points, moving: {page.evaluate(_FRAMES)}")


if __name__ == "__main__":
    main()
