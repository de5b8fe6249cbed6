"""Every question, asked over a socket of a store whose every number is known."""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pyarrow as pa
import pyarrow.parquet
import pytest

from sonde.cursor import Cursor
from sonde.store.postgres.store import PostgresStore
from tests.api_world import (
    ALL_READINGS,
    CO2,
    LOG,
    ODD,
    PROFILE,
    READINGS_A_SERIES,
    ROOMS,
    StoppedClock,
    build,
    client_of,
    fill,
    filled_store,
)
from tests.servers.postgres import PostgresServer


@pytest.fixture(scope="module")
def duckdb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """The api over the embedded store."""
    store = filled_store(tmp_path_factory.mktemp("store"))
    with client_of(build(lambda: store)) as client:
        yield client
    store.close()


@pytest.fixture(scope="module")
def postgresql(postgres: PostgresServer) -> Iterator[httpx.Client]:
    """The api over the same world in a database."""
    with postgres.database() as name:
        store = PostgresStore(postgres.url(name), LOG, clock=StoppedClock())
        fill(store)
        with client_of(build(lambda: store)) as client:
            yield client
        store.close()


@pytest.fixture(params=["duckdb", pytest.param("postgresql", marks=pytest.mark.all)])
def api(request: pytest.FixtureRequest) -> httpx.Client:
    """The api over every engine."""
    client: httpx.Client = request.getfixturevalue(request.param)
    return client


def get(api: httpx.Client, path: str) -> Any:
    response = api.get(path)
    assert response.status_code == 200, response.text
    assert Cursor.parse(response.headers["Sonde-Cursor"]) == Cursor("world", {0: 7})
    return response.json()


def pages(api: httpx.Client, path: str) -> Iterator[Any]:
    """The bodies of a question's pages, following ``Link``."""
    while path:
        response = api.get(path)
        assert response.status_code == 200, response.text
        yield response.json()
        path = response.links.get("next", {}).get("url", "")


def test_kpis_are_of_the_newest_window_of_each_zone(api: httpx.Client) -> None:
    found = {(k["site_id"], k["zone_id"], k["sensor_type"]): k for k in get(api, "/kpis/live")}
    for room in ROOMS:
        kpi = found[(*room, "co2")]
        assert (kpi["current_avg"], kpi["current_max"], kpi["sample_count"]) == (CO2[room], CO2[room], 5)
        assert kpi["last_updated"] == "2025-12-31T23:59:00.000000Z"
    assert {k["site_id"] for k in get(api, "/kpis/live?site_id=Site-02")} == {"Site-02"}


def test_mistake_17_sites_and_zones_mixed(api: httpx.Client) -> None:
    points = get(api, "/trends?sensor_type=co2&since=2025-12-31T22:00:00Z&until=2026-01-01T00:00:00Z")
    assert len(points) == 24 * len(ROOMS)
    for point in points:
        expected = CO2[point["site_id"], point["zone_id"]]
        assert (point["avg"], point["min"], point["max"], point["count"]) == (expected, expected, expected, 5)
    one = get(api, "/trends?sensor_type=co2&site_id=Site-01&zone_id=Zone-02&window=1h")
    assert [(p["timestamp"], p["count"]) for p in one] == [
        ("2025-12-31T22:00:00.000000Z", 60),
        ("2025-12-31T23:00:00.000000Z", 60),
    ]


def test_trends_end_now_and_begin_a_day_before(api: httpx.Client) -> None:
    by_default = get(api, "/trends?sensor_type=co2&device_id=Site-01/Zone-01/room")
    assert len(by_default) == 24
    assert get(api, "/trends?sensor_type=co2&until=2025-12-31T21:00:00Z") == []


def test_heatmap(api: httpx.Client) -> None:
    cells = get(api, "/utilization/heatmap")
    assert {(c["site_id"], c["zone_id"]) for c in cells} == set(ROOMS)
    assert {(c["occupancy_rate"], c["avg_occupancy"]) for c in cells} == {(0.5, 0.5)}
    grid = get(api, "/utilization/heatmap?by=hour&site_id=Site-02")
    assert [(c["hour"], c["occupancy_rate"]) for c in grid] == [(22, 0.0), (23, 1.0)]


def test_alerts_newest_first_and_pending_only_when_asked(api: httpx.Client) -> None:
    assert [a["alert_id"] for a in get(api, "/alerts/recent")] == ["alert-2", "alert-1"]
    assert [a["alert_id"] for a in get(api, "/alerts?state=pending")] == ["alert-3"]
    assert [a["alert_id"] for a in get(api, "/alerts?severity=critical")] == ["alert-2"]
    (open_one,) = get(api, "/alerts?state=open")
    assert open_one | {"rule": "co2-high", "value": 1200.0, "threshold": 1000.0, "state": "firing"} == open_one
    assert open_one["time"] == "2025-12-31T23:30:00.000000Z"
    assert [a["alert_id"] for page in pages(api, "/alerts?limit=1") for a in page] == ["alert-2", "alert-1"]


def test_devices_with_their_newest_values(api: httpx.Client) -> None:
    devices = get(api, "/devices")
    assert [d["device_id"] for d in devices] == sorted(d["device_id"] for d in devices)
    room = next(d for d in devices if d["device_id"] == "Site-02/Zone-01/room")
    assert (room["site_id"], room["zone_id"], room["stale"]) == ("Site-02", "Zone-01", False)
    assert (room["avg_temp"], room["max_co2"]) == (21.0, 700.0)
    assert room["metrics"]["co2"] == {"value": 700.0, "time": "2025-12-31T23:59:00.000000Z", "quality": 0}
    odd = next(d for d in devices if d["device_id"] == ODD)
    assert (odd["stale"], odd["avg_temp"], odd["max_co2"]) == (True, None, None)
    assert [d["device_id"] for page in pages(api, "/devices?limit=2") for d in page] == [
        d["device_id"] for d in devices
    ]
    assert [d["site_id"] for d in get(api, "/devices?site_id=Site-02")] == ["Site-02"]


def test_values_come_out_with_the_type_that_went_in(api: httpx.Client) -> None:
    values = {name: metric["value"] for name, metric in get(api, f"/devices/{quote(ODD)}")["metrics"].items()}
    assert values == {
        "text": 'a "quoted" ü\n',
        "json": {"a": [1, None]},
        "flag": True,
        "big": 2**63 - 1,
        "count": -3,
        "failed": None,
        "tiny": 5e-324,
    }
    assert isinstance(values["count"], int)
    assert '"value":500.0' in api.get("/devices/Site-01/Zone-01/room").text


def test_a_device_with_slashes_and_one_with_two_series_of_a_metric(api: httpx.Client) -> None:
    assert get(api, "/devices/Site-01/Zone-01/room") == get(api, "/devices/Site-01%2FZone-01%2Froom")
    host = get(api, "/devices/host")
    assert [(s["labels"], s["value"]) for s in host["series"]] == [({"core": "0"}, 12.5), ({"core": "1"}, 13.5)]
    missing = api.get("/devices/never-seen")
    assert missing.status_code == 404
    assert missing.headers["content-type"] == "application/problem+json"


def test_history_newest_first_with_totals(api: httpx.Client) -> None:
    body = get(api, "/historical-data?limit=2&id=co2&device_id=Site-01/Zone-01/room")
    assert (body["total_records"], body["filtered_records"]) == (ALL_READINGS, READINGS_A_SERIES)
    assert [r["timestamp"] for r in body["data"]] == ["2025-12-31T23:59:00.000000Z", "2025-12-31T23:58:00.000000Z"]
    assert body["data"][0] == {
        "type": "data",
        "id": "co2",
        "device": "Site-01/Zone-01/room",
        "site": "Site-01",
        "zone": "Zone-01",
        "labels": {},
        "timestamp": "2025-12-31T23:59:00.000000Z",
        "value": 500.0,
        "quality": 0,
    }
    nothing = get(api, "/historical-data?type=command_result")
    assert (nothing["data"], nothing["filtered_records"], nothing["total_records"]) == ([], 0, 0)


@pytest.mark.parametrize("order", ["newest", "oldest"])
@pytest.mark.parametrize("limit", [1000, 100, 7, pytest.param(2, marks=pytest.mark.all)])
def test_mistake_22_equal_timestamps_overwrite_each_other(api: httpx.Client, order: str, limit: int) -> None:
    """Nine series have readings at every minute: pages that end between them give each reading once."""
    path = f"/historical-data?order={order}&limit={limit}&since=2025-12-31T23:30:00Z"
    rows = [r for page in pages(api, path) for r in page["data"]]
    keys = [(r["device"], r["id"], json.dumps(r["labels"]), r["timestamp"]) for r in rows]
    assert len(keys) == len(set(keys)) == 30 * 9 + 9
    times = [r["timestamp"] for r in rows]
    assert times == sorted(times, reverse=order == "newest")


def test_history_as_csv_defuses_formulas(api: httpx.Client) -> None:
    response = api.get("/historical-data", params={"device_id": ODD, "format": "csv"})
    assert response.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert {row["device"] for row in rows} == {"'" + ODD}
    assert {row["metric"]: row["value"] for row in rows}["count"] == "-3"
    assert {row["time"] for row in rows} == {"2025-12-31T23:40:00.000000Z"}


def test_history_as_parquet(api: httpx.Client) -> None:
    response = api.get("/historical-data?limit=50", headers={"Accept": "application/vnd.apache.parquet"})
    table = pyarrow.parquet.read_table(io.BytesIO(response.content))
    assert table.num_rows == 50
    assert "next" in response.links


def test_profiles(api: httpx.Client) -> None:
    types = get(api, "/telemetry-types")
    assert types["telemetry_types"]["co2"] == {
        "unit": "ppm",
        "data_type": "number",
        "range": {"min": 0.0, "max": 5000.0},
        "description": "Carbon dioxide",
        "enum": None,
    }
    assert types["last_updated"] == "2025-12-31T23:59:00.000000Z"
    templates = get(api, "/command-templates")["command_templates"]
    assert set(templates) == {"set_update_interval", "get_status"}
    one = get(api, "/command-validation/set_update_interval")["command_templates"]
    assert one == {"set_update_interval": templates["set_update_interval"]}
    assert one["set_update_interval"]["parameters"]["interval"]["required"] is True
    assert api.get("/command-validation/fly").status_code == 404
    assert get(api, "/telemetry-types?device_id=nobody") == {"telemetry_types": {}, "last_updated": None}


def test_the_ledger_closes(api: httpx.Client) -> None:
    lines = get(api, "/ledger")
    assert {(line["source"], line["lane"]) for line in lines} == {("", "direct"), ("node-1", "live")}
    for line in lines:
        rest = ("stored", "duplicate", "refused", "set_aside", "lost", "missing")
        assert line["sent"] == sum(line[name] for name in rest)
    assert next(line for line in lines if line["source"] == "node-1")["missing"] == 2


def test_gaps_say_where_when_and_why(api: httpx.Client) -> None:
    gap = next(g for g in get(api, "/gaps") if g["reason"] == "lost")
    assert (gap["source"], gap["lane"], gap["first_seq"], gap["readings"]) == ("node-1", "live", 8, 10)
    assert (gap["noticed"], gap["detail"]) == ("2025-12-31T23:59:00.000000Z", "the outbox was full")
    assert gap["before"] == gap["noticed"]


def test_gaps_of_the_node_of_a_device_from_a_moment_on(api: httpx.Client) -> None:
    mine = [g for g in get(api, "/gaps") if g["source"] == "node-1"]
    assert get(api, f"/gaps?device_id={PROFILE.device}&since=2025-12-31T23:00:00Z") == mine
    assert get(api, f"/gaps?device_id={PROFILE.device}&since=2026-01-01T00:00:00Z") == []
    assert get(api, "/gaps?device_id=nobody") == []
    assert api.get("/gaps", params={"since": "yesterday"}).status_code == 422


def test_samples_of_a_sensor_that_failed_and_of_words(api: httpx.Client) -> None:
    """A value that is not there is null, among readings and among buckets."""
    path = "/samples?series=14,9,0,1,2&since=2025-12-31T23:00:00Z&until=2026-01-01T00:00:00Z"
    found = {one["series"]: one for one in get(api, f"{path}&points=60")}
    assert (found[14]["value"], found[14]["quality"]) == ([None], [1])
    assert found[9]["value"] == ['a "quoted" ü\n']
    assert len(found[0]["value"]) == 60
    found = {one["series"]: one for one in get(api, f"{path}&points=35")}
    assert (found[14]["avg"], found[14]["count"], found[14]["quality"]) == ([None], [0], [1])
    assert (found[9]["text"], found[9]["avg"]) == (['a "quoted" ü\n'], [None])
    assert sum(found[0]["count"]) == 60
    assert "text" not in found[0]


def test_sql(api: httpx.Client) -> None:
    text = "select device, time, value from readings where metric = 'co2' order by time, device limit 1"
    response = api.post("/sql", json={"sql": text})
    assert response.json() == {
        "columns": ["device", "time", "value"],
        "rows": [["Site-01/Zone-01/room", "2025-12-31T22:00:00.000000Z", 500.0]],
    }
    assert response.headers["Sonde-Cursor"] == "world.0-7"
    arrow = api.post("/sql", json={"sql": text}, headers={"Accept": "application/vnd.apache.arrow.stream"})
    assert pa.ipc.open_stream(arrow.content).read_all()["value"].to_pylist() == [500.0]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("1::hugeint", 1),
        ("170141183460469231731687303715884105727::hugeint", 2**127 - 1),
        ("1.50::decimal(9,2)", 1.5),
        ("'nan'::double", None),
        ("'inf'::double", None),
        ("0.1::float", pytest.approx(0.1)),
        ("date '2026-01-02'", "2026-01-02"),
        ("timestamp '2026-01-02 03:04:05'", "2026-01-02T03:04:05.000000Z"),
        ("timestamptz '2026-01-02 03:04:05+00'", "2026-01-02T03:04:05.000000Z"),
        ("[1, 2, null]", [1, 2, None]),
        ("{'a': 1}", {"a": 1}),
        ("'\\xAA'::blob", "qg=="),
        ("true", True),
        ("null", None),
        ("'ü\"'", 'ü"'),
        ("uuid '00000000-0000-0000-0000-000000000001'", "00000000-0000-0000-0000-000000000001"),
    ],
)
def test_sql_values_of_every_type(duckdb: httpx.Client, expression: str, expected: Any) -> None:
    response = duckdb.post("/sql", json={"sql": f"select {expression} as x"})
    assert response.status_code == 200, response.text
    assert response.json()["rows"] == [[expected]]


@pytest.mark.parametrize(
    "expression",
    [
        "interval 1 month",
        "time '03:04:05'",
        "map {'a': 1}",
        "'infinity'::timestamp",
        "'b'::bit",
        "enum_range(null::enum('a'))",
        "date '9999-12-31' + 99999999",
        "'-infinity'::date",
        "timestamp '20000-01-01'",
        "[timestamp 'infinity']",
        "timestamp_ns '2026-01-02'",
        "{'t': 'nan'::double}",
    ],
)
def test_sql_values_without_a_form_in_json_are_no_server_errors(duckdb: httpx.Client, expression: str) -> None:
    response = duckdb.post("/sql", json={"sql": f"select {expression} as x"})
    assert response.status_code in {200, 422}, response.text
    response.json()


@pytest.mark.all
@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("1::numeric", 1),
        ("170141183460469231731687303715884105727::numeric", 2**127 - 1),
        ("1.50::numeric(9,2)", 1.5),
        ("1e200::numeric", 1e200),
        ("'nan'::float8", None),
        ("'nan'::numeric", None),
        ("'inf'::float8", None),
        ("0.1::real", pytest.approx(0.1)),
        ("date '2026-01-02'", "2026-01-02"),
        ("timestamp '2026-01-02 03:04:05'", "2026-01-02T03:04:05.000000Z"),
        ("timestamptz '2026-01-02 03:04:05+00'", "2026-01-02T03:04:05.000000Z"),
        ("'infinity'::timestamptz", None),
        ("array[1, 2, null]", "{1,2,NULL}"),
        ("'\\xAA'::bytea", "\\xaa"),
        ("interval '1 month'", "1 mon"),
        ("true", True),
        ("null", None),
        ("'ü\"'", 'ü"'),
        ("uuid '00000000-0000-0000-0000-000000000001'", "00000000-0000-0000-0000-000000000001"),
    ],
)
def test_sql_values_of_postgresql(postgresql: httpx.Client, expression: str, expected: Any) -> None:
    response = postgresql.post("/sql", json={"sql": f"select {expression} as x"})
    assert response.status_code == 200, response.text
    assert response.json()["rows"] == [[expected]]


@pytest.mark.all
@pytest.mark.parametrize(
    "expression",
    [
        "date '5874897-12-31'",
        "'infinity'::date",
        "timestamp '20000-01-01'",
        "timestamptz '4000-01-01 BC'",
        "time '24:00'",
        "1 / 0",
        "chr(0)",
        "'\\x00'::bytea",
    ],
)
def test_sql_values_that_python_has_no_word_for_are_no_server_errors(postgresql: httpx.Client, expression: str) -> None:
    response = postgresql.post("/sql", json={"sql": f"select {expression} as x"})
    assert response.status_code in {200, 422}, response.text
    response.json()


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b'{"sql": "drop table readings"}', {}, 422),
        (b'{"sql": ""}', {}, 422),
        (b'{"sql": "select 1", "more": 1}', {}, 422),
        (b'{"sql": 1}', {}, 422),
        (b"{", {}, 400),
        (b"\xff", {}, 400),
        (b"", {}, 400),
        (b'{"sql": "select 1"}', {"Content-Type": "text/plain"}, 415),
        (b'{"sql": "select 1"}', {"Content-Encoding": "gzip"}, 415),
        (b" " * 1_500_000 + b"{}", {}, 413),
    ],
)
def test_sql_that_is_refused(api: httpx.Client, body: bytes, headers: dict[str, str], status: int) -> None:
    response = api.post("/sql", content=body, headers={"Content-Type": "application/json", **headers})
    assert (response.status_code, response.json()["status"]) == (status, status)


@pytest.mark.parametrize("escaped", [True, False])
def test_the_longest_question_is_counted_in_characters_however_it_is_written(api: httpx.Client, escaped: bool) -> None:
    """A character outside the first plane is one character, and 12 bytes of JSON when it is escaped."""
    headers = {"Content-Type": "application/json"}
    for characters, status in ((100_000, 200), (100_001, 422)):
        text = "select 1 -- ".ljust(characters, "\U0002d1f6")
        body = json.dumps({"sql": text}, ensure_ascii=escaped).encode()
        assert api.post("/sql", content=body, headers=headers).status_code == status


def test_a_refusal_does_not_repeat_a_long_name(api: httpx.Client) -> None:
    response = api.post("/sql", json={"sql": "select 1", "\U0002d1f6" * 100_000: 1})
    assert response.status_code == 422
    assert len(response.text) < 1_000


def test_config_summary_and_metrics(api: httpx.Client) -> None:
    assert api.get("/config-summary").json() == {"api": {"port": 8000, "token": "***"}}
    response = api.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    assert "sonde_api_answer_seconds_count" in response.text


@pytest.mark.parametrize("text", ["2025-12-31T23:00:00Z", "2026-01-01T01:00:00%2B02:00", "1767222000", "1767222000000"])
def test_mistake_20_a_time_filter_ending_in_z_gives_500(api: httpx.Client, text: str) -> None:
    assert get(api, f"/historical-data?id=co2&since={text}")["filtered_records"] == 60 * len(ROOMS)


@pytest.mark.parametrize("name", ["since", "until"])
@pytest.mark.parametrize(
    "text", ["yesterday", "2026-01-01", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z", "-1", "9" * 30]
)
def test_mistake_20_a_bad_time_gives_200(api: httpx.Client, name: str, text: str) -> None:
    for path in ("/historical-data", "/trends?sensor_type=co2", "/utilization/heatmap"):
        response = api.get(path, params={**dict(httpx.URL(path).params), name: text})
        assert (response.status_code, response.json()["field"]) == (422, name), response.text


@pytest.mark.parametrize("limit", ["0", "-1", "10001", "1.0", "1e3", "", "all", " 5", "1_0", "٣"])
def test_mistake_20_limit_0_returns_everything(api: httpx.Client, limit: str) -> None:
    for path in ("/devices", "/alerts", "/alerts/recent", "/historical-data", "/kpis/live", "/ledger", "/gaps"):
        response = api.get(path, params={"limit": limit})
        assert (response.status_code, response.json()["field"]) == (422, "limit"), response.text


def test_a_mistyped_filter_is_refused_with_the_nearest_known(api: httpx.Client) -> None:
    response = api.get("/historical-data?sinse=2026-01-01T00:00:00Z")
    assert response.status_code == 422
    assert "did you mean 'since'?" in response.json()["detail"]
    assert api.get("/devices?limit=1&limit=2").status_code == 422
    assert api.get("/health?x=1").status_code == 422


def test_an_empty_filter_is_as_if_absent(api: httpx.Client) -> None:
    assert get(api, "/historical-data?site_id=&since=&id=&limit=5") == get(api, "/historical-data?limit=5")


def test_windows_that_are_not_kept_are_refused(api: httpx.Client) -> None:
    for window in ("7m", "1s", "0m", "5", "year", "-5m", "999999999w"):
        response = api.get("/trends", params={"sensor_type": "co2", "window": window})
        assert (response.status_code, response.json()["field"]) == (422, "window")
