"""Real processes with one role each on a real Kafka and a real PostgreSQL, and the invariants to check after any fault."""

import http.client
import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg

from sonde.log.kafka.log import KafkaLog
from tests.crash.bounds import MEGABYTE, Bounds, bytes_of
from tests.crash.process import Process
from tests.crash.road import Client, wait_for
from tests.servers.kafka import Kafka

KEY: Final = "Y_pZYMdjaCfcxZN3HGFJp9jpDN2N86vR9zVwlwy2OvI="
PARTITIONS: Final = 4
Ways = Mapping[str, str]
NONE: Final[Ways] = {}
BOUNDS: Final = {
    "sink": Bounds(300 * MEGABYTE, files=64 << 10, said=64 << 10),
    "processor": Bounds(450 * MEGABYTE, files=64 << 10, said=64 << 10),
    "api": Bounds(300 * MEGABYTE, files=64 << 10, said=64 << 10),
}
"""What a role may take under the small load of these tests: two thirds of it is Python and its libraries."""


class Fleet:
    """Sinks, processors and apis on one topic and one database; ``database`` is the address that tests ask, and those of the
    processes of a role may go another way to it (``ways``). ``settings`` are for all of them."""

    def __init__(
        self, folder: Path, kafka: Kafka, database: str, ways: Ways = NONE, copies: int = 1, settings: Ways = NONE
    ) -> None:
        self.folder, self.kafka, self.database = folder, kafka, database
        self.topic = kafka.topic(partitions=PARTITIONS)
        self.token, self.copies = "", copies
        self._ways = ways
        self._numbers = itertools.count()
        self.processes: list[Process] = []
        self.environment = {
            **{name: text for name, text in os.environ.items() if not name.startswith(("SONDE_", "KAFKA_"))},
            "SONDE_LOG_URL": kafka.url(self.topic),
            "SONDE_LOG_ENCRYPTION_KEY": KEY,
            "SONDE_KAFKA_GROUP_ID": self.topic,
            "SONDE_KAFKA_TOPIC_DLQ": f"{self.topic}.dlq",
            "SONDE_KAFKA_REPLICATION": str(copies),
            **settings,
        }

    def start(self, **roles: int) -> None:
        """So many processes of each role."""
        made = [self.add(role) for role, count in roles.items() for _ in range(count)]
        for process in made:
            process.launch()
        for process in made:
            wait_for(process.ready, f"{process.role} answering (I4)", 120)
        self.token = self.create_token("test", "--scope", "admin")
        for process in self.processes:
            process.token = self.token

    def add(self, role: str) -> Process:
        database = self._ways.get(role, self.database)
        environment = {**self.environment, "DATABASE_URL": database}
        process = Process(self.folder, role, next(self._numbers), environment)
        process.token = self.token
        self.processes.append(process)
        return process

    def of(self, role: str) -> list[Process]:
        return [process for process in self.processes if process.role == role]

    def create_token(self, name: str, *options: str) -> str:
        command = [
            sys.executable,
            "-m",
            "sonde",
            "token",
            "create",
            name,
            "--data",
            str(self.folder / "none"),
            *options,
        ]
        environment = {**self.environment, "DATABASE_URL": self.database}
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def close(self) -> None:
        for process in self.processes:
            process.end()

    # -- as a client of the road sees it

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Ask any of the sinks: the next one if one does not answer."""
        failed: OSError | None = None
        for sink in self.of("sink"):
            try:
                return sink.ask(method, path, body, headers)
            except OSError as error:
                failed = error
        assert failed is not None
        raise failed

    def get(self, path: str) -> Any:
        status, _, body = self.of("api")[0].ask("GET", path)
        assert status == 200, body
        return json.loads(body)

    def sql(self, text: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database, autocommit=True) as connection:
            connection.execute("set search_path = sonde")
            return connection.execute(text.encode()).fetchall()

    def stored(self) -> dict[int, int]:
        """By partition, the next offset that the store will take."""
        rows = self.sql("select partition, next_offset from store.progress")
        return {int(partition): int(place) for partition, place in rows}

    def wait_for_storing(self, seconds: float = 120.0) -> None:
        """Until something more is stored."""
        before = self.stored()
        wait_for(lambda: self.stored() != before, "readings being stored (I4)", seconds)

    def dead_letters(self) -> int:
        """How many there are."""
        return sum(end - first for first, end in self._ends(f"{self.topic}.dlq").values())

    def _ends(self, topic: str) -> Mapping[int, tuple[int, int]]:
        log = KafkaLog(self.kafka.connection, topic)
        try:
            return log.ends()
        finally:
            log.close()

    def wait_until_all_is_stored(self, seconds: float = 60.0) -> None:
        """Until the store has come to where the log ends now."""
        ends = {partition: end for partition, (_, end) in self._ends(self.topic).items()}

        def done() -> bool:
            try:
                stored = self.stored()
            except psycopg.Error:
                return False
            return all(stored.get(partition, 0) >= end for partition, end in ends.items())

        wait_for(done, "the processors reaching the end of the log (I4)", seconds)


@contextmanager
def fleet_of(
    folder: Path,
    kafka: Kafka,
    database: str,
    *,
    ways: Ways = NONE,
    copies: int = 1,
    settings: Ways = NONE,
    **roles: int,
) -> Iterator[Fleet]:
    """A fleet, and no process left behind."""
    fleet = Fleet(folder, kafka, database, ways, copies, settings)
    try:
        fleet.start(**roles)
        yield fleet
    finally:
        fleet.close()


@dataclass
class FleetClient(Client):
    """The same as on the embedded road; ``up`` is the fleet."""

    up: Any

    def check(self) -> None:
        """I1 and I2, as on the embedded road; and whoever was told to come later was told when."""
        assert all(after for _, after in self.busy), "an answer that says later, and not when"
        super().check()


@contextmanager
def senders(fleet: Fleet, count: int) -> Iterator[list[FleetClient]]:
    """``count`` clients under way."""
    stop = threading.Event()
    made = [FleetClient(up=fleet, name=f"client-{i}") for i in range(count)]
    threads = [threading.Thread(target=client.run, args=(stop,)) for client in made]
    for thread in threads:
        thread.start()
    try:
        yield made
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def wait_for_more(clients: list[FleetClient], seconds: float = 60.0) -> None:
    """Until each client has another confirmation (I4)."""
    before = {client.name: len(client.confirmed) for client in clients}
    wait_for(
        lambda: all(len(client.confirmed) > before[client.name] for client in clients),
        "readings taken in (I4)",
        seconds,
    )


def check_fleet(
    fleet: Fleet, clients: list[FleetClient], *, least: int = 20, bounds: Mapping[str, Bounds] = BOUNDS
) -> None:
    """I1 to I6, once all is stored."""
    fleet.wait_until_all_is_stored()
    for client in clients:
        assert len(client.confirmed) >= least, "hardly anything was confirmed: the run is vacuous"
        client.check()
    differing = fleet.sql(
        """
        with batch as (
          select r.device, r.metric, r.site, r.zone, r.labels, w.width,
            date_bin(case w.width when '5m' then interval '5 min' else interval '15 min' end, r.time,
              timestamptz '1970-01-01 00:00Z') as start,
            count(*) as n, sum(r.value) as s, min(r.value) as lo, max(r.value) as hi
          from readings r, (values ('5m'), ('15m')) as w(width)
          where r.kind <= 2 and r.quality in (0, 2) group by 1, 2, 3, 4, 5, 6, 7)
        select count(*) from batch b full join windows w
          on (b.device, b.metric, b.site, b.zone, b.labels, b.width, b.start)
           = (w.device, w.metric, w.site, w.zone, w.labels, w.width, w.start)
        where b.n is distinct from w.count or b.lo is distinct from w.min or b.hi is distinct from w.max
           or abs(b.s - w.sum) > 1e-6 * greatest(1, abs(b.s)) or b.n is null or w.count is null
        """
    )
    assert differing == [(0,)], "windows differ from a batch computation (I3)"
    rows = fleet.get("/ledger")
    lines = rows if isinstance(rows, list) else rows["ledger"]
    for line in lines:
        parts = sum(line[k] for k in ("stored", "duplicate", "refused", "set_aside", "lost", "missing"))
        assert line["sent"] == parts, line
        assert line["missing"] == 0, line
    ((stored,),) = fleet.sql("select count(*) from readings")
    assert sum(line["stored"] for line in lines) == stored, "the ledger says something else than the readings (I5)"
    check_bounds(fleet, bounds)


def check_bounds(fleet: Fleet, bounds: Mapping[str, Bounds]) -> None:
    """I6: memory and files of every process, in whichever of its lives; nothing became a dead letter; and database and topic
    take no more than what was stored explains."""
    for process in fleet.processes:
        bounds[process.role].check(process.output.stem, process.measure(), process.data, process.output)
    assert fleet.dead_letters() == 0, "something became a dead letter (I6)"
    ((stored, database),) = fleet.sql("select count(*), pg_database_size(current_database()) from readings")
    topic = sum(bytes_of(file) for file in fleet.kafka.files_of(fleet.topic)) / fleet.copies
    print(f"{stored:,} readings: {database:,} bytes in the database, {topic:,.0f} in the topic")
    assert database <= 32 * MEGABYTE + 200 * stored, f"the database takes {database:,} bytes (I6)"
    assert topic <= 8 * MEGABYTE + 100 * stored, f"the topic takes {topic:,.0f} bytes (I6)"
