"""The log on real Kafka, beyond the contract: several writers, readers anywhere, bounds, topics that change."""

import os
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from confluent_kafka import Producer

from sonde.entry import Body, Entry
from sonde.errors import Hold, NotFound, Retry, TooLarge
from sonde.frame import Codec, Sealer
from sonde.keyring import KeyRing
from sonde.log.check import check
from sonde.log.kafka.connection import Connection
from sonde.log.kafka.log import KafkaLog
from sonde.testing.log_contract import ROOMY, check_offsets, everything, frames
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.all

DEADLINE = 60.0


@pytest.fixture
def log(kafka: Kafka) -> Iterator[KafkaLog]:
    log = KafkaLog(kafka.connection, kafka.topic())
    yield log
    log.close()


def test_two_programs_write_one_partition(kafka: Kafka) -> None:
    topic = kafka.topic()
    logs = [KafkaLog(kafka.connection, topic) for _ in range(2)]
    lock = threading.Lock()
    placed: dict[int, bytes] = {}

    def write(log: KafkaLog) -> None:
        for frame in frames(40, size=300):
            offset = log.append(0, [frame])
            with lock:
                assert offset not in placed
                placed[offset] = frame

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(write, log) for log in logs for _ in range(2)]:
            done.result(DEADLINE)
    found = everything(logs[0])
    check_offsets(found)
    assert {record.offset: record.frame for record in found} == placed
    assert {record.offset: record.frame for record in everything(logs[1])} == placed
    for log in logs:
        log.close()


def test_a_reader_hears_of_what_another_program_appends(kafka: Kafka, log: KafkaLog) -> None:
    topic = kafka.topic(2)
    one, other = KafkaLog(kafka.connection, topic), KafkaLog(kafka.connection, topic)
    written = frames(2)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(one.read, 1, 0, ROOMY, DEADLINE)
        other.append(1, written[:1])
        assert [r.frame for r in waiting.result(DEADLINE)] == written[:1]
        ahead = pool.submit(one.read, 1, 1, ROOMY, DEADLINE)
        other.append(1, written[1:])
        assert [r.frame for r in ahead.result(DEADLINE)] == written[1:]
    one.close()
    other.close()


def test_what_goes_into_several_partitions_goes_together(kafka: Kafka) -> None:
    with closing(KafkaLog(kafka.connection, kafka.topic(8))) as log:
        for turn in range(3):
            written = dict(enumerate(frames(8, size=300)))
            assert log.append_together(written) == dict.fromkeys(range(8), turn)
            assert {n: log.read(n, turn, ROOMY)[0].frame for n in written} == written
        large = Sealer(KeyRing.generate(), Codec.PLAIN).seal(Body([Entry(1, payload=os.urandom(2 * ROOMY))]), 1)
        found = dict(log.append_together({**written, 5: large}))
        assert isinstance(found.pop(5), TooLarge), "one that cannot be taken does not keep the others away"
        assert found == dict.fromkeys(sorted({*range(8)} - {5}), 3)
        assert [log.ends()[n][1] for n in range(8)] == [4, 4, 4, 4, 4, 3, 4, 4]
        with pytest.raises(NotFound):
            log.append_together({0: written[0], 8: written[1]})


def test_readers_anywhere_at_the_same_time(log: KafkaLog) -> None:
    written = frames(400, size=2000)
    log.append(0, written)
    chance = random.Random(6)
    starts = [chance.randrange(len(written)) for _ in range(12)]

    def follow(start: int) -> bool:
        found = everything(log, offset=start, limit=20_000)
        check_offsets(found, start)
        return [r.frame for r in found] == written[start:]

    def glance(at: int) -> bool:
        (record, *_) = log.read(0, at, 1)
        return record.offset == at and record.frame == written[at]

    with ThreadPoolExecutor(8) as pool:
        following = [pool.submit(follow, start) for start in starts]
        looking = [pool.submit(glance, start) for start in starts]
        assert all(done.result(DEADLINE) for done in (*following, *looking))


def test_a_reader_ahead_of_the_end_waits_until_it_comes(log: KafkaLog) -> None:
    written = frames(4)
    log.append(0, written[:1])
    assert list(log.read(0, 3, ROOMY)) == []
    assert list(log.read(0, 3, ROOMY, wait=0.1)) == []
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(log.read, 0, 3, ROOMY, DEADLINE)
        log.append(0, written[1:])
        assert [(r.offset, r.frame) for r in waiting.result(DEADLINE)] == [(3, written[3])]


def test_what_is_fetched_ahead_is_bounded(kafka: Kafka) -> None:
    budget, size = 3 << 20, 100_000
    log = KafkaLog(kafka.connection, kafka.topic(3), buffer_bytes=budget)
    written = frames(150, size=size)
    for partition in range(3):
        log.append(partition, written)
    offsets = dict.fromkeys(range(3), 0)
    found: dict[int, list[bytes]] = {n: [] for n in offsets}
    while any(offset < len(written) for offset in offsets.values()):
        for partition in offsets:  # in turn, so that each must wait for room that the others take
            for record in log.read(partition, offsets[partition], 2 * size):
                found[partition].append(record.frame)
                offsets[partition] = record.offset + 1
            assert log.held_bytes() <= 3 * budget
    assert found == dict.fromkeys(range(3), written)
    log.close()


def test_the_largest_frame_fits_and_a_larger_one_is_refused(kafka: Kafka) -> None:
    log = KafkaLog(kafka.connection, kafka.topic(max_message_bytes=str(17 << 20)))
    room = log.max_frame_bytes - len(_frame_of(1))
    largest, too_large = _frame_of(room - 1000), _frame_of(room + 1000)
    assert len(largest) <= log.max_frame_bytes < len(too_large)
    with pytest.raises(TooLarge):
        log.append(0, [too_large])
    assert log.append(0, [largest, *frames(1)]) == 0
    assert [r.offset for r in everything(log)] == [0, 1]
    assert log.read(0, 0, 1)[0].frame == largest
    log.close()


def test_a_cut_to_the_frame(log: KafkaLog) -> None:
    written = frames(10)
    log.append(0, written)
    assert len(log.read(0, 0, ROOMY)) == 10
    log.cut(0, 6)
    assert log.ends() == {0: (6, 10)}
    with pytest.raises(NotFound):
        log.read(0, 5, ROOMY)
    assert [r.frame for r in everything(log, offset=6)] == written[6:]


def test_a_cut_by_another_program_under_a_reader(kafka: Kafka) -> None:
    topic = kafka.topic()
    one, other = KafkaLog(kafka.connection, topic), KafkaLog(kafka.connection, topic)
    one.append(0, frames(5))
    other.cut(0, 3)
    with pytest.raises(NotFound):
        one.read(0, 1, ROOMY)
    assert [r.offset for r in one.read(0, 3, ROOMY)] == [3, 4]
    one.close()
    other.close()


def test_a_topic_that_was_deleted_holds_everything(kafka: Kafka) -> None:
    topic = kafka.topic()
    log = KafkaLog(kafka.connection, topic, seconds=5.0)
    log.append(0, frames(1))
    kafka.admin().delete_topics([topic])[topic].result(DEADLINE)
    kafka.until(lambda: _holds(log, "gone"), "the log says that its topic is gone")
    with pytest.raises(Hold, match="gone"):
        log.append(0, frames(1))
    with pytest.raises(Hold, match="gone"):
        log.read(0, 0, ROOMY)
    log.close()
    with pytest.raises(Hold, match="kafka-topics"):
        KafkaLog(kafka.connection, topic)


def test_a_topic_that_was_made_anew_is_another_log(kafka: Kafka) -> None:
    topic = kafka.topic()
    log = KafkaLog(kafka.connection, topic, seconds=5.0)
    log.append(0, frames(3))
    admin = kafka.admin()
    admin.delete_topics([topic])[topic].result(DEADLINE)
    kafka.until(lambda: topic not in admin.list_topics(timeout=10).topics, "the topic is gone")
    kafka.topic(name=topic)
    kafka.until(lambda: _holds(log, "anew"), "the log says that its topic is another one")
    with pytest.raises(Hold, match=log.id):
        log.append(0, frames(1))
    again = KafkaLog(kafka.connection, topic)
    assert again.id != log.id
    assert again.ends() == {0: (0, 0)}
    again.close()
    log.close()


def test_partitions_that_were_added_are_there(kafka: Kafka) -> None:
    topic = kafka.topic(2)
    log = KafkaLog(kafka.connection, topic)
    with pytest.raises(NotFound):
        log.append(3, frames(1))
    kafka.add_partitions(topic, 4)
    kafka.until(lambda: log.partitions == 4, "the log has four partitions")
    written = frames(2)
    kafka.until(lambda: _takes(log, 3, written), "the new partition takes frames")
    assert [r.frame for r in everything(log, 3)][-2:] == written
    assert set(log.ends()) == {0, 1, 2, 3}
    log.close()


def test_what_another_program_took_back_is_never_read(kafka: Kafka) -> None:
    topic = kafka.topic()
    log = KafkaLog(kafka.connection, topic)
    log.append(0, frames(1))
    producer = Producer({"bootstrap.servers": kafka.servers, "transactional.id": topic})
    producer.init_transactions(DEADLINE)
    for text, keep in ((b"kept", True), (b"taken back", False), (b"kept too", True)):
        producer.begin_transaction()
        producer.produce(topic, text, partition=0)
        producer.flush(DEADLINE)
        if keep:
            producer.commit_transaction(DEADLINE)
        else:
            producer.abort_transaction(DEADLINE)
    producer.close()
    last = frames(1)
    assert log.append(0, last) == 7  # each transaction has a marker
    found = everything(log)
    assert [r.offset for r in found] == [0, 1, 5, 7]
    assert [r.frame for r in found[1:]] == [b"kept", b"kept too", *last]
    assert [r.offset for r in log.read(0, 3, ROOMY)] == [5, 7]
    log.close()


def test_a_log_that_ends_with_a_marker_has_an_end(kafka: Kafka) -> None:
    topic = kafka.topic()
    log = KafkaLog(kafka.connection, topic)
    producer = Producer({"bootstrap.servers": kafka.servers, "transactional.id": topic})
    producer.init_transactions(DEADLINE)
    producer.begin_transaction()
    producer.produce(topic, b"kept", partition=0)
    producer.commit_transaction(DEADLINE)
    producer.close()
    kafka.until(lambda: log.ends()[0][1] == 2, "the log ends after the marker")
    assert [r.offset for r in everything(log)] == [0]
    assert list(log.read(0, 1, ROOMY)) == []
    assert list(log.read(0, 1, 1)) == []
    log.close()


def test_brokers_that_are_not_there() -> None:
    with pytest.raises(Retry):
        KafkaLog(Connection("127.0.0.1:1"), "telemetry.events")


def _frame_of(size: int) -> bytes:
    """A frame whose content does not become smaller."""
    return Sealer(KeyRing.generate(), Codec.PLAIN).seal(Body([Entry(1, payload=os.urandom(size))]), 0)


def _holds(log: KafkaLog, word: str) -> bool:
    try:
        log.ends()
    except Hold as error:
        return word in str(error)
    except Retry:
        pass
    return False


def _takes(log: KafkaLog, partition: int, written: list[bytes]) -> bool:
    try:
        log.append(partition, written)
    except Retry:
        return False
    return True


def test_a_topic_that_several_write_can_be_checked(kafka: Kafka) -> None:
    ring = KeyRing.generate("key-1")
    with closing(KafkaLog(kafka.connection, kafka.topic())) as log:
        sealers = [Sealer(ring) for _ in range(3)]
        for number in range(30):
            log.append(0, [sealers[number % 3].seal(Body([Entry(kind=9)]), number)])
        found = check(log, ring)
        assert (found.frames, found.opened, found.sound) == (30, 30, True)
        sealers[0].seal(Body([Entry(kind=9)]), 30)  # and it never came
        log.append(0, [sealers[0].seal(Body([Entry(kind=9)]), 31)])
        assert [place for _, place, _ in check(log, ring).breaks] == [30]
