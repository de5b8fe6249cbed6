"""Kafka, PostgreSQL and the roles of Sonde in processes of their own, all on this machine, as they are measured."""

import base64
import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg

from bench.servers import Server, free_port, running
from tests.servers.kafka import Kafka
from tests.servers.postgres import PostgresServer, postgres_server

SONDE = (sys.executable, "-m", "sonde")
POSTGRES = {"shared_buffers": "1GB", "max_wal_size": "8GB", "checkpoint_timeout": "15min", "max_connections": "100"}
HEAP = "512m"


@dataclass(frozen=True, slots=True)
class Machines:
    """One broker and one database server, shared by all runs of a benchmark."""

    kafka: Kafka
    postgres: PostgresServer
    folder: Path


@contextlib.contextmanager
def machines() -> Iterator[Machines]:
    """Until the block ends. Both are durable as in earnest: fsync on, acks of all copies."""
    with tempfile.TemporaryDirectory(prefix="sonde-scale-") as name, postgres_server(**POSTGRES) as postgres:
        kafka = Kafka(Path(name) / "kafka", heap=HEAP)
        try:
            kafka.start()
            yield Machines(kafka, postgres, Path(name))
        finally:
            kafka.close()


@dataclass(slots=True)
class Grown:
    """Sonde in many processes. ``roles`` has the servers of each role."""

    machines: Machines
    database: str
    topic: str
    token: str = ""
    roles: dict[str, list[Server]] = field(default_factory=dict)
    _asking: psycopg.Connection[tuple[int]] | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    @property
    def sinks(self) -> Sequence[int]:
        """Their ports."""
        return [server.port for server in self.roles["sink"]]

    def stored(self) -> int:
        """Readings that are committed, and can be asked for."""
        try:
            return self._ask()
        except psycopg.OperationalError:  # the database went and came back
            self.close()
            return self._ask()

    def _ask(self) -> int:
        if self._asking is None or self._asking.closed:
            url = self.machines.postgres.url(self.database, "postgres")
            self._asking = psycopg.connect(url, autocommit=True)  # one connection: each new one would cost the database
        row = self._asking.execute("select coalesce(sum(stored), 0)::bigint from store.ledger").fetchone()
        return row[0] if row else 0

    def close(self) -> None:
        if self._asking is not None:
            self._asking.close()

    def wait_until_stored(self, rows: int, seconds: float = 1800.0) -> float:
        """When that was; fails if it never is."""
        deadline = time.monotonic() + seconds
        while (stored := self.stored()) < rows:
            if time.monotonic() > deadline:
                raise SystemExit(f"{rows:,} readings were confirmed, and {stored:,} are stored: {self.problems()}")
            time.sleep(0.05)
        return time.perf_counter()

    def check(self, rows: int) -> None:
        """An answer has exactly so many readings."""
        api = Server(self.roles["api"][0].port, self.roles["api"][0].process, self.machines.folder, self.token)
        found = api.sql("select count(*) from readings")
        if found != [[rows]]:
            raise SystemExit(f"{rows:,} readings were confirmed, and an answer counts {found}")

    def problems(self) -> str:
        """What the last lines of each role say."""
        said = [
            (server.directory / "output").read_text(errors="replace")[-500:]
            for servers in self.roles.values()
            for server in servers
        ]
        return "\n".join(said)

    def seconds(self) -> dict[str, float]:
        """Processor time used so far, by what used it."""
        used = {role: sum(map(_seconds, (s.process for s in servers))) for role, servers in self.roles.items()}
        used["broker"] = sum(_seconds(psutil.Process(broker.pid)) for broker in self.machines.kafka.brokers)
        used["database"] = _seconds(psutil.Process(self.machines.postgres.pid))
        return used

    def sizes(self) -> dict[str, int]:
        """Bytes that the readings take: in the topic, in the database."""
        [(size,)] = self.machines.postgres.execute(f"select pg_database_size('{self.database}')")
        folders = [
            folder for broker in self.machines.kafka.brokers for folder in broker.folder.glob(f"data/{self.topic}-*")
        ]
        files = [file for folder in folders for file in folder.glob("*.log")]
        return {"log": sum(file.stat().st_size for file in files), "database": int(size)}


def _seconds(process: psutil.Process) -> float:
    """With those of its children, also of those that have ended."""
    total = 0.0
    for one in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            total += times.user + times.system
            if one.pid == process.pid:
                total += times.children_user + times.children_system
    return total


@contextlib.contextmanager
def grown(machines: Machines, *, partitions: int, processors: int = 1, sinks: int = 1) -> Iterator[Grown]:
    """A fresh topic, a fresh database, and so many of each role; with a token that may do everything."""
    name = secrets.token_hex(4)
    folder = machines.folder / name
    folder.mkdir()
    with machines.postgres.database() as database, contextlib.ExitStack() as stack:
        made = Grown(machines, database, f"events-{name}")
        stack.callback(made.close)
        config = folder / "config.ini"
        config.write_text(_settings(made, partitions, name))
        for role, number in (("api", 1), ("sink", sinks), ("processor", processors)):
            servers = [stack.enter_context(_role(role, folder / f"{role}-{n}", config)) for n in range(number)]
            made.roles[role] = servers
        made.token = _token(config, folder / "api-0" / "data")
        yield made


def _settings(made: Grown, partitions: int, name: str) -> str:
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    return f"""[log]
url = {made.machines.kafka.url(made.topic)}
encryption_key = {key}
[store]
url = {made.machines.postgres.url(made.database)}
[kafka]
topic_dlq = letters-{name}
group_id = bench-{name}
partitions = {partitions}
replication = 1
"""


@contextlib.contextmanager
def _role(role: str, folder: Path, config: Path) -> Iterator[Server]:
    folder.mkdir()
    port = free_port()
    place = ["--data", str(folder / "data"), "--port", str(port), "--config", str(config), "--plain"]
    with running([*SONDE, role, *place], port, folder, "/health/live") as server:
        yield server


def _token(config: Path, data: Path) -> str:
    command = [*SONDE, "token", "create", f"bench-{os.getpid()}", "--scope", "admin"]
    command += ["--data", str(data), "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout.strip()
