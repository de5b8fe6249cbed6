"""Real Kafka brokers for tests: KRaft, on loopback, as many as wanted, each a process that can be killed.

Brokers are slow to start, so a test makes a topic of its own rather than a broker of its own::

    def test_it(kafka: Kafka) -> None:
        log = KafkaLog(kafka.connection, kafka.topic(partitions=4))
"""

import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions, NewTopic

from sonde.log.kafka.connection import Connection
from tests.servers.kafka_jars import jars, needed

HEAP: Final = "256m"
_START_SECONDS: Final = 120.0
_PORTS: Final = range(15_000, 32_000)
"""Below those that the system gives to connections, so that a stopped broker finds its own again."""

_LOGGING: Final = """
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %m (%c)%n
rootLogger.level = WARN
rootLogger.appenderRef.out.ref = out
"""
_SETTINGS: Final = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL",
    "inter.broker.listener.name": "PLAINTEXT",
    "auto.create.topics.enable": "false",
    "unclean.leader.election.enable": "false",
    "offsets.topic.num.partitions": "2",
    "transaction.state.log.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "broker.session.timeout.ms": "6000",
    "broker.heartbeat.interval.ms": "500",
    "log.retention.check.interval.ms": "1000",
    "log.cleaner.dedupe.buffer.size": "4194304",
    "num.network.threads": "2",
    "num.io.threads": "4",
}


class Broker:
    """One broker, as a process. Its data stays while it is away."""

    def __init__(self, number: int, folder: Path, settings: Mapping[str, str], cluster: str, heap: str = HEAP) -> None:
        self.number = number
        self.folder = folder
        self._heap = heap
        self._process: subprocess.Popen[bytes] | None = None
        data = folder / "data"
        data.mkdir(parents=True)
        (folder / "server.properties").write_text(
            "".join(f"{key}={value}\n" for key, value in {**settings, "log.dirs": str(data)}.items())
        )
        (folder / "log4j2.properties").write_text(_LOGGING)
        (data / "meta.properties").write_text(
            f"version=1\ncluster.id={cluster}\nnode.id={number}\ndirectory.id={_uuid()}\n"
        )

    @property
    def output(self) -> str:
        """What it has said."""
        path = self.folder / "output"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, or start it again; it is ready some seconds later."""
        assert not self.runs
        java = [needed("java", "openjdk-17-jre-headless"), f"-Xmx{self._heap}", "-Xms64m", "-XX:+UseSerialGC"]
        java += ["-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Djava.awt.headless=true"]
        java += [f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}", "-cp", f"{jars()}/*", "kafka.Kafka"]
        setpriv = [needed("setpriv", "util-linux"), "--pdeathsig", "KILL"]  # it must not outlive the tests
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [*setpriv, *java, str(self.folder / "server.properties")],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
            )

    def kill(self) -> None:
        """As a power cut would end it."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end; it hands over what it leads. One that does not is killed."""
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """It answers nothing, but its connections stay open, until :meth:`thaw`."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        process = self._process
        if process is None:
            return
        self._process = None
        process.send_signal(how)
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


class Kafka:
    """A cluster of brokers. ``settings`` are further ones of every broker; ``more`` are listeners by name, such as
    ``SASL_SSL``, beside the plain one."""

    def __init__(
        self,
        folder: Path,
        brokers: int = 1,
        *,
        settings: Mapping[str, str] | None = None,
        more: Sequence[str] = (),
        heap: str = HEAP,
    ) -> None:
        self.brokers: list[Broker] = []
        self._admin: AdminClient | None = None
        ports = {name: _free_ports(brokers) for name in ("CONTROLLER", "PLAINTEXT", *more)}
        self._servers = {name: ",".join(f"127.0.0.1:{port}" for port in some) for name, some in ports.items()}
        self.servers = self._servers["PLAINTEXT"]
        self.connection = Connection(self.servers)
        voters = ",".join(f"{number}@127.0.0.1:{port}" for number, port in enumerate(ports["CONTROLLER"], 1))
        cluster = _uuid()
        for number in range(1, brokers + 1):
            mine = {name: f"{name}://127.0.0.1:{some[number - 1]}" for name, some in ports.items()}
            own = {
                "node.id": str(number),
                "controller.quorum.voters": voters,
                "listeners": ",".join(mine.values()),
                "advertised.listeners": ",".join(mine[name] for name in ("PLAINTEXT", *more)),
                "default.replication.factor": str(min(3, brokers)),
                "offsets.topic.replication.factor": str(min(3, brokers)),
                "transaction.state.log.replication.factor": str(min(3, brokers)),
                "transaction.state.log.min.isr": str(min(2, brokers)),
                "share.coordinator.state.topic.replication.factor": str(min(3, brokers)),
                "share.coordinator.state.topic.min.isr": str(min(2, brokers)),
            }
            every = {**_SETTINGS, **own, **(settings or {})}
            self.brokers.append(Broker(number, folder / str(number), every, cluster, heap))

    def servers_of(self, listener: str) -> str:
        """The addresses of one of ``more``."""
        return self._servers[listener]

    def start(self) -> None:
        """Start every broker that does not run, and wait until all are there."""
        for broker in self.brokers:
            if not broker.runs:
                broker.start()
        self.wait()

    def wait(self) -> None:
        """Until all brokers that run are part of the cluster, and one of them leads it."""
        running = {b.number for b in self.brokers if b.runs}
        admin = self.admin()
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            for broker in self.brokers:
                assert broker.runs or broker.number not in running, f"a broker ended:\n{broker.output[-4000:]}"
            try:
                found = admin.describe_cluster(request_timeout=5).result()
                if {node.id for node in found.nodes} >= running and found.controller is not None:
                    return
            except KafkaException:
                time.sleep(0.1)
        raise AssertionError("Kafka did not start:\n" + "\n".join(b.output[-4000:] for b in self.brokers))

    def admin(self) -> AdminClient:
        """A client of the tests' own."""
        if self._admin is None:
            self._admin = AdminClient(
                {"bootstrap.servers": self.servers, "log_level": 0, "reconnect.backoff.max.ms": 500}
            )
        return self._admin

    def topic(self, partitions: int = 1, *, name: str = "", **settings: str) -> str:
        """Make a topic of a new name, on as many brokers as a topic is kept on; names of ``settings`` have ``_`` for
        each dot. Its name, once every partition has a leader."""
        name = name or f"test-{secrets.token_hex(6)}"
        config = {"max.message.bytes": str(96 << 20)} | {k.replace("_", "."): v for k, v in settings.items()}
        copies = min(3, len(self.brokers))
        if copies == 3:
            config.setdefault("min.insync.replicas", "2")
        admin = self.admin()
        admin.create_topics([NewTopic(name, partitions, copies, config=config)])[name].result(60)
        self.until(lambda: self._led(admin, name, partitions), f"the topic {name} has leaders")
        return name

    def add_partitions(self, topic: str, total: int) -> None:
        """Let a topic have more of them."""
        self.admin().create_partitions([NewPartitions(topic, total)])[topic].result(60)
        self.until(lambda: self._led(self.admin(), topic, total), f"the new partitions of {topic} have leaders")

    def url(self, topic: str) -> str:
        """What stands in ``[log] url`` for a topic of this cluster."""
        return f"kafka://{self.servers}/{topic}"

    def files_of(self, topic: str) -> list[Path]:
        """The files in which brokers keep what is in a topic, each copy of it."""
        return [file for b in self.brokers for file in sorted((b.folder / "data").glob(f"{topic}-*/*.log"))]

    def leader(self, topic: str, partition: int = 0) -> Broker:
        """The broker that leads a partition."""
        found: list[Broker] = []

        def find() -> bool:
            number = self.admin().list_topics(topic, timeout=10).topics[topic].partitions[partition].leader
            found.extend(b for b in self.brokers if b.number == number and b.runs)
            return bool(found)

        self.until(find, f"partition {partition} of {topic} has a leader")
        return found[0]

    def until(self, true: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
        """Wait until something is so; what Kafka says meanwhile does not matter."""
        deadline = time.monotonic() + seconds
        last: object = ""
        while time.monotonic() < deadline:
            try:
                if true():
                    return
            except KafkaException as error:
                last = error
            time.sleep(0.05)
        raise AssertionError(f"it never came true that {what} {last}")

    def close(self) -> None:
        """End all brokers and remove what they kept."""
        for broker in self.brokers:
            broker.kill()
        for broker in self.brokers:
            shutil.rmtree(broker.folder, ignore_errors=True)

    def _led(self, admin: AdminClient, name: str, partitions: int) -> bool:
        topic = admin.list_topics(name, timeout=10).topics[name]
        led = [p for p in topic.partitions.values() if p.leader > 0 and len(p.isrs) == len(p.replicas)]
        return len(led) == partitions


def _uuid() -> str:
    """As Kafka writes them: 16 bytes in base64."""
    made = uuid4().bytes
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    number, text = int.from_bytes(made), ""
    while len(text) < 21:
        number, digit = divmod(number, len(alphabet))
        text += alphabet[digit]
    return text + "A"


def _free_ports(count: int) -> list[int]:
    held: list[socket.socket] = []
    chance = random.Random(os.urandom(8))
    try:
        while len(held) < count:
            candidate = socket.socket()
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                candidate.bind(("127.0.0.1", chance.choice(_PORTS)))
            except OSError:
                candidate.close()
                continue
            held.append(candidate)
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """One broker, for every test of this process."""
    yield from _cluster(tmp_path_factory.mktemp("kafka"), 1)


@pytest.fixture(scope="session")
def kafka_of_three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """Three brokers, for every test of this process. A test that takes one away brings it back."""
    yield from _cluster(tmp_path_factory.mktemp("kafka3"), 3)


def _cluster(folder: Path, brokers: int) -> Iterator[Kafka]:
    cluster = Kafka(folder, brokers)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()
