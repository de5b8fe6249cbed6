"""Makes the golden data directory of this version: ``.venv/bin/python -m tests.golden.make_directory``.

Run it once for each released version, and keep what it writes for ever: ``tests/golden/directory-VERSION.tar.xz`` holds a data
directory as a server left it (``data``), a backup of it (``backups``), and what it answered (``expected.json``). Every later
version opens it and has to answer the same.
"""

import hashlib
import io
import json
import random
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Final

import sonde
from sonde.store.checkpoint import checkpoints
from tests.crash.nodes import HandMadeNode
from tests.crash.road import JSON, START_TIME, Up, create_token, wait_for

GOLDEN: Final = Path(__file__).parent
LARGEST: Final = 300_000  # bytes
QUESTIONS: Final = {
    "readings": "select device, metric, site, zone, labels, epoch_us(time), kind, value, text, quality from readings",
    "windows": "select device, metric, width, epoch_us(start), count, round(sum, 6), min, max, last from windows",
    "alerts": "select device, metric, rule, severity, state, epoch_us(time), value, threshold from alerts",
    "devices": "select device, epoch_us(last_seen) from devices",
    "gaps": "select source, lane, epoch, reason, first_seq, last_seq, readings from gaps",
}
"""What is asked, over the views that stay the same."""

CONFIG: Final = """\
# Settings of Sonde {version}. What golden directories are made with.
[store]
hot_readings = 1000
hot_time = 1s
[log]
segment = 64KiB
[rule.hot]
metric = temperature
threshold = 30
severity = warning
"""
VALUES: Final[list[Any]] = [
    21.5,
    -0.0,
    7,
    2**53 + 1,
    -(2**63),
    True,
    False,
    "warm ☀",
    "",
    [1, "x", None],
    {"b": {"a": 1}},
    None,
]
KEPT: Final = ("FORMAT", "config.ini", "keys.json", "control.db", "log", "store")


def main() -> None:
    target = GOLDEN / f"directory-{sonde.__version__}.tar.xz"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        expected = make(folder)
        pack(folder, expected, target)
    size = target.stat().st_size
    print(f"{target}: {size:,} bytes", file=sys.stderr)
    assert size <= LARGEST, f"it should have at most {LARGEST:,}"


def make(folder: Path) -> dict[str, Any]:
    """Let a server run in ``folder``; what it answers at the end."""
    (folder / "data").mkdir()
    (folder / "data" / "config.ini").write_text(CONFIG.format(version=sonde.__version__))
    up = Up(folder, "--no-host", "--no-simulator")
    with up:
        node = HandMadeNode(up, create_token(up.data, "edge", "--scope", "ingest", "--node", "edge"), "counter")
        assert node.send(1, 4)[0] == 200
        assert node.send(7, 8, confirmed=6)[0] == 200  # 5 and 6 are missing
        assert node.send(1, 1)[0] == 200  # a repetition
        post(up, values())
        for first in range(0, 5000, 500):
            post(up, curve(first, 500))
        up.wait_until_all_is_stored()
        wait_for(lambda: any((up.data / "store" / "parts").glob("*.parquet")), "a part being written", 60)
        assert up.command("keys", "rotate").returncode == 0
        post(up, curve(5000, 200))
        up.wait_until_all_is_stored()
        assert up.stop() == 0
        up.start()
        wait_for(lambda: has_checkpoint(up.data), "a checkpoint with parts", 60)
        made = up.command("backup", str(folder / "backups"))
        assert made.returncode == 0, made.stderr
        in_backup = answers(up)
        post(up, curve(5200, 100))
        post(up, curve(0, 500))  # the same again
        up.wait_until_all_is_stored()
        at_the_end = answers(up)
        assert up.stop() == 0
    return {"token": up.token, "data": at_the_end, "backup": in_backup}


def answers(up: Up) -> dict[str, Any]:
    """What the views and the ledger say, in an order of their own."""
    found: dict[str, Any] = {name: shortened(sorted(up.sql(sql), key=json.dumps)) for name, sql in QUESTIONS.items()}
    lines = up.get("/ledger")
    rows = lines if isinstance(lines, list) else lines["ledger"]
    columns = ("source", "lane", "sent", "stored", "duplicate", "refused", "set_aside", "lost", "missing")
    found["ledger"] = sorted(([row[column] for column in columns] for row in rows), key=json.dumps)
    return found


def shortened(rows: list[list[Any]]) -> list[Any]:
    """A few rows as they are; of many some, how many there are, and the SHA-256 of all."""
    if len(rows) <= 200:
        return rows
    return [*rows[::100], len(rows), hashlib.sha256(json.dumps(rows).encode()).hexdigest()]


def has_checkpoint(data: Path) -> bool:
    found = checkpoints(data / "store" / "checkpoints")
    return bool(found) and bool(found[0].manifest.parts)


def post(up: Up, readings: list[dict[str, Any]]) -> None:
    status, answer = up.request("POST", "/telemetry", json.dumps(readings).encode(), JSON)
    assert status == 202, answer


def values() -> list[dict[str, Any]]:
    """One reading of each kind."""
    return [
        {
            "device": f"dévice-{i % 3}",
            "metric": "any",
            "value": value,
            "time": START_TIME + i,
            "quality": 1 if value is None else 0,
        }
        | ({"site": "Site-01", "zone": "Zone-ü", "labels": {"floor": "1"}} if i % 2 else {})
        | ({"event_id": f"event-{i}"} if i % 4 == 0 else {})
        for i, value in enumerate(VALUES)
    ]


def curve(first: int, count: int) -> list[dict[str, Any]]:
    """Temperatures, some of which are too high for a while; a quarter has an ``event_id``."""
    return [
        {
            "device": f"boiler-{n % 4}",
            "metric": "temperature",
            "site": "Site-01",
            "value": 35.25 if 1200 <= n < 1600 else 20 + random.Random(n).random(),
            "time": START_TIME + n * 2_000_000,
            **({"event_id": f"boiler-{n}"} if n % 4 == 0 else {}),
        }
        for n in range(first, first + count)
    ]


def pack(folder: Path, expected: dict[str, Any], target: Path) -> None:
    for path in (folder / "data").iterdir():
        if path.name not in KEPT:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    with tarfile.open(target, "w:xz", preset=9) as archive:
        archive.add(folder / "data", "data")
        for backup in (folder / "backups").iterdir():
            if backup.is_dir():
                archive.add(backup, f"backups/{backup.name}")
        data = json.dumps(expected).encode()
        entry = tarfile.TarInfo("expected.json")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))


if __name__ == "__main__":
    main()
