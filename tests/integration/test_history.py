"""History over a restart, through a real ``sonde up``."""

import json
from pathlib import Path

from tests.crash.road import JSON, START_TIME, Up

ROWS = 25_000  # more than one answer may hold


def test_mistake_19_persistent_history_that_is_a_ring_in_memory(tmp_path: Path) -> None:
    with Up(tmp_path, "--no-host", "--no-simulator") as up:
        readings = [
            {"device": "boiler", "metric": "pressure", "value": float(i), "time": START_TIME + i * 1_000}
            for i in range(ROWS)
        ]
        status, answer = up.request("POST", "/telemetry", json.dumps(readings).encode(), JSON)
        assert (status, json.loads(answer)["accepted"]) == (202, ROWS)
        up.kill()
        up.start()
        up.wait_until_all_is_stored()
        assert whole_history(up) == {float(i) for i in range(ROWS)}
        assert up.stop() == 0


def whole_history(up: Up) -> set[float]:
    """All values of the device, a page after the other."""
    values: set[float] = set()
    until = START_TIME + ROWS * 1_000
    while True:
        answer = up.get(f"/historical-data?type=data&device_id=boiler&limit=10000&until={until}")
        if not answer["data"]:
            return values
        assert answer["total_records"] >= ROWS
        values |= {record["value"] for record in answer["data"]}
        until = START_TIME + int(min(values)) * 1_000
