"""All roles behind a pooler that lends connections for a transaction: with few of them, everything works as it does without."""

import json
import re
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from tests.crash.chart import Chart
from tests.crash.fleet import Fleet, check_fleet, fleet_of, senders, wait_for_more
from tests.crash.process import Process
from tests.crash.road import JSON, wait_for
from tests.servers.kafka import Kafka
from tests.servers.pooler import pooler
from tests.servers.postgres import PostgresServer

pytestmark = pytest.mark.all

RULE = {"SONDE_RULE_HOT_METRIC": "heat", "SONDE_RULE_HOT_THRESHOLD": "1"}
QUESTIONS = (
    "/devices",
    "/kpis/live",
    "/historical-data?limit=100",
    "/trends?sensor_type=m0",
    "/ledger",
    "/alerts",
    "/gaps",
)
CONNECTIONS = 8


def test_all_roles_behind_a_pooler(tmp_path: Path, kafka: Kafka, postgres: PostgresServer) -> None:
    with postgres.database() as name, pooler(postgres, CONNECTIONS) as between:
        ways = dict.fromkeys(("sink", "processor", "api"), between.url(name))
        roles = {"sink": 1, "processor": 2, "api": 2}
        with fleet_of(tmp_path, kafka, postgres.url(name), ways=ways, settings=RULE, **roles) as fleet:
            charts = [Chart(api, "*") for api in fleet.of("api")]
            try:
                with senders(fleet, 2) as clients:
                    go_through(fleet, charts)
                    for processor in fleet.of("processor"):
                        processor.kill()
                        processor.launch()
                        wait_for(processor.ready, "the processor answering (I4)", 90)
                        wait_for_more(clients)
                        fleet.wait_for_storing()
                    assert postgres.terminate_backends(name) > 0
                    wait_for_more(clients)
                    fleet.wait_for_storing()
                    wait_for(partial(_has_an_owner, fleet), "one of them doing what one does for all (I4)", 60)
                check_fleet(fleet, clients)
                ((used,),) = postgres.execute(f"select count(*) from pg_stat_activity where datname = '{name}'")
                assert used <= CONNECTIONS
                assert all("steps_polled" in api.said() for api in fleet.of("api"))
            finally:
                for chart in charts:
                    chart.close()
        assert between.left_behind(name) == set()


def go_through(fleet: Fleet, charts: list[Chart]) -> None:
    """Questions, SQL, live readings, an alert that a processor finds and every api tells of, and its acknowledgement."""
    api = fleet.of("api")[0]
    for chart in charts:
        chart.wait_for_more()
    fleet.wait_for_storing()
    wait_for(partial(_is_raised, fleet), "the rule being in the log, and broken", 60)
    for chart in charts:
        wait_for(partial(_is_told, chart), "an alert being told by every api", 60)
    for question in QUESTIONS:
        status, _, body = api.ask("GET", question)
        assert status == 200, (question, body)
    status, _, body = api.ask(
        "POST", "/sql", b'{"sql": "select device from readings where metric = \'heat\' limit 1"}', JSON
    )
    assert (status, json.loads(body)["rows"]) == (200, [["stove"]]), body
    (alert,) = [found for found in fleet.get("/alerts") if found["device"] == "stove"]
    status, _, body = api.ask("POST", f"/alerts/{alert['alert_id']}/acknowledge", b"{}", JSON)
    assert status == 200, body


def _is_raised(fleet: Fleet) -> bool:
    """Sends a reading each time, and never the same: those that come before the rule raise nothing."""
    hot = [{"device": "stove", "metric": "heat", "value": 2.0, "event_id": str(uuid4())}]
    assert fleet.ask("POST", "/telemetry", json.dumps(hot).encode(), JSON)[0] == 202
    return any(found["device"] == "stove" for found in fleet.get("/alerts"))


def _is_told(chart: Chart) -> bool:
    return any(turned.alert["device"] == "stove" for turned in chart.alerts)


def _has_an_owner(fleet: Fleet) -> bool:
    return any(_owns(process) for process in fleet.of("processor"))


def _owns(processor: Process) -> bool:
    """By what it said last of it."""
    return re.findall(r"ownership_(\w+)", processor.said())[-1:] == ["taken"]
