"""What servers tell their manager, and what they say when a library is missing or something elsewhere is away."""

import socket
import threading
from pathlib import Path

import pytest

from sonde.assemble import extras
from sonde.assemble.impatience import Impatience
from sonde.assemble.shared.broker import BrokerLog, patiently
from sonde.assemble.shared.probe import Probe
from sonde.cli.manager import SOCKET, tell_manager
from sonde.errors import Hold, Retry
from sonde.log.memory import MemoryLog
from tests.processor_world import until


def test_the_manager_is_told_in_a_datagram(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv(SOCKET, str(tmp_path / "notify"))
        tell_manager("READY=1")
        assert manager.recv(100) == b"READY=1"


def test_an_abstract_socket_is_a_socket_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("")  # the system draws an abstract name
        monkeypatch.setenv(SOCKET, "@" + manager.getsockname()[1:].decode())
        tell_manager("STOPPING=1")
        assert manager.recv(100) == b"STOPPING=1"


@pytest.mark.parametrize("address", ["", "nonsense", "/nowhere/at/all"])
def test_where_nobody_listens_nothing_happens(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SOCKET, address)
    tell_manager("READY=1")


def test_a_library_that_is_missing_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needs_it.py").write_text("raise ModuleNotFoundError('no', name='confluent_kafka.admin')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(Hold, match="confluent_kafka") as caught:
        extras.load("needs_it")
    assert 'pip install "sonde[kafka]"' in str(caught.value)


def test_a_module_that_is_missing_by_our_own_mistake_is_no_extra() -> None:
    with pytest.raises(ModuleNotFoundError):
        extras.load("sonde.assemble.nothing_of_the_kind")


def test_what_is_away_is_waited_for() -> None:
    answers = iter([Retry("not yet", after=0.0), Retry("not yet", after=0.0)])

    def open_() -> str:
        for error in answers:
            raise error
        return "open"

    assert patiently(open_, "it", threading.Event()) == "open"


def test_whoever_waits_can_be_stopped() -> None:
    stop = threading.Event()
    stop.set()

    def away() -> None:
        raise Retry("away")

    with pytest.raises(Hold, match="stopped while waiting for the log: away"):
        patiently(away, "the log", stop)


def test_a_probe_says_why_and_forgets_it() -> None:
    away = [True]

    def ask() -> None:
        if away[0]:
            raise Retry("the database is away")

    probe = Probe("database", ask)
    probe.look()
    assert probe.problem == "the database is away"
    away[0] = False
    probe.look()
    assert probe.problem == ""


def test_a_probe_that_gets_no_answer_says_so_meanwhile() -> None:
    asked, answers = threading.Event(), threading.Event()

    def ask() -> None:
        asked.set()
        assert answers.wait(60)

    probe = Probe("database", ask, patience=0.0)
    looking = threading.Thread(target=probe.look)
    looking.start()
    assert asked.wait(60)
    assert probe.problem == "the database does not answer"
    answers.set()
    looking.join(60)
    assert probe.problem == ""


def test_who_asks_something_that_hangs_waits_once_and_until_it_answers_not_again() -> None:
    answers, asks = threading.Event(), Impatience("database")
    calls = []

    def hang() -> bool:
        calls.append(1)
        return answers.wait(60)

    for seconds in (0.01, 60.0):
        with pytest.raises(Retry, match="the database does not answer"):
            asks.ask(hang, seconds)
    assert len(calls) == 1
    answers.set()
    until(lambda: _answers(asks))
    with pytest.raises(Hold, match="the tables"):
        asks.ask(_refuse, 60.0)


def _answers(asks: Impatience) -> bool:
    try:
        return asks.ask(lambda: True, 60.0)
    except Retry:
        return False


def _refuse() -> None:
    raise Hold("the tables are of another version")


class Failing(MemoryLog):
    calls = 0

    def append(self, partition: int, frames: object) -> int:
        self.calls += 1
        raise Retry("the brokers are away")


def test_a_server_that_stops_does_not_wait_twice_for_brokers_that_are_away() -> None:
    behind = Failing()
    log = BrokerLog(behind)
    for _ in range(2):
        with pytest.raises(Retry, match="the brokers are away"):
            log.append(0, [b"x"])
    log.hurry()
    with pytest.raises(Retry, match="the brokers are away"):
        log.append(0, [b"x"])
    assert behind.calls == 2
