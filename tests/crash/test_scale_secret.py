"""Canaries at scale: what brokers keep on their disks is sealed, and no process says a secret or a reading."""

import base64
import json
import struct
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import pytest

from sonde.errors import SondeError
from sonde.frame import Opener
from sonde.keyring import KeyRing
from sonde.log.kafka.log import KafkaLog
from tests.crash.chart import Chart
from tests.crash.fleet import KEY, Fleet, fleet_of
from tests.crash.nodes import counting
from tests.crash.road import JSON, START_TIME, wait_for
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.all

DEVICE, TEXT, EVENT, NUMBER = "canary-of-a-device", "canary-said-in-a-reading", "canary-of-an-event", 1234567.0625
READINGS = [
    {"device": DEVICE, "metric": "m", "value": TEXT, "event_id": EVENT, "time": START_TIME},
    {"device": DEVICE, "metric": "m", "value": NUMBER, "time": START_TIME + 1},
]
NAMES = [DEVICE, TEXT, EVENT]
"""A number's eight bytes are looked for too, little-endian, as Arrow has them."""


def sealed(token: str) -> dict[str, bytes]:
    """What no broker may keep in clear, by name."""
    found = {name: name.encode() for name in NAMES}
    found |= {"the key": KEY.encode(), "the key's bytes": base64.urlsafe_b64decode(KEY)}
    return found | {"the number": struct.pack("<d", NUMBER), "the token": token.split("_")[2].encode()}


@pytest.mark.parametrize("codec", ["aes-gcm", "plain"])
def test_brokers_never_see_readings_in_clear(codec: str, tmp_path: Path, kafka: Kafka, database: str) -> None:
    """Frames are compressed too, so it is not enough to look for texts: nobody with another key can open one. With the codec
    ``plain`` everybody can: so the test would see it."""
    settings = {"SONDE_LOG_CODEC": codec}
    with fleet_of(tmp_path, kafka, database, settings=settings, sink=1, processor=1, api=1) as fleet:
        (sink,) = fleet.of("sink")
        chart = Chart(fleet.of("api")[0], DEVICE)
        token = fleet.create_token("edge", "--scope", "ingest", "--node", "edge")
        try:
            with counting(tmp_path, fleet, sink.port, token):
                assert sink.ask("POST", "/telemetry", json.dumps(READINGS).encode(), JSON)[0] == 202
                assert (
                    sink.ask("POST", "/telemetry", b'{"device": "%b", "value": {}}' % DEVICE.encode(), JSON)[0] == 422
                )
                wait_for(lambda: chart.got[NUMBER] == 1, "the live feed opening what another process sealed", 60)
                wait_for(partial(has_counted, fleet), "the node's readings arriving", 60)
            fleet.wait_until_all_is_stored()
        finally:
            chart.close()
        assert fleet.sql(f"select text from readings where device = '{DEVICE}' and text is not null") == [(TEXT,)]
        secrets = sealed(token)
        kept = {name for name, secret in secrets.items() if found_in(kafka, fleet, secret)}
        assert kept == set()
        frames, opened = opened_by_others(kafka, fleet)
        assert frames >= 2
        assert opened == (0 if codec == "aes-gcm" else frames)
        check_lines(fleet, tmp_path, {**secrets, "the number in digits": str(NUMBER).encode()})


def has_counted(fleet: Fleet) -> bool:
    return fleet.sql("select 1 from readings where device = 'counter' limit 1") != []


def found_in(kafka: Kafka, fleet: Fleet, secret: bytes) -> bool:
    """Whether it stands in what brokers keep: of the log, or of dead letters."""
    files = [*kafka.files_of(fleet.topic), *kafka.files_of(f"{fleet.topic}.dlq")]
    assert sum(file.stat().st_size for file in files) > 1000, "brokers keep nothing: the run is vacuous"
    return any(secret in file.read_bytes() for file in files)


def opened_by_others(kafka: Kafka, fleet: Fleet) -> tuple[int, int]:
    """How many frames the topic has, and how many of them somebody with another key can open."""
    frames = opened = 0
    opener = Opener(KeyRing.generate("another"))
    with closing(KafkaLog(kafka.connection, fleet.topic)) as log:
        for partition, (first, end) in log.ends().items():
            offset = first
            while offset < end:
                for record in log.read(partition, offset, 1 << 20, 1.0):
                    offset, frames = record.offset + 1, frames + 1
                    with suppress(SondeError):
                        opener.open(record.frame)
                        opened += 1
    return frames, opened


def check_lines(fleet: Fleet, folder: Path, secrets: dict[str, bytes]) -> None:
    """None of them stands in what a process wrote, to its lines or into its data directory."""
    for file in (file for file in folder.rglob("*") if file.is_file() and file.name != "node.ini"):
        content = file.read_bytes()
        said = [name for name, secret in secrets.items() if secret in content]
        assert not said, f"{said} in {file}"
    assert all(process.said() for process in fleet.processes)
