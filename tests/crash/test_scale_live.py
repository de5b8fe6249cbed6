"""Live charts at scale while the database says nothing: those that are there go on, new ones begin, memory stays bounded."""

import json
from functools import partial
from pathlib import Path

import pytest

from tests.crash.bounds import MEGABYTE, Bounds
from tests.crash.chart import Chart
from tests.crash.fleet import BOUNDS, Fleet, check_fleet, fleet_of, senders, wait_for_more
from tests.crash.process import Process
from tests.crash.road import JSON, wait_for
from tests.servers.kafka import Kafka
from tests.servers.postgres import postgres_server

pytestmark = pytest.mark.all

EVENTS, ROWS = 240_000, 4_000


CHARTS = {**BOUNDS, "api": Bounds(500 * MEGABYTE, files=64 << 10, said=64 << 10)}
"""With charts: besides what a small load needs, 64 MB that are read ahead, 48 MB of frames at hand, and 68 MB of identities."""


def send_events(fleet: Fleet, first: int) -> None:
    """Readings with an ``event_id`` each: what has to be remembered as long as nobody else does."""
    for start in range(first, first + EVENTS, ROWS):
        numbers = range(start, start + ROWS)
        columns = {
            "device": [f"bulk-{number % 50}" for number in numbers],
            "metric": "m",
            "value": [float(number) for number in numbers],
            "event_id": [f"e-{number}" for number in numbers],
            "time": [1_790_000_000_000_000 + number for number in numbers],
        }
        wait_for(partial(is_taken, fleet, json.dumps(columns).encode()), "many readings being taken in", 60)


def is_taken(fleet: Fleet, body: bytes) -> bool:
    return fleet.ask("POST", "/telemetry", body, JSON)[0] == 202


def is_ready(api: Process, status: int) -> bool:
    return api.ask("GET", "/health/ready")[0] == status


def test_live_charts_while_the_database_hangs(tmp_path: Path, kafka: Kafka) -> None:
    with (
        postgres_server() as server,
        server.database() as name,
        fleet_of(tmp_path, kafka, server.url(name), sink=1, processor=1, api=2) as fleet,
    ):
        watched, fresh = fleet.of("api")
        charts: list[Chart] = []
        try:
            with senders(fleet, 2) as clients:
                charts.append(Chart(watched, "client-0"))
                charts[0].wait_for_more()
                before = charts[0].cursor
                assert fresh.ask("GET", "/devices")[0] == 200  # it knows the token now; nobody watches there
                server.freeze()
                try:
                    for api in (watched, fresh):
                        wait_for(partial(is_ready, api, 503), "the api saying that it is not ready", 60)
                        status, headers, body = api.ask("GET", "/devices")
                        assert (status, b"database" in body) == (503, True), body
                        assert headers["Retry-After"]
                    charts += [
                        Chart(watched, "client-1"),
                        Chart(fresh, "client-0"),
                        Chart(fresh, "client-0", before),
                    ]
                    for chart in charts:
                        chart.wait_for_more()
                    send_events(fleet, 0)
                    for chart in charts:
                        chart.wait_for_more()
                    wait_for_more(clients)
                finally:
                    server.thaw()
                wait_for(partial(is_ready, fresh, 200), "the api being ready again (I4)", 60)
                for chart in charts:
                    chart.wait_for_more()
            check_fleet(fleet, clients, bounds=CHARTS)
            for chart in charts:
                check_chart(fleet, chart, once=not any(client.retried for client in clients))
        finally:
            for chart in charts:
                chart.close()


def check_chart(fleet: Fleet, chart: Chart, *, once: bool) -> None:
    """All that is stored from the first one on, each once if none was sent twice, and nothing else."""
    first = min(chart.got)
    stored = {
        v for (v,) in fleet.sql(f"select value from readings where device = '{chart.device}' and value >= {first}")
    }
    wait_for(lambda: chart.got.keys() >= stored, "the last one being drawn", 60)
    assert chart.got.keys() == stored
    assert not once or set(chart.got.values()) == {1}, "drawn twice"
    assert not chart.gaps
