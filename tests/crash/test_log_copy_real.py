"""``sonde log copy`` to real Kafka, killed again and again; its partitions into PostgreSQL: ledger and readings are those of
the embedded installation."""

import random
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from sonde.assemble.log import copy as log_copy
from sonde.assemble.log.copy import copy_log
from sonde.config import load
from sonde.directory import DataDirectory
from sonde.frame import Opener
from sonde.keyring import KeyRing
from sonde.log.kafka.connection import Connection
from sonde.log.kafka.log import KafkaLog
from sonde.process.processor import Processor
from sonde.question import Ledger
from sonde.store.postgres.connections import Connections
from sonde.store.postgres.identities import PostgresIdentities
from sonde.store.postgres.store import PostgresStore
from tests.crash.test_log_copy import Installation, Told, original
from tests.processor_world import QuickClock
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.all
PARTITIONS = 4
_KILLS = 4


def test_killed_and_gone_on_with_everything_is_there_once(
    tmp_path: Path, kafka: Kafka, tables: str, connections: Connections
) -> None:
    installation = Installation(tmp_path / "data")
    installation.fill(400)
    topic = kafka.topic(PARTITIONS)
    arguments = [sys.executable, "-m", "tests.crash.test_log_copy_real"]
    arguments += [str(installation.directory.path), kafka.connection.servers, topic]
    dice, struck = random.Random(3), 0
    for _ in range(_KILLS):
        with subprocess.Popen(arguments, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(dice.random())  # the moment of the kill is what varies here
            child.kill()
            struck += child.wait() == -9
    assert subprocess.run(arguments, stdout=subprocess.PIPE, timeout=120, check=True).returncode == 0
    assert struck
    wanted_ledger, wanted = original(installation)
    with closing(KafkaLog(kafka.connection, topic)) as log, closing(PostgresStore(tables, log.id)) as store:
        identities = PostgresIdentities(connections)
        for partition in range(PARTITIONS):
            processor = Processor(
                log, store, identities, Opener(installation.ring), partition=partition, linger=0.0, clock=QuickClock()
            )
            while processor.position < log.ends()[partition][1]:
                processor.step(1.0)
        ledger = {
            (row["source"], row["lane"]): [row[name] for name in ("sent", "stored", "duplicate", "refused", "lost")]
            for row in store.ask(Ledger()).rows.to_pylist()
        }
        assert ledger == {
            key: [
                line.declared + line.duplicate + line.conflicting,
                line.stored,
                line.duplicate,
                line.refused,
                line.lost,
            ]
            for key, line in wanted_ledger.items()
        }
        assert _readings(connections) == wanted


def _readings(connections: Connections) -> Told:
    """By the names of their series, in UTC."""
    with connections.transaction(60.0) as db:
        rows = db.execute(
            "select s.device, s.metric, s.site, s.zone, s.labels, r.time, r.kind, r.value, r.text, r.quality "
            "from store.readings r join store.series s on s.id = r.series"
        ).fetchall()
    return Told(tuple(row) for row in rows)


def main() -> None:
    directory = DataDirectory.open(Path(sys.argv[1]))
    with closing(KafkaLog(Connection(sys.argv[2]), sys.argv[3])) as log:
        print("begins", flush=True)
        copy_log(directory, load().settled(), KeyRing.load(directory.keys), log, lambda done, total: None)


if __name__ == "__main__":
    log_copy._FLUSH_FRAMES = 5  # type: ignore[misc]
    main()
