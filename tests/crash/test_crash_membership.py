"""Members of a group that are killed, paused and woken: others take over, and who wakes finds its way back."""

import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sonde.errors import Hold, Retry
from sonde.log.kafka.connection import Connection
from sonde.log.kafka.membership import KafkaMembership
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.all

PARTITIONS = 4
EVERYTHING = frozenset(range(PARTITIONS))
DEADLINE = 90.0


class Member:
    """A process that takes part, and what it last said."""

    def __init__(self, kafka: Kafka, topic: str, group: str) -> None:
        command = [sys.executable, str(Path(__file__).with_name("sharer.py")), kafka.servers, topic, group]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.said: list[str] = []
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    @property
    def has(self) -> frozenset[int]:
        said = self.said[-1] if self.said else ""
        return frozenset() if said == "unknown" else frozenset(map(int, said.split()))

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._thread.join(DEADLINE)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line.strip())


def until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not true():
        assert time.monotonic() < deadline, f"it never came true that {what}"
        time.sleep(0.05)


def of(member: KafkaMembership) -> frozenset[int]:
    """What a member has; nothing while nobody can say."""
    try:
        return member.partitions()
    except Retry:
        return frozenset()


@pytest.fixture
def pair(kafka: Kafka) -> Iterator[tuple[Member, Member]]:
    topic, group = kafka.topic(PARTITIONS), f"group-{secrets.token_hex(4)}"
    members = Member(kafka, topic, group), Member(kafka, topic, group)
    try:
        until(lambda: shared(*members), "both have their part")
        yield members
    finally:
        for member in members:
            member.end()


def shared(one: Member, other: Member) -> bool:
    return bool(one.has and other.has) and not one.has & other.has and one.has | other.has == EVERYTHING


def test_who_is_killed_is_followed(pair: tuple[Member, Member]) -> None:
    one, other = pair
    one.process.kill()
    until(lambda: other.has == EVERYTHING, "the other one has taken over")


def test_who_is_paused_loses_all_and_finds_its_way_back(pair: tuple[Member, Member]) -> None:
    zombie, other = pair
    zombie.process.send_signal(signal.SIGSTOP)
    until(lambda: other.has == EVERYTHING, "the other one has taken over")
    before = len(zombie.said)
    zombie.process.send_signal(signal.SIGCONT)
    until(lambda: len(zombie.said) > before, "it has woken")
    until(lambda: shared(zombie, other), "it has found its way back")


def test_who_asks_no_more_loses_all(kafka: Kafka) -> None:
    topic, group = kafka.topic(PARTITIONS), f"group-{secrets.token_hex(4)}"
    silent = KafkaMembership(kafka.connection, topic, group, session=6.0, silence=6.0)
    until(lambda: of(silent) == EVERYTHING, "it has all")
    asked = time.monotonic()
    other = KafkaMembership(kafka.connection, topic, group, session=6.0, silence=6.0)
    until(lambda: of(other) == EVERYTHING, "the other one has taken over")
    until(lambda: time.monotonic() - asked > 6.5, "its time is over")
    assert silent.partitions() == frozenset()
    until(
        lambda: bool(mine := of(silent)) and mine | of(other) == EVERYTHING,
        "it has found its way back",
    )
    silent.close()
    other.close()


def test_partitions_that_were_added_are_shared_out_too(kafka: Kafka) -> None:
    topic = kafka.topic(1)
    member = KafkaMembership(kafka.connection, topic, f"group-{secrets.token_hex(4)}")
    until(lambda: of(member) == {0}, "it has the one there is")
    kafka.add_partitions(topic, 3)
    until(lambda: of(member) == {0, 1, 2}, "it has all three")
    member.close()


def test_a_broker_that_goes_changes_nothing_and_its_return_neither(kafka: Kafka) -> None:
    topic = kafka.topic(PARTITIONS)
    member = KafkaMembership(kafka.connection, topic, f"group-{secrets.token_hex(4)}")
    until(lambda: of(member) == EVERYTHING, "it has all")
    (broker,) = kafka.brokers
    broker.kill()
    try:
        assert member.partitions() == EVERYTHING
    finally:
        kafka.start()
    until(lambda: of(member) == EVERYTHING, "it has all again")
    member.close()


def test_without_a_broker_nobody_knows() -> None:
    member = KafkaMembership(Connection("127.0.0.1:1"), "telemetry.events", "sonde")

    def says_so() -> bool:
        try:
            member.partitions()
            return False
        except Retry:
            return True

    until(says_so, "it says that no broker answers")
    member.close()


def test_a_topic_that_is_not_there_is_said(kafka: Kafka) -> None:
    member = KafkaMembership(kafka.connection, "there-is-no-such-topic", "sonde")

    def says_so() -> bool:
        try:
            member.partitions()
            return False
        except Hold as error:
            return "there-is-no-such-topic" in str(error)

    until(says_so, "it says that there is no such topic")
    member.close()
