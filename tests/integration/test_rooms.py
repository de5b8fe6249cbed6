"""The example of rooms answers as it says: on DuckDB, and over readings that came in through Sonde."""

import csv
import io
import json
from pathlib import Path

import duckdb
import pyarrow.csv
import pytest

from tests.crash.road import Up, wait_for
from tests.rooms import QUESTIONS, ROOMS, Row, answered, asked, expected


def test_the_events_for_sonde_say_what_the_tables_say() -> None:
    sensors = {row["sensor_name"]: row for row in _table("sensors")}
    events = [json.loads(line) for line in (ROOMS / "sonde/readings.ndjson").read_text().splitlines()]
    rows = _table("readings")
    assert len(rows) == 16
    for row, event in zip(rows, events, strict=True):
        sensor = sensors[row["sensor_name"]]
        said = {"device": row["sensor_name"], "metric": sensor["sensor_type"], "site": "rooms"}
        assert event == {**said, "zone": sensor["room_name"], "value": float(row["value"]), "time": row["time"]}


def _table(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((ROOMS / f"{name}.csv").read_text())))


@pytest.mark.parametrize("question", QUESTIONS)
def test_on_duckdb(question: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOMS)
    with duckdb.connect(":memory:") as database:
        database.execute("set timezone = 'UTC'")
        for name in ("schema", "load_duckdb"):
            database.execute((ROOMS / f"{name}.sql").read_text())
        assert _rows(database, question) == expected(question)


def _rows(database: duckdb.DuckDBPyConnection, question: str) -> list[Row]:
    text = asked(question).strip().removesuffix(";")
    answer = database.sql(f"select room, strftime(second, '%Y-%m-%dT%H:%M:%SZ') as second, i, v, r from ({text})")
    written = io.BytesIO()
    pyarrow.csv.write_csv(answer.to_arrow_table(), written)
    return answered(written.getvalue().decode())


def test_a_resistance_of_zero_and_what_has_no_past_give_no_current(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOMS)
    with duckdb.connect(":memory:") as database:
        database.execute("set timezone = 'UTC'")
        database.execute((ROOMS / "schema.sql").read_text())
        database.execute("""insert into rooms.rooms values ('a');
            insert into rooms.sensors values ('v', 'V', 'a'), ('r', 'R', 'a');
            insert into rooms.readings values ('v', 1, '2025-01-01T00:00:00Z'), ('v', 2, '2025-01-01T00:00:01Z'),
              ('r', 0, '2025-01-01T00:00:01.5Z'), ('v', 3, '2025-01-01T00:00:04Z'), ('v', 4, '2025-01-01T00:00:05Z'),
              ('r', 2, '2025-01-01T00:00:05Z'), ('v', 6, '2025-01-01T00:00:09Z')""")
        assert [row[2:] for row in _rows(database, "per_second")] == [
            (None, 1.0, None),
            (None, 2.0, 0.0),
            (None, 3.0, None),
            (2.0, 4.0, 2.0),
            (None, 6.0, None),
        ]
        assert [row[2:] for row in _rows(database, "forward_fill")] == [
            (None, 1.0, None),
            (None, 2.0, 0.0),
            (None, 3.0, 0.0),
            (2.0, 4.0, 2.0),
            (3.0, 6.0, 2.0),
        ]


def test_over_readings_that_came_in_through_sonde(tmp_path: Path) -> None:
    with Up(tmp_path, "--no-host", "--no-simulator") as up:
        body = (ROOMS / "sonde/readings.ndjson").read_bytes()
        headers = {"Content-Type": "application/x-ndjson"}
        for _ in range(2):  # sent twice, stored once
            status, answer = up.request("POST", "/telemetry", body, headers)
            assert status == 202, answer
        count = "select count(*) as n from readings where site = 'rooms'"
        wait_for(lambda: "16" in up.command("sql", count, "--format", "csv").stdout, "the readings stored", 60)
        for question in QUESTIONS:
            said = up.command("sql", asked(question, "sonde"), "--format", "csv")
            assert said.returncode == 0, said.stderr
            assert answered(said.stdout) == expected(question)
