"""Brokers that die, stop and freeze under the log: what was confirmed is there, in order; all else is ``Retry``."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from sonde.errors import Retry
from sonde.log.kafka.log import KafkaLog
from sonde.ports import Record
from sonde.testing.log_contract import ROOMY, check_offsets, frames
from tests.servers.kafka import Broker, Kafka

pytestmark = pytest.mark.all

DEADLINE = 90.0
SECONDS = 4.0
"""After which an append gives up."""


class Writers:
    """Threads that append until they are told to stop: one for each partition, as sinks do."""

    def __init__(self, log: KafkaLog, partitions: int) -> None:
        self.confirmed: list[dict[int, bytes]] = [{} for _ in range(partitions)]
        self.refused = 0
        self._log = log
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(partitions)
        self._running: list[Future[None]] = [self._pool.submit(self._write, n) for n in range(partitions)]

    def more(self, count: int = 10) -> None:
        """Wait until each of them has so many more confirmed."""
        wanted = [len(some) + count for some in self.confirmed]
        until(lambda: all(len(some) >= n for some, n in zip(self.confirmed, wanted, strict=True)), self._running)

    def stop(self) -> None:
        self._stop.set()
        for running in self._running:
            running.result(DEADLINE)
        self._pool.shutdown()

    def _write(self, partition: int) -> None:
        for frame in iter(lambda: frames(1, size=200)[0], b""):
            if self._stop.is_set():
                return
            try:
                self.confirmed[partition][self._log.append(partition, [frame])] = frame
            except Retry:
                self.refused += 1


def until(true: Callable[[], bool], running: Sequence[Future[None]] = ()) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + DEADLINE
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        for one in running:
            if one.done():
                one.result()
        time.sleep(0.02)


def check(log: KafkaLog, writers: Writers) -> None:
    """All that was confirmed is in the log where it was said to be, in the order in which it was written."""
    for partition, confirmed in enumerate(writers.confirmed):
        assert list(confirmed) == sorted(confirmed)
        found = read_all(log, partition)
        check_offsets(found)
        there = {record.offset: record.frame for record in found}
        assert {offset: there[offset] for offset in confirmed} == confirmed
        assert len(set(there.values())) == len(there), "a frame is there twice"


def read_all(log: KafkaLog, partition: int) -> list[Record]:
    found: list[Record] = []
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        try:
            step = log.read(partition, len(found), ROOMY)
        except Retry:
            continue
        if not step:
            return found
        found += step
    raise AssertionError("the log was never read to its end")


@pytest.fixture
def log(kafka_of_three: Kafka) -> Iterator[KafkaLog]:
    log = KafkaLog(kafka_of_three.connection, kafka_of_three.topic(3), seconds=SECONDS)
    try:
        yield log
    finally:
        log.close()
        kafka_of_three.start()


@pytest.mark.parametrize("end", [Broker.kill, Broker.stop])
def test_the_leader_goes_while_frames_are_appended(
    kafka_of_three: Kafka, log: KafkaLog, end: Callable[[Broker], None]
) -> None:
    writers = Writers(log, 3)
    writers.more()
    leader = kafka_of_three.leader(log.name)
    end(leader)
    writers.more()
    leader.start()
    writers.more()
    writers.stop()
    check(log, writers)


def test_too_few_copies(kafka_of_three: Kafka, log: KafkaLog) -> None:
    written = frames(3)
    log.append(0, written[:1])
    leader = kafka_of_three.leader(log.name)
    others = [broker for broker in kafka_of_three.brokers if broker is not leader]
    for broker in others:
        broker.kill()
    with pytest.raises(Retry):
        log.append(0, written[1:2])
    kafka_of_three.start()
    until(lambda: takes(log, written[2:]))
    assert [record.frame for record in read_all(log, 0)][-1:] == written[2:]


def test_a_broker_that_is_away_and_comes_back(kafka: Kafka) -> None:
    (broker,) = kafka.brokers
    log = KafkaLog(kafka.connection, kafka.topic(3), seconds=SECONDS)
    writers = Writers(log, 3)
    writers.more()
    broker.kill()
    try:
        until(lambda: writers.refused >= 3)
        until(lambda: raises_retry(lambda: log.read(0, 0, 1)))
        until(lambda: raises_retry(log.ends))
        until(lambda: raises_retry(lambda: log.read(0, 1 << 40, ROOMY)))
    finally:
        kafka.start()
    writers.more()
    writers.stop()
    check(log, writers)
    log.close()


def test_a_broker_that_answers_nothing(kafka: Kafka) -> None:
    (broker,) = kafka.brokers
    log = KafkaLog(kafka.connection, kafka.topic(), seconds=SECONDS)
    writers = Writers(log, 1)
    writers.more()
    broker.freeze()
    try:
        until(lambda: writers.refused >= 2)
    finally:
        broker.thaw()
    writers.more()
    writers.stop()
    check(log, writers)
    log.close()


def test_a_log_can_be_closed_while_no_broker_answers(kafka: Kafka) -> None:
    (broker,) = kafka.brokers
    log = KafkaLog(kafka.connection, kafka.topic(), seconds=SECONDS)
    log.append(0, frames(1))
    broker.freeze()
    try:
        with ThreadPoolExecutor(2) as pool:
            append = pool.submit(log.append, 0, frames(1))
            read = pool.submit(log.read, 0, 1, ROOMY, DEADLINE)
            pool.submit(log.close).result(DEADLINE)
            with pytest.raises(Retry):
                append.result(DEADLINE)
            assert raises_retry(lambda: read.result(DEADLINE)) or not read.result(DEADLINE)
    finally:
        broker.thaw()


def takes(log: KafkaLog, written: list[bytes]) -> bool:
    try:
        log.append(0, written)
    except Retry:
        return False
    return True


def raises_retry(call: Callable[[], object]) -> bool:
    try:
        call()
    except Retry:
        return True
    return False
